//! Keeps on disk what waits for a sink that is told once that an alert begins or ends, so that it
//! outlives the end of sockpick: the file has what the queue has, and where it cannot be written
//! the queue is as it would be without.
//!
//! Nobody waits for the disk but this. `format.rs` says what a record is, `book.rs` which are in
//! the file, and `disk.rs` how the file is opened and written.
#![forbid(unsafe_code)]

#[cfg(test)]
mod bad_input;
mod book;
mod disk;
#[cfg(test)]
mod fixtures;
mod format;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::outbox::Outbox;
use crate::{
    alerts::Notice, clock::realtime_ns, event::Time, settings::SpoolSettings, words::count,
};
use book::{Book, Medium};
use disk::Disk;

/// It is tried again so long after it failed.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// It is not looked at more often than this for what is too old.
const LEAST: Duration = Duration::from_secs(1);
/// The sink waits so long for what an earlier run left, and then goes on without.
const PATIENCE: Duration = Duration::from_secs(10);

type Open = Box<dyn Fn() -> io::Result<Box<dyn Medium>> + Send>;
type Clock = Box<dyn Fn() -> Time + Send>;

/// One sink's spool.
pub(super) struct Spool(Arc<Mutex<State>>);

struct State {
    /// Of the sink, for messages.
    name: String,
    settings: SpoolSettings,
    /// Most notices that the queue takes.
    queue: usize,
    open: Open,
    clock: Clock,
    book: Option<Book>,
    /// When what waits will be too old, by its place in the order.
    due: BTreeMap<u64, Instant>,
    /// What is wrong with it, as it was told.
    failed: Option<String>,
}

impl Spool {
    /// Of the sink with this name, whose queue takes so many. Nothing is opened yet.
    pub(super) fn new(name: &str, settings: &SpoolSettings, queue: usize) -> Self {
        let path = settings.path.clone();
        let open = move || -> io::Result<Box<dyn Medium>> { Ok(Box::new(Disk::open(&path)?)) };
        let clock = || Time(realtime_ns());
        Self::with(name, settings, queue, Box::new(open), Box::new(clock))
    }

    fn with(name: &str, settings: &SpoolSettings, queue: usize, open: Open, clock: Clock) -> Self {
        Self(Arc::new(Mutex::new(State {
            name: name.to_owned(),
            settings: settings.clone(),
            queue,
            open,
            clock,
            book: None,
            due: BTreeMap::new(),
            failed: None,
        })))
    }

    /// Gives the outbox what an earlier run left, and then keeps what waits while `work` is done.
    pub(super) async fn beside(&self, outbox: &Arc<Outbox>, work: impl Future<Output = ()>) {
        if timeout(PATIENCE, self.turn(outbox)).await.is_err() {
            log::warn!(
                "sink {}: its spool does not open; going on without",
                outbox.name()
            );
        }
        tokio::select! {
            () = work => {}
            () = self.keep(outbox) => {}
        }
        self.turn(outbox).await;
    }

    /// Never ends.
    async fn keep(&self, outbox: &Arc<Outbox>) {
        loop {
            match self.turn(outbox).await {
                Next::Retry => sleep(AFTER_FAILURE).await,
                Next::Change => outbox.changed().await,
                Next::ChangeWithin(time) => tokio::select! {
                    () = outbox.changed() => {}
                    () = sleep(time) => {}
                },
            }
        }
    }

    async fn turn(&self, outbox: &Arc<Outbox>) -> Next {
        let (state, outbox) = (Arc::clone(&self.0), Arc::clone(outbox));
        let now = Instant::now();
        let turn = spawn_blocking(move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.turn(&outbox, now)
        });
        turn.await.unwrap_or(Next::Retry)
    }
}

/// When it is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It cannot be written: after a while.
    Retry,
    /// When something comes or is settled.
    Change,
    /// Likewise, and at the latest when the oldest is too old.
    ChangeWithin(Duration),
}

