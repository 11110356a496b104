//! What containers and their pods are called, as files of the host tell. Container runtimes are
//! not asked and nothing is started: sockpick runs as root, and these files are others'. Each is
//! read up to a bound, and a name that is not one is not told.

mod files;
mod kubelet;
mod look;
mod parse;
mod told;
mod users;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use look::Look;
pub(super) use told::{Asked, Told, is_id, is_pod_uid};

/// Most containers whose names are kept; past that memory starts afresh.
const MOST_KEPT: usize = 4096;
/// A name is read anew after this time: a container may be renamed.
const NAMED_AGE: Duration = Duration::from_mins(5);
/// That there is none is believed so long: the runtime may not have written it yet.
const NAMELESS_AGE: Duration = Duration::from_secs(30);
/// What is known of a container.
struct Known {
    told: Told,
    looked: Instant,
    asked: Instant,
}

impl Known {
    fn is_old(&self, in_pod: bool, now: Instant) -> bool {
        let oldest = if self.told.is_whole(in_pod) {
            NAMED_AGE
        } else {
            NAMELESS_AGE
        };
        now.duration_since(self.looked) >= oldest
    }
}

/// Names of containers, each looked up once in a while.
pub(super) struct Containers {
    known: HashMap<Asked, Known>,
    look: Look,
}

impl Default for Containers {
    fn default() -> Self {
        Self::under("/".into())
    }
}

impl Containers {
    /// Reads the files under `root`.
    pub(super) fn under(root: PathBuf) -> Self {
        Self {
            known: HashMap::new(),
            look: Look::under(root),
        }
    }

    /// What a container is called. Reads files if that is not known, or was long ago.
    pub(super) fn tell(&mut self, asked: &Asked, now: Instant) -> Told {
        let in_pod = asked.pod_uid.is_some();
        if let Some(known) = self.known.get_mut(asked)
            && !known.is_old(in_pod, now)
        {
            known.asked = now;
            return known.told.clone();
        }
        if self.known.len() >= MOST_KEPT && !self.known.contains_key(asked) {
            self.known.clear();
        }
        let told = self.look.up(asked, now);
        let known = Known {
            told: told.clone(),
            looked: now,
            asked: now,
        };
        self.known.insert(asked.clone(), known);
        told
    }

    /// Forgets those that nobody asked for since: they are gone.
    pub(super) fn forget_before(&mut self, since: Instant) {
        self.known.retain(|_, known| known.asked >= since);
        self.look.forget_before(since);
    }
}
