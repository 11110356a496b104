//! A run of sockpick that has one sink with a spool, in virtual time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

use super::super::{
    Open, Spool,
    fixtures::{Memory, notice, serial},
};
use crate::{
    delivery::{
        attempt::{Attempt, Failure},
        backoff::Backoff,
        outbox::{Lost, Outbox, SinkStats},
        queue::{Message, notices},
        worker::{self, Send},
    },
    event::Time,
    settings::SpoolSettings,
};

pub(super) const HOUR: Duration = Duration::from_hours(1);
/// What time it is when a test begins, in seconds.
pub(super) const BEGIN: i64 = 1_790_000_000;

/// A server that is down until a time, and remembers what it got. It may take something and be
/// gone before it says so.
#[derive(Clone, Default)]
pub(super) struct Receiver {
    pub(super) up_at: Option<Instant>,
    pub(super) is_speechless: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<u32>>>,
}

impl Receiver {
    pub(super) fn up() -> Self {
        Self::default()
    }

    pub(super) fn down_for(time: Duration) -> Self {
        Self {
            up_at: Some(Instant::now() + time),
            ..Self::default()
        }
    }

    pub(super) fn got(&self) -> Vec<u32> {
        self.got.lock().expect("no test panicked").clone()
    }
}

impl Send for Receiver {
    const BATCH: usize = 4;

    async fn send(&mut self, batch: &[Message], _: u64) -> Attempt {
        if self.up_at.is_some_and(|up| Instant::now() < up) {
            return Attempt::failed(Failure::new("it is down"));
        }
        let serials = notices(batch).into_iter().map(serial);
        self.got.lock().expect("no test panicked").extend(serials);
        if self.is_speechless.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Attempt::accepted(batch.len())
    }
}

/// A run of sockpick with one sink.
pub(super) struct Run {
    pub(super) outbox: Arc<Outbox>,
    pub(super) lost: Lost,
    task: JoinHandle<()>,
    since: Instant,
}

impl Run {
    pub(super) fn of(memory: &Memory, receiver: &Receiver, settings: &SpoolSettings) -> Self {
        Self::later(Duration::ZERO, memory, receiver, settings)
    }

    /// So long after the beginning, by the wall clock.
    pub(super) fn later(
        after: Duration,
        memory: &Memory,
        receiver: &Receiver,
        settings: &SpoolSettings,
    ) -> Self {
        let memory = memory.clone();
        let open: Open = Box::new(move || Ok(memory.open()));
        Self::opening(open, after, receiver, settings)
    }

    pub(super) fn opening(
        open: Open,
        after: Duration,
        receiver: &Receiver,
        settings: &SpoolSettings,
    ) -> Self {
        let since = Instant::now();
        let clock = move || {
            let passed = (after + since.elapsed()).as_nanos();
            Time(BEGIN * 1_000_000_000 + i64::try_from(passed).expect("not that long"))
        };
        let spool = Spool::with("test", settings, 100, open, Box::new(clock));
        let lost = Lost::default();
        let outbox = Arc::new(Outbox::new("test".to_owned(), 100, lost.clone()));
        let work = worker::run(
            Arc::clone(&outbox),
            receiver.clone(),
            Backoff::new(3),
            Some(spool),
        );
        Self {
            task: tokio::spawn(work),
            outbox,
            lost,
            since,
        }
    }

    pub(super) fn push(&self, serials: impl IntoIterator<Item = u32>) {
        for serial in serials {
            let seconds = i64::try_from(self.since.elapsed().as_secs()).expect("not that long");
            let notice = notice(serial, BEGIN + seconds);
            self.outbox.push(Message::Notice(notice));
        }
    }

    pub(super) fn stats(&self) -> SinkStats {
        self.outbox.stats()
    }

    /// As at a signal to end.
    pub(super) async fn end(self, deadline: Duration) -> (u64, u64) {
        self.outbox.close(Instant::now() + deadline);
        self.task.await.expect("no panic");
        let left = self.outbox.left();
        (left.lost, left.kept)
    }

    /// As by SIGKILL: nothing is done any more, and the file is as it was.
    pub(super) fn kill(self, memory: &Memory) -> Memory {
        let left = Memory::of(&memory.bytes());
        self.task.abort();
        left
    }
}

pub(super) fn usual() -> SpoolSettings {
    SpoolSettings {
        path: "/spool".into(),
        bytes: SpoolSettings::USUAL_BYTES,
        age: 24 * HOUR,
    }
}
