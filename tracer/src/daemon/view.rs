//! What the daemon tells beside what SYNs count: filled in when it is asked for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::service::Service;
use crate::{
    delivery::{Sends, SinkStats},
    event::Stage,
    metrics::{
        Families, View,
        view::{Probe, Sink},
    },
    probes::{plan::Decision, programs::Use},
};

impl Service {
    /// Everything that is exposed, as of now.
    pub(super) fn metrics(&mut self) -> Families {
        let probes = self.probes();
        let pipeline = self.session.engine().pipeline();
        let mut view = View {
            self_check: self.checks,
            reload: Some(self.reloaded),
            algorithm: Some(pipeline.algorithm()),
            version: env!("CARGO_PKG_VERSION"),
            probes,
            ..View::default()
        };
        let standing = pipeline.standing();
        view.expected_up = standing.services;
        self.overlaps.set(standing.overlapping);
        view.overlapping = self.overlaps.clone();
        view.pipeline(pipeline.losses(), pipeline.bounds());
        let alerts = self.session.engine().outlet().alerts();
        view.alerts_active = alerts.active() as u64;
        view.alerts_suppressed = alerts.suppressed();
        view.alerts.set(alerts.totals());
        let stats = self.delivery.stats();
        let dropped: u64 = stats.iter().map(|sink| sink.dropped.sum()).sum();
        let lost = dropped + self.delivery.abandoned();
        view.lost.insert(Stage::Sink, lost);
        view.sinks = stats.into_iter().map(sink).collect();
        Families::of(self.session.engine().outlet().series(), &view)
    }

    fn probes(&self) -> BTreeMap<Arc<str>, Probe> {
        let programs = self.session.programs();
        let hooks = programs.plan.hooks.iter();
        let wanted = hooks.filter(|(_, decision)| !matches!(decision, Decision::NotNeeded(_)));
        wanted
            .map(|(hook, decision)| {
                let probe = match decision {
                    Decision::Attach { mechanism, .. } => {
                        let Use { missed, run } = programs.use_of(*hook);
                        Probe {
                            backend: mechanism.word(),
                            attached: true,
                            missed: Some(missed),
                            run: (run > Duration::ZERO).then_some(run),
                        }
                    }
                    Decision::NotNeeded(_) | Decision::Missing(_) => Probe {
                        backend: "",
                        attached: false,
                        missed: None,
                        run: None,
                    },
                };
                (hook.function().into(), probe)
            })
            .collect()
    }
}

fn sink(stats: SinkStats) -> (Arc<str>, Sink) {
    let Sends {
        ok,
        rejected,
        failed,
        partial,
    } = stats.sends;
    let sink = Sink {
        sends: [
            ("ok", ok),
            ("rejected", rejected),
            ("failed", failed),
            ("partial", partial),
        ]
        .into(),
        queue_length: stats.queued as u64,
        queue_limit: stats.limit as u64,
    };
    (stats.name.into(), sink)
}
