//! What is exposed of an engine whose outlet is the feed.

use super::Feed;
use crate::{
    delivery::Delivery,
    engine::Engine,
    event::Stage,
    metrics::{Families, View},
};

impl Engine<Feed> {
    /// Everything that is exposed, as of now: `view` is completed by what pipeline, alerts and
    /// sinks know, and stays with the caller, as it counts what it had no room for.
    pub fn families(&mut self, view: &mut View, delivery: &Delivery) -> Families {
        let pipeline = self.pipeline();
        view.algorithm = Some(pipeline.algorithm());
        view.pipeline(pipeline.losses(), pipeline.bounds());
        let standing = pipeline.standing();
        view.expected_up = standing.services;
        view.overlapping.set(standing.overlapping);
        self.outlet().families(view, delivery)
    }
}

impl Feed {
    /// The same where there is no pipeline.
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
