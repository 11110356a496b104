//! A walk over `/proc`, on a thread of its own: with many processes it takes seconds, and SYNs do
//! not wait for it.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{containers::Containers, scan::Pass};
use crate::clock::boot_ticks;

/// What a walk does: looks who holds these sockets.
pub(super) type Walker = fn(&HashSet<u64>, &mut Containers) -> Pass;

/// A walk that goes on, or whose end nobody took note of.
pub(super) struct Walk {
    began: u64,
    started: Instant,
    wanted: Arc<HashSet<u64>>,
    /// Sockets that closed since it began: their inode numbers may be others' by now.
    forgotten: HashSet<u64>,
    /// Sockets that somebody was found to hold meanwhile.
    joined: HashSet<u64>,
    end: Receiver<End>,
}

/// How a walk ended.
struct End {
    pass: Pass,
    containers: Containers,
    at: Instant,
}

/// What a look at all processes found.
pub(super) struct Found {
    pub(super) pass: Pass,
    /// The sockets that were looked for and are not known to have closed.
    pub(super) wanted: HashSet<u64>,
    /// When it began, in clock ticks since boot.
    pub(super) began: u64,
    pub(super) started: Instant,
    pub(super) ended: Instant,
    /// Those of them that somebody was found to hold meanwhile.
    pub(super) joined: HashSet<u64>,
}

/// What became of a walk.
pub(super) enum Outcome {
    GoesOn,
    Done(Box<(Found, Containers)>),
    /// Its thread is gone without a word.
    Lost,
}

impl Walk {
    /// Begins one. Where no thread can be had it is done here.
    pub(super) fn begin(wanted: HashSet<u64>, containers: Containers, walker: Walker) -> Self {
        let (began, started) = (boot_ticks(), Instant::now());
        let wanted = Arc::new(wanted);
        let (sender, end) = mpsc::channel();
        let (there, given) = (sender.clone(), wanted.clone());
        let thread = thread::Builder::new().name("walk-over-proc".to_owned());
        let spawned = thread.spawn(move || run(walker, &given, containers, &there));
        if let Err(error) = spawned {
            log::debug!("no thread for a walk over /proc: {error}");
            run(walker, &wanted, Containers::default(), &sender);
        }
        Self {
            began,
            started,
            wanted,
            forgotten: HashSet::new(),
            joined: HashSet::new(),
            end,
        }
    }

    /// The socket closed.
    pub(super) fn forget(&mut self, inode: u64) {
        self.forgotten.insert(inode);
    }

    /// Somebody was found to hold the socket.
    pub(super) fn join(&mut self, inode: u64) {
        self.joined.insert(inode);
    }

    /// Waits for its end so long at most; without a bound, until it is there.
    pub(super) fn wait(&mut self, longest: Option<Duration>) -> Outcome {
        let end = match longest {
            Some(longest) => self.end.recv_timeout(longest),
            None => self.end.recv().map_err(RecvTimeoutError::from),
        };
        match end {
            Ok(end) => {
                let wanted = self.wanted.difference(&self.forgotten);
                let found = Found {
                    pass: end.pass,
                    wanted: wanted.copied().collect(),
                    began: self.began,
                    started: self.started,
                    ended: end.at,
                    joined: std::mem::take(&mut self.joined),
                };
                Outcome::Done(Box::new((found, end.containers)))
            }
            Err(RecvTimeoutError::Timeout) => Outcome::GoesOn,
            Err(RecvTimeoutError::Disconnected) => Outcome::Lost,
        }
    }
}

fn run(walker: Walker, wanted: &HashSet<u64>, mut containers: Containers, told: &Sender<End>) {
    let pass = walker(wanted, &mut containers);
    // Nobody may wait for it any more.
    let _ = told.send(End {
        pass,
        containers,
        at: Instant::now(),
    });
}
