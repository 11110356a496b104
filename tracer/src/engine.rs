//! The pipeline and who takes what it gives: what `trace`, `replay` and the tests turn the crank
//! of.
#![forbid(unsafe_code)]

use anyhow::Result;

use crate::{
    listeners::Listening,
    outlets::foreground::Foreground,
    pipeline::{End, Input, Pipeline},
    sinks::summary::Summary,
    stock::TakeStock,
};

/// Inputs in; the foreground has what comes of them.
pub struct Engine {
    pipeline: Pipeline,
    foreground: Foreground,
}

impl Engine {
    /// Of these.
    #[must_use]
    pub fn new(pipeline: Pipeline, foreground: Foreground) -> Self {
        Self {
            pipeline,
            foreground,
        }
    }

    /// Whether the foreground wants no more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.foreground.is_complete()
    }

    /// Goes on without telling anybody of SYNs.
    pub fn mute(&mut self) {
        self.foreground.mute();
    }

    /// [`Pipeline::listeners`].
    #[must_use]
    pub fn listeners(&self) -> Vec<Listening> {
        self.pipeline.listeners()
    }

    /// Takes what comes next. `present` is asked where the listeners are in doubt.
    ///
    /// # Errors
    /// If the foreground takes no more.
    pub fn take(&mut self, input: &Input, present: &mut dyn TakeStock) -> Result<()> {
        for output in self.pipeline.take(input, present) {
            self.foreground.take(output)?;
        }
        if self.is_complete() {
            self.pipeline.rest();
        }
        if matches!(input, Input::Counted(_)) {
            self.foreground.flush()?;
        }
        Ok(())
    }

    /// The session ended.
    ///
    /// # Errors
    /// As [`Engine::take`].
    pub fn end(&mut self, end: &End) -> Result<Summary> {
        let (outputs, session) = self.pipeline.end(end);
        for output in outputs {
            self.foreground.take(output)?;
        }
        self.foreground.flush()?;
        self.foreground.counted(&end.listeners);
        let account = self.foreground.account().unwrap_or(&session.account);
        let holders = self.pipeline.holders(account);
        Ok(self.foreground.summary(&session, &holders, end.seconds))
    }
}

#[cfg(test)]
mod tests;
