//! The pipeline and who takes what it gives: what `trace`, `replay`, `daemon` and the tests turn
//! the crank of.
#![forbid(unsafe_code)]

use anyhow::Result;

use crate::{
    delivery::Delivery,
    listeners::Listening,
    metrics::{Families, View},
    outlets::{Outlet, feed::Feed, foreground::Foreground},
    pipeline::{End, Input, Output, Pipeline, Snapshot, Unrecorded},
    sinks::summary::Summary,
    stock::TakeStock,
};

/// Inputs in; the outlet has what comes of them.
pub struct Engine<O> {
    pipeline: Pipeline,
    outlet: O,
}

impl<O: Outlet> Engine<O> {
    /// Of these.
    #[must_use]
    pub fn new(pipeline: Pipeline, outlet: O) -> Self {
        Self { pipeline, outlet }
    }

    /// Who has what comes of it.
    pub fn outlet(&mut self) -> &mut O {
        &mut self.outlet
    }

    /// Whether the outlet wants no more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.outlet.is_complete()
    }

    /// [`Pipeline::listeners`].
    #[must_use]
    pub fn listeners(&self) -> Vec<Listening> {
        self.pipeline.listeners()
    }

    /// What becomes of SYNs, for who asks while it runs.
    #[must_use]
    pub fn pipeline(&mut self) -> &mut Pipeline {
        &mut self.pipeline
    }

    /// Takes what comes next. `present` is asked where the listeners are in doubt.
    ///
    /// # Errors
    /// If the outlet takes no more.
    pub fn take(&mut self, input: &Input, present: &mut dyn TakeStock) -> Result<()> {
        for output in self.pipeline.take(input, present) {
            self.outlet.take(output)?;
        }
        if self.is_complete() {
            self.pipeline.rest();
        }
        if matches!(input, Input::Counted(_)) {
            self.outlet.flush()?;
        }
        Ok(())
    }

    /// Takes what was counted, of which there is no record.
    ///
    /// # Errors
    /// As [`Engine::take`].
    pub fn unrecorded(&mut self, syns: Unrecorded) -> Result<()> {
        self.pipeline.unrecorded(syns);
        self.outlet.take(&Output::Unrecorded(syns))
    }

    /// Takes all that was counted up to now, of which there is no record.
    ///
    /// # Errors
    /// As [`Engine::take`].
    pub fn counts(&mut self, all: Vec<Unrecorded>) -> Result<()> {
        for syns in all {
            self.unrecorded(syns)?;
        }
        self.pipeline.counts_read();
        Ok(())
    }

    /// The session ended: the outlet has the last of it.
    ///
    /// # Errors
    /// As [`Engine::take`].
    pub fn end(&mut self, end: &End) -> Result<Snapshot> {
        let (outputs, session) = self.pipeline.end(end);
        for output in &outputs {
            self.outlet.take(output)?;
        }
        self.outlet.flush()?;
        Ok(session)
    }
}

impl Engine<Foreground> {
    /// Goes on without telling anybody of SYNs.
    pub fn mute(&mut self) {
        self.outlet.mute();
    }

    /// The session ended: what is to be said of it.
    ///
    /// # Errors
    /// As [`Engine::take`].
    pub fn sum_up(&mut self, end: &End) -> Result<Summary> {
        let session = self.end(end)?;
        self.outlet.counted(&end.listeners);
        let account = self.outlet.account().unwrap_or(&session.account);
        let holders = self.pipeline.holders(account);
        Ok(self.outlet.summary(&session, &holders, end.seconds))
    }
}

impl Engine<Feed> {
    /// Everything that is exposed: as [`Feed::families`], with what the pipeline knows.
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

#[cfg(test)]
mod tests;
