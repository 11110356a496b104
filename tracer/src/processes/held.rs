//! What is known of who holds one socket.

use std::{sync::Arc, time::Instant};

use super::ends::Left;
use crate::{clock::monotonic_ns, event::Owner};

/// Those who ended are remembered so long, which is longer than a record is under way,
const LEFT_NS: u64 = 10_000_000_000;
/// and no more than so many of a socket.
pub(super) const MOST_LEFT: usize = 64;

/// What is known of who holds a socket.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) owners: Arc<[Owner]>,
    /// When these were last seen to live.
    pub(super) seen: Instant,
    /// When these were last seen to have the socket still.
    pub(super) confirmed: Option<Instant>,
    /// All processes were looked at for it; else only one was.
    pub(super) scanned: bool,
    /// Scans in a row that found nobody, and when the first of them was done (`CLOCK_MONOTONIC`
    /// ns).
    pub(super) nobody: u32,
    pub(super) nobody_ns: u64,
    /// Those who do not hold it any more.
    pub(super) left: Vec<Left>,
}

impl Held {
    pub(super) fn new() -> Self {
        Self {
            owners: Arc::from([]),
            seen: Instant::now(),
            confirmed: None,
            scanned: false,
            nobody: 0,
            nobody_ns: 0,
            left: Vec::new(),
        }
    }

    /// Whether the process was found not to hold it any more.
    pub(super) fn has_left(&self, owner: &Owner) -> bool {
        let is_it =
            |one: &Left| (one.owner.pid, one.owner.starttime) == (owner.pid, owner.starttime);
        self.left.iter().any(is_it)
    }

    /// All processes were looked at from then on, and these hold it.
    pub(super) fn looked_at(&mut self, owners: Vec<Owner>, from: Instant) {
        if owners.is_empty() {
            if self.nobody == 0 {
                self.nobody_ns = monotonic_ns();
            }
            self.nobody += 1;
        } else {
            self.nobody = 0;
        }
        self.scanned = true;
        self.seen = from;
        self.confirmed = Some(from);
        self.replace(owners);
    }

    /// Equal owners stay the same value: what was written of them is kept elsewhere.
    pub(super) fn replace(&mut self, owners: Vec<Owner>) {
        if *self.owners == *owners {
            return;
        }
        let now_ns = monotonic_ns();
        self.left.retain(|one| one.ns + LEFT_NS > now_ns);
        let gone = self.owners.iter().filter(|&owner| {
            let is_it = |now: &Owner| (now.pid, now.starttime) == (owner.pid, owner.starttime);
            !owners.iter().any(is_it)
        });
        let room = MOST_LEFT.saturating_sub(self.left.len());
        let gone: Vec<Left> = gone
            .take(room)
            .map(|owner| Left {
                owner: owner.clone(),
                ns: now_ns,
                is_exact: false,
            })
            .collect();
        self.left.extend(gone);
        self.owners = owners.into();
    }
}
