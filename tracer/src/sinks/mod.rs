//! Where what sockpick saw goes: a table for people, JSON lines for programs, and the
//! summary at the end.

#![forbid(unsafe_code)]

mod digits;
pub mod json;
mod kept;
mod lines;
pub mod stdout;
pub mod summary;
pub mod table;

use std::io;

use crate::event::{Event, Item};

/// Takes what the session shows, in order.
pub trait Sink {
    /// Takes one item; it may stay in a buffer until [`Sink::flush`].
    ///
    /// # Errors
    /// What the output says; of stdout, whether its reader has gone.
    fn write(&mut self, item: &Item) -> io::Result<()>;

    /// Takes a SYN; as [`Sink::write`] does, which sinks do better that write many.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn syn(&mut self, event: &Event) -> io::Result<()> {
        self.write(&Item::Syn(event.clone()))
    }

    /// Hands over what is buffered; called once per batch.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn flush(&mut self) -> io::Result<()>;
}

/// Takes everything and shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Sink for Quiet {
    fn write(&mut self, _: &Item) -> io::Result<()> {
        Ok(())
    }

    fn syn(&mut self, _: &Event) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