impl State {
    /// Has the file hold what waits now.
    fn turn(&mut self, outbox: &Outbox, now: Instant) -> Next {
        if self.book.as_ref().is_some_and(Book::is_gone) {
            self.book = None;
        }
        let opened = match self.book {
            Some(_) => Ok(()),
            None => self.open(outbox, now),
        };
        let Some(waiting) = self.young(outbox, now) else {
            return Next::Change;
        };
        let mut given_up = Vec::new();
        let kept = opened.and_then(|()| match &mut self.book {
            Some(book) => book.keep(&waiting, &mut given_up),
            None => Ok(()),
        });
        outbox.give_up(&given_up);
        outbox.kept(self.book.as_ref().map(Book::numbers).unwrap_or_default());
        let failed = kept.is_err();
        self.tell(kept);
        match self.due.values().min() {
            _ if failed => Next::Retry,
            None => Next::Change,
            // What is being sent may be older than it may be.
            Some(due) => Next::ChangeWithin(due.duration_since(now).max(LEAST)),
        }
    }

    /// What waits, after what is too old was thrown away.
    fn young(&mut self, outbox: &Outbox, now: Instant) -> Option<Vec<(u64, Arc<Notice>)>> {
        let waiting = outbox.changes()?;
        let dues = waiting.iter().map(|(number, _)| {
            let due = self.due.get(number).copied();
            (*number, due.unwrap_or(now + self.settings.age))
        });
        self.due = dues.collect();
        let old = self.due.iter().filter(|(_, due)| **due <= now);
        let old: Vec<u64> = old.map(|(number, _)| *number).collect();
        if old.is_empty() {
            return Some(waiting);
        }
        outbox.give_up(&old);
        outbox.changes()
    }

    /// Opens the file, and gives the outbox what an earlier run left in it.
    fn open(&mut self, outbox: &Outbox, now: Instant) -> io::Result<()> {
        let medium = (self.open)()?;
        let (mut book, found) = Book::open(medium, self.settings.bytes, self.queue)?;
        let lost = found.damaged + found.beyond;
        let Some(numbers) = outbox.restore(found.notices.clone(), lost) else {
            return Ok(());
        };
        book.numbered(&found, &numbers);
        // Only the wall clock is common to that run and this one; from here on it may be set.
        let wall = (self.clock)();
        for (number, notice) in numbers.iter().zip(&found.notices) {
            let passed = u64::try_from(wall.0.saturating_sub(notice.at.0)).unwrap_or(0);
            let left = self
                .settings
                .age
                .saturating_sub(Duration::from_nanos(passed));
            self.due.insert(*number, now + left);
        }
        self.book = Some(book);
        let (name, path) = (&self.name, self.settings.path.display());
        if !numbers.is_empty() {
            let notices = count(numbers.len() as u64, "notice");
            log::info!("sink {name}: found {notices} of an earlier run in {path}; they go first");
        }
        if found.damaged > 0 {
            let records = count(found.damaged, "record");
            log::warn!("sink {name}: skipped {records} of {path}, damaged and lost");
        }
        if found.beyond > 0 {
            let records = count(found.beyond, "record");
            log::warn!("sink {name}: skipped {records} of {path}, more than it may have now");
        }
        Ok(())
    }

    /// Says so when it begins to fail, or fails otherwise, and when that is over.
    fn tell(&mut self, kept: io::Result<()>) {
        let now = kept.err().map(|error| told(&error));
        let (name, path) = (&self.name, self.settings.path.display());
        match (&self.failed, &now) {
            (before, Some(wrong)) if before.as_ref() != Some(wrong) => log::warn!(
                "sink {name}: what waits cannot be kept in {path}: {wrong}. The sink goes on; what is \
                 not kept is lost when sockpick ends. It is tried again every 10 seconds"
            ),
            (Some(_), None) => log::info!("sink {name}: what waits is kept in {path} again"),
            _ => {}
        }
        self.failed = now;
    }
}

/// What is wrong, with the remedy.
fn told(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room there",
        io::ErrorKind::NotFound => "; make its directory",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; name a file that sockpick may write, as /var/lib/sockpick/NAME.spool"
        }
        _ => "",
    };
    format!("{error}{remedy}")
}

#[cfg(test)]
mod tests;
