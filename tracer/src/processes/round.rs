//! What was seen of processes a moment ago.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{descriptors::Descriptors, proc::Stat};
use crate::event::Owner;

/// How long a process that was seen is taken to live.
pub const CHECK: Duration = Duration::from_millis(200);

/// What was seen of processes within one [`CHECK`]: a look at one serves all its sockets.
#[derive(Debug)]
pub(super) struct Round {
    began: Instant,
    stats: HashMap<u32, Option<Stat>>,
    /// Of those that have started since the last scan.
    sockets: HashMap<u32, HashSet<u64>>,
}

impl Round {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            stats: HashMap::new(),
            sockets: HashMap::new(),
        }
    }

    /// The one at hand: a new one where the last is over.
    fn current(&mut self) -> &mut Self {
        if self.began.elapsed() >= CHECK {
            *self = Self::new();
        }
        self
    }

    /// A process; `None` if it has ended.
    pub(super) fn stat(&mut self, pid: u32) -> Option<Stat> {
        let stats = &mut self.current().stats;
        let stat = stats
            .entry(pid)
            .or_insert_with(|| Stat::of(pid).filter(|stat| !stat.ended()));
        stat.clone()
    }

    pub(super) fn lives(&mut self, owner: &Owner) -> bool {
        let stat = self.stat(owner.pid);
        stat.is_some_and(|stat| Some(stat.starttime) == owner.starttime)
    }

    /// Whether the process holds this listening socket.
    pub(super) fn holds(&mut self, pid: u32, inode: u64, descriptors: &mut Descriptors) -> bool {
        let sockets = &mut self.current().sockets;
        let held = sockets.entry(pid).or_insert_with(|| {
            let mut held = HashSet::new();
            descriptors.of(pid, |inode| {
                held.insert(inode);
            });
            held
        });
        held.contains(&inode)
    }
}
