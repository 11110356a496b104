//! Gives a recording to an engine.

use anyhow::Result;

use super::{Asked, Frame, Header, reader::Reader};
use crate::{
    engine::Engine,
    host::recorded::Recorded,
    judge::expectations::Expectations,
    outlets::foreground::Foreground,
    pipeline::{End, Input, Pipeline, assess::Assessor, enrich::Enricher},
    sinks::summary::Summary,
};

/// Tells a recording once more.
pub struct Player {
    reader: Reader,
    host: Recorded,
    engine: Engine,
}

impl Player {
    /// At the beginning, with what [`Reader::begin`] gave.
    #[must_use]
    pub fn new(
        reader: Reader,
        header: Header,
        expectations: Expectations,
        foreground: Foreground,
    ) -> Self {
        let host = Recorded::default();
        let pipeline = Pipeline::new(
            Enricher::new(header.backend, Box::new(host.clone())),
            Assessor::new(expectations, header.algorithm),
            &header.listeners.into(),
        );
        Self {
            reader,
            host,
            engine: Engine::new(pipeline, foreground),
        }
    }

    /// Up to the end, or as far as it can be read; returns how the session ended, if that is
    /// there. `passes` sees, and may change, each input, and says whether it is to be told.
    ///
    /// # Errors
    /// If the foreground takes no more.
    pub fn play(
        &mut self,
        mut passes: impl FnMut(&mut Input, &Recorded) -> bool,
    ) -> Result<Option<End>> {
        while let Some(frame) = self.reader.frame() {
            match frame {
                Frame::Header(_) => {}
                Frame::Input(asked) => {
                    let mut input = self.answered(asked);
                    if passes(&mut input, &self.host) {
                        self.engine.take(&input, &mut self.host)?;
                    }
                }
                Frame::End(asked) => return Ok(Some(self.answered(asked))),
            }
        }
        Ok(None)
    }

    fn answered<T>(&mut self, asked: Asked<T>) -> T {
        self.host.begin(asked.starts_afresh, asked.notes);
        asked.to
    }

    /// The session ended so.
    ///
    /// # Errors
    /// If the foreground takes no more.
    pub fn end(&mut self, end: &End) -> Result<Summary> {
        self.engine.end(end)
    }

    /// Where and why the recording could not be read to its end.
    #[must_use]
    pub fn torn(&self) -> Option<String> {
        self.reader.torn()
    }
}
