//! What a message is sent by: a file for each type of sinks.
#![forbid(unsafe_code)]

mod alertmanager;
mod file;
mod journald;
pub(super) mod otlp;
mod stdout;
mod webhook;

use std::{path::Path, sync::Arc};

use super::{backoff::Backoff, outbox::Outbox, spool::Spool, told::Teller, worker};
use crate::{
    settings::sink::SinkKind,
    sinks::stdout::{Stdout, stdout},
};
use alertmanager::Alertmanager;
use file::FileSink;
use journald::Journald;
use otlp::Otlp;
use stdout::StdoutSink;
use webhook::Webhook;

/// One of them.
pub(super) enum Sink {
    Alertmanager(Alertmanager),
    Webhook(Webhook),
    Otlp(Otlp),
    Journald(Journald),
    File(FileSink),
    Stdout(StdoutSink<Stdout>),
}

impl Sink {
    /// What the settings ask for. Nothing is opened and nobody is asked yet. `None`: an
    /// Alertmanager that is nowhere, which settings do not have.
    pub(super) fn new(to: &SinkKind, teller: Teller) -> Option<Self> {
        Some(match to {
            SinkKind::Alertmanager(targets) => {
                Self::Alertmanager(Alertmanager::new(targets.first()?, teller))
            }
            SinkKind::Webhook {
                target,
                secret_file,
            } => Self::Webhook(Webhook::new(target, secret_file.clone(), teller)),
            SinkKind::Otlp(target) => Self::Otlp(Otlp::new(target, teller)),
            SinkKind::Journald => Self::Journald(Journald::new(Path::new(journald::SOCKET))),
            SinkKind::File {
                path,
                rotate_bytes,
                keep,
            } => Self::File(FileSink::new(path, *rotate_bytes, *keep, teller)),
            SinkKind::Stdout => Self::Stdout(StdoutSink::new(stdout(), teller)),
        })
    }

    /// Sends what comes, until the outbox is closed and empty.
    pub(super) async fn run(self, outbox: Arc<Outbox>, backoff: Backoff, spool: Option<Spool>) {
        match self {
            Self::Alertmanager(sink) => worker::run(outbox, sink, backoff, spool).await,
            Self::Webhook(sink) => worker::run(outbox, sink, backoff, spool).await,
            Self::Otlp(sink) => worker::run(outbox, sink, backoff, spool).await,
            Self::Journald(sink) => worker::run(outbox, sink, backoff, spool).await,
            Self::File(sink) => worker::run(outbox, sink, backoff, spool).await,
            Self::Stdout(sink) => worker::run(outbox, sink, backoff, spool).await,
        }
    }
}
