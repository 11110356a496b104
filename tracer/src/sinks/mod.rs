//! Where what sockpick saw goes: a table for people, JSON lines for programs, and the
//! summary at the end.

#![forbid(unsafe_code)]

pub mod json;
pub mod summary;
pub mod table;

use std::io;

use crate::event::Item;

/// Takes what the session shows, in order.
pub trait Sink {
    /// Takes one item; it may stay in a buffer until [`Sink::flush`].
    ///
    /// # Errors
    /// What the output says, [`io::ErrorKind::BrokenPipe`] when the reader has gone.
    fn write(&mut self, item: &Item) -> io::Result<()>;

    /// Hands over what is buffered; called once per batch.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn flush(&mut self) -> io::Result<()>;
}
