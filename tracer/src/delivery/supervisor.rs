//! The thread's own task: starts sinks, retires them, and ends them all.
#![forbid(unsafe_code)]

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

use super::{outbox::Outbox, queue::Leftover, route::Ready};

/// Most threads for what cannot be waited for otherwise: looking up names, reading and writing
/// files. Each sink waits for at most one, and its spool for another; but one that hangs goes on
/// hanging when an attempt is given up at its deadline, and the next attempt takes another. When
/// all hang, attempts of every sink that needs one wait, and fail at their deadlines, until one
/// comes back. With those of the web server and of the daemon itself they are fewer than `TasksMax=`
/// of the packaged unit.
const THREADS: usize = 32;

/// How long a sink that new settings do not name any more has to send what waits for it.
const GRACE: Duration = Duration::from_secs(2);

/// How much later than its deadline a sink may have ended.
const CLOSING: Duration = Duration::from_millis(100);

/// A new sink and its queue.
pub(super) type Added = (Arc<Outbox>, Ready);

/// What the thread is to do.
pub(super) enum Command {
    /// Go on without these sinks, and with those.
    Replace {
        removed: Vec<Arc<Outbox>>,
        added: Vec<Added>,
    },
    /// Send what waits, and end.
    Stop {
        outboxes: Vec<Arc<Outbox>>,
        deadline: Duration,
    },
}

/// Tells the thread what to do: once at the start, at each reload and at the end.
#[derive(Debug)]
pub(super) struct Commands(UnboundedSender<Command>);

impl Commands {
    /// Says whether anybody hears it.
    pub(super) fn give(&self, command: Command) -> bool {
        self.0.send(command).is_ok()
    }
}

pub(super) fn commands() -> (Commands, UnboundedReceiver<Command>) {
    let (sender, receiver) = unbounded_channel();
    (Commands(sender), receiver)
}

/// Sinks that were removed, while nobody has told what they left: at most for their two seconds.
/// Who takes one out of it is the one who tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired(Arc<Mutex<Vec<Arc<Outbox>>>>);

impl Retired {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<Outbox>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, outboxes: &[Arc<Outbox>]) {
        self.all().extend_from_slice(outboxes);
    }

    /// Takes all that are there.
    pub(super) fn take(&self) -> Vec<Arc<Outbox>> {
        std::mem::take(&mut self.all())
    }

    /// Takes this one, and says whether it was there.
    fn take_one(&self, outbox: &Arc<Outbox>) -> bool {
        let mut all = self.all();
        let before = all.len();
        all.retain(|other| !Arc::ptr_eq(other, outbox));
        all.len() < before
    }
}

pub(super) fn runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.max_blocking_threads(THREADS).enable_all().build()
}

/// Does as it is told until it is stopped, or nobody is left to tell.
pub(super) async fn supervise(mut commands: UnboundedReceiver<Command>, retired: Retired) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Replace { removed, added } => {
                tokio::spawn(replace(removed, added, retired.clone()));
            }
            Command::Stop { outboxes, deadline } => {
                return end(&outboxes, Instant::now() + deadline).await;
            }
        }
    }
}

/// New sinks begin when the old ones have ended: both may write to one file.
async fn replace(removed: Vec<Arc<Outbox>>, added: Vec<Added>, retired: Retired) {
    end(&removed, Instant::now() + GRACE).await;
    for outbox in &removed {
        let Leftover { lost, kept } = outbox.left();
        if retired.take_one(outbox) {
            let name = outbox.name();
            if lost > 0 {
                log::warn!("sink {name} was removed, and {lost} messages for it are not sent");
            }
            if kept > 0 {
                log::info!("sink {name} was removed; its spool has {kept} messages that wait");
            }
        }
    }
    for (outbox, ready) in added {
        tokio::spawn(ready.run(outbox));
    }
}

async fn end(outboxes: &[Arc<Outbox>], deadline: Instant) {
    for outbox in outboxes {
        outbox.close(deadline);
    }
    for outbox in outboxes {
        // One whose sink was not even started ends here. The others end by themselves, and what
        // they have open is closed then.
        if tokio::time::timeout_at(deadline + CLOSING, outbox.ended())
            .await
            .is_err()
        {
            outbox.end();
        }
    }
}
