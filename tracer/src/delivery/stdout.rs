//! JSON lines on standard output.
#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::spawn_blocking;

use super::{
    attempt::{Attempt, Failure},
    json::lines,
    queue::Message,
    told::Teller,
    worker::Send,
};
use crate::failure::ClosedStdout;

/// Writes from a thread of its own: whoever reads may take any time.
pub(super) struct StdoutSink<W> {
    out: Arc<Mutex<W>>,
    teller: Teller,
}

impl<W: Write + std::marker::Send + 'static> StdoutSink<W> {
    pub(super) fn new(out: W, teller: Teller) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
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
            out.write_all(&text).and_then(|()| out.flush())
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

fn failure(error: &io::Error) -> Failure {
    Failure {
        text: format!("cannot write to stdout: {error}"),
        retry_after: None,
        is_final: matches!(error.get_ref(), Some(of) if of.is::<ClosedStdout>()),
    }
}

#[cfg(test)]
mod tests;
