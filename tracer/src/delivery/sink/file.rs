//! JSON lines in a file: whole ones only, and not more of them than asked for.
#![forbid(unsafe_code)]

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::spawn_blocking;

use crate::delivery::{
    attempt::{Attempt, Failure},
    json::{Line, lines},
    queue::Message,
    told::Teller,
    worker::Send,
};

mod log;

pub(super) use log::Log;

/// Writes from a thread of its own: a disk may take any time, and nobody else waits for it.
pub(in crate::delivery) struct FileSink {
    log: Arc<Mutex<Log>>,
    teller: Teller,
}

impl FileSink {
    pub(super) fn new(path: &Path, rotate: Option<u64>, keep: usize, teller: Teller) -> Self {
        Self {
            log: Arc::new(Mutex::new(Log::new(path, rotate, keep))),
            teller,
        }
    }
}

impl Send for FileSink {
    const BATCH: usize = 256;

    async fn send(&mut self, batch: &[Message], lost: u64) -> Attempt {
        let lines = lines(&self.teller, batch, lost);
        let log = Arc::clone(&self.log);
        let written = spawn_blocking(move || {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            attempt(&mut log, &lines)
        });
        let broken = |_| Attempt::failed(Failure::new("writing was broken off"));
        written.await.unwrap_or_else(broken)
    }
}

/// Writes the lines, and says how many messages that were.
fn attempt(log: &mut Log, lines: &[Line]) -> Attempt {
    let texts: Vec<&[u8]> = lines.iter().map(|line| line.bytes.as_slice()).collect();
    let (whole, result) = log.append(&texts);
    let accepted = lines[..whole].iter().map(|line| line.messages).sum();
    let attempt = match result {
        Ok(()) => Attempt::accepted(accepted),
        Err(error) => {
            let path = log.path().display();
            let failure = Failure::new(format!("cannot write to {path}: {error}"));
            Attempt::failed_after(accepted, failure)
        }
    };
    Attempt {
        told_losses: lines[..whole].iter().any(|line| line.messages == 0),
        ..attempt
    }
}

#[cfg(test)]
mod tests;
