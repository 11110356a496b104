//! Looks at all processes: when the last was, what they may cost, and the one that goes on.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    budget::Budget,
    containers::Containers,
    descriptors::Descriptors,
    scan::Pass,
    walk::{Found, Outcome, Walk},
};
use crate::clock::boot_ticks;

/// A walk over `/proc` holds SYNs up no longer than this. What it finds later is told of those that
/// come later.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Scans {
    /// When the last began, in clock ticks since boot, and when it ended.
    pub(super) began: u64,
    pub(super) ended: Option<Instant>,
    /// Processes that it was not allowed to look into.
    pub(super) hidden: usize,
    budget: Budget,
    walk: Option<Walk>,
    /// How long whoever asks waits for a walk; `None`: until it is done.
    patience: Option<Duration>,
}

impl Scans {
    /// Who asks has SYNs that wait.
    pub(super) fn hurried() -> Self {
        Self {
            patience: Some(LONGEST_WAIT),
            ..Self::default()
        }
    }

    /// Whether there is time for one.
    pub(super) fn allows(&self) -> bool {
        self.budget.allows()
    }

    /// A walk goes on.
    pub(super) fn walk(&mut self) -> Option<&mut Walk> {
        self.walk.as_mut()
    }

    #[cfg(test)]
    pub(super) fn walk_on(&mut self, walk: Walk) {
        self.walk = Some(walk);
    }

    /// Begins one, for these sockets. Where the kernel tells who holds what, it is done at once.
    pub(super) fn begin(
        &mut self,
        wanted: HashSet<u64>,
        descriptors: &mut Descriptors,
        containers: &mut Containers,
    ) -> Option<Found> {
        let (began, started) = (boot_ticks(), Instant::now());
        let is_wanted = |inode| wanted.contains(&inode);
        let Some(pass) = Pass::told(descriptors, began, is_wanted, containers) else {
            let known = std::mem::take(containers);
            self.walk = Some(Walk::begin(wanted, known, Pass::walked));
            return None;
        };
        let found = Found {
            pass,
            wanted,
            began,
            started,
            ended: Instant::now(),
            joined: HashSet::new(),
        };
        self.note(&found);
        Some(found)
    }

    /// What the walk that goes on found, as soon as who asks is willing to wait for it.
    pub(super) fn wait(&mut self, containers: &mut Containers) -> Option<Found> {
        self.wait_for(self.patience, containers)
    }

    /// The same if it has ended.
    pub(super) fn poll(&mut self, containers: &mut Containers) -> Option<Found> {
        self.wait_for(Some(Duration::ZERO), containers)
    }

    /// The same however long it takes.
    pub(super) fn finish(&mut self, containers: &mut Containers) -> Option<Found> {
        self.wait_for(None, containers)
    }

    fn wait_for(
        &mut self,
        longest: Option<Duration>,
        containers: &mut Containers,
    ) -> Option<Found> {
        let found = match self.walk.as_mut()?.wait(longest) {
            Outcome::GoesOn => return None,
            Outcome::Lost => None,
            Outcome::Done(done) => {
                let (found, known) = *done;
                *containers = known;
                self.note(&found);
                Some(found)
            }
        };
        self.walk = None;
        found
    }

    fn note(&mut self, found: &Found) {
        self.began = found.began;
        self.ended = Some(found.ended);
        self.hidden = found.pass.hidden;
        self.budget.charge(found.ended - found.started);
    }
}
