//! Gives a recording to an engine.

use anyhow::Result;

use super::{Asked, Frame, Header, reader::Reader};
use crate::{
    engine::Engine,
    host::recorded::Recorded,
    judge::expectations::Expectations,
    outlets::{Outlet, foreground::Foreground},
    pipeline::{End, Input, Pipeline, assess::Assessor, enrich::Enricher},
    sinks::summary::Summary,
};

/// How far a recording went.
#[derive(Debug)]
pub enum Played {
    /// To its session's end, which was this.
    Ended(End),
    /// It goes on in the next part.
    Continued,
    /// It has no end, or is torn ([`Reader::torn`]).
    Broken,
}

/// Tells a recording once more.
pub struct Player<O> {
    host: Recorded,
    engine: Engine<O>,
}

impl<O: Outlet> Player<O> {
    /// At the beginning of a recording with this header.
    #[must_use]
    pub fn new(header: Header, expectations: Expectations, outlet: O) -> Self {
        let host = Recorded::default();
        let pipeline = Pipeline::new(
            Enricher::new(header.backend, Box::new(host.clone())),
            Assessor::new(expectations, header.algorithm),
            &header.listeners.into(),
        );
        Self {
            host,
            engine: Engine::new(pipeline, outlet),
        }
    }

    /// Up to the end, or as far as it can be read. `passes` sees, and may change, each input, and
    /// says whether it is to be told.
    ///
    /// # Errors
    /// If the outlet takes no more.
    pub fn play(
        &mut self,
        reader: &mut Reader,
        mut passes: impl FnMut(&mut Input, &Recorded) -> bool,
    ) -> Result<Played> {
        while let Some(frame) = reader.frame() {
            if let Some(played) = self.take(frame, &mut passes)? {
                return Ok(played);
            }
        }
        Ok(Played::Broken)
    }

    /// Tells what is in a frame, as [`Player::play`] does with each.
    ///
    /// # Errors
    /// If the outlet takes no more.
    pub fn take(
        &mut self,
        frame: Frame,
        mut passes: impl FnMut(&mut Input, &Recorded) -> bool,
    ) -> Result<Option<Played>> {
        match frame {
            Frame::Header(_) | Frame::Part(_) => {}
            Frame::Input(asked) => {
                let mut input = self.answered(asked);
                if passes(&mut input, &self.host) {
                    self.engine.take(&input, &mut self.host)?;
                }
            }
            Frame::Continued => return Ok(Some(Played::Continued)),
            Frame::End(asked) => return Ok(Some(Played::Ended(self.answered(asked)))),
        }
        Ok(None)
    }

    /// What it is told to.
    pub fn engine(&mut self) -> &mut Engine<O> {
        &mut self.engine
    }

    fn answered<T>(&mut self, asked: Asked<T>) -> T {
        self.host.begin(asked.starts_afresh, asked.notes);
        asked.to
    }
}

impl Player<Foreground> {
    /// The session ended so.
    ///
    /// # Errors
    /// If the foreground takes no more.
    pub fn end(&mut self, end: &End) -> Result<Summary> {
        self.engine.sum_up(end)
    }
}
