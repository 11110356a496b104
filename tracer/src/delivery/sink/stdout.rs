//! JSON lines on standard output.
#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::spawn_blocking;

use crate::{
    delivery::{
        attempt::{Attempt, Failure},
        json::lines,
        queue::Message,
        told::Teller,
        worker::Send,
    },
    failure::ClosedStdout,
};

/// Writes from a thread of its own: whoever reads may take any time.
pub(in crate::delivery) struct StdoutSink<W> {
    out: Arc<Mutex<Lines<W>>>,
    teller: Teller,
}

impl<W: Write + std::marker::Send + 'static> StdoutSink<W> {
    pub(super) fn new(out: W, teller: Teller) -> Self {
        Self {
            out: Arc::new(Mutex::new(Lines { out, is_cut: false })),
            teller,
        }
    }
}

impl<W: Write + std::marker::Send + 'static> Send for StdoutSink<W> {
    const BATCH: usize = 256;

    async fn send(&mut self, batch: &[Message], lost: u64) -> Attempt {
        let lines = lines(&self.teller, batch, lost);
        let text: Vec<u8> = lines.into_iter().flat_map(|line| line.bytes).collect();
        let out = Arc::clone(&self.out);
        let written = spawn_blocking(move || {
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write(text)
        });
        let written = written.await.map_err(io::Error::from).flatten();
        match written {
            Ok(()) => Attempt {
                told_losses: lost > 0,
                ..Attempt::accepted(batch.len())
            },
            Err(error) => Attempt::failed(failure(&error)),
        }
    }
}

/// Where lines go, each of them whole or ended.
struct Lines<W> {
    out: W,
    /// The last line was not written to its end.
    is_cut: bool,
}

impl<W: Write> Lines<W> {
    /// Writes lines; what was cut before is ended first, so that none is joined to it.
    fn write(&mut self, mut text: Vec<u8>) -> io::Result<()> {
        if self.is_cut {
            text.insert(0, b'\n');
        }
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.is_cut = rest[..written].last() != Some(&b'\n');
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.flush()
    }
}

fn failure(error: &io::Error) -> Failure {
    Failure {
        text: format!("cannot write to stdout: {error}"),
        retry_after: None,
        is_final: matches!(error.get_ref(), Some(of) if of.is::<ClosedStdout>()),
    }
}

#[cfg(test)]
mod tests;
