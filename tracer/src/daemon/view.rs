//! What the daemon tells beside what SYNs count: filled in when it is asked for.

use std::sync::Arc;

use super::service::Service;
use crate::{
    delivery::{Losses, SinkStats},
    event::{Backend, Stage},
    metrics::{
        Series, View,
        view::{Probe, Sink},
    },
    probes::plan::{Decision, Mechanism},
};

impl Service {
    /// The counters and the rest, as of now.
    pub(super) fn metrics(&mut self) -> (Series, View) {
        let engine = self.session.engine();
        let mut view = View {
            self_check: self.checks,
            reload: Some(self.reloaded),
            algorithm: Some(engine.algorithm()),
            version: env!("CARGO_PKG_VERSION"),
            ..View::default()
        };
        let standing = engine.standing();
        view.expected_up = standing.services;
        view.overlapping.set(standing.overlapping);
        view.pipeline(&engine.losses(), engine.bounds());
        let feed = engine.outlet();
        let alerts = feed.alerts();
        view.alerts_active = alerts.active() as u64;
        view.alerts_suppressed = alerts.suppressed();
        view.alerts(alerts.totals());
        let series = feed.series().clone();
        let stats = self.delivery.stats();
        let dropped = stats.iter().map(|sink| sink.dropped.sum()).sum();
        view.lost.insert(Stage::Sink, dropped);
        view.sinks = stats.into_iter().map(sink).collect();
        view.probes = self.probes();
        (series, view)
    }
}
