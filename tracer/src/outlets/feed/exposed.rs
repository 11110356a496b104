//! What is exposed of the feed.

use super::Feed;
use crate::{
    delivery::Delivery,
    event::Stage,
    metrics::{Families, View},
};

impl Feed {
    /// Everything that is exposed where there is no pipeline, as of now: `view` is completed by
    /// what alerts and sinks know, and stays with the caller, as it counts what it had no room
    /// for.
    pub fn families(&mut self, view: &mut View, delivery: &Delivery) -> Families {
        let alerts = self.alerts();
        view.version = env!("CARGO_PKG_VERSION");
        view.alerts = alerts.totals().clone();
        view.alerts_active = alerts.active() as u64;
        view.alerts_suppressed = alerts.suppressed();
        view.lost.insert(Stage::Sink, delivery.lost());
        view.sinks = delivery.stats();
        Families::of(self.series(), view)
    }
}
