//! Where what sockpick saw goes: a table for people, JSON lines for programs, and the
//! summary at the end.

#![forbid(unsafe_code)]

mod digits;
pub mod json;
mod kept;
pub mod stdout;
pub mod summary;
pub mod table;

use std::{borrow::Cow, io, net::IpAddr};

use crate::event::{Item, Listener};

/// Takes what the session shows, in order.
pub trait Sink {
    /// Takes one item; it may stay in a buffer until [`Sink::flush`].
    ///
    /// # Errors
    /// What the output says; of stdout, whether its reader has gone.
    fn write(&mut self, item: &Item) -> io::Result<()>;

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

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a listener is bound, as `ss` writes it: `*%eth0:80`, `[::]:80`.
#[must_use]
pub fn bound(listener: &Listener) -> String {
    place(listener.address, listener.port, listener.device.as_deref())
}

/// As [`bound`], from its parts.
#[must_use]
pub fn place(address: IpAddr, port: u16, device: Option<&str>) -> String {
    let device = device.map(printable);
    let (mark, device) = device.map_or(("", Cow::Borrowed("")), |device| ("%", device));
    match address {
        IpAddr::V4(any) if any.is_unspecified() => format!("*{mark}{device}:{port}"),
        IpAddr::V4(address) => format!("{address}{mark}{device}:{port}"),
        IpAddr::V6(address) => format!("[{address}]{mark}{device}:{port}"),
    }
}

/// A text that a process chose, without what would steer the terminal.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.replace(char::is_control, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}
