//! What containers and their pods are called, as files of the host tell. Container runtimes are
//! not asked and nothing is started: sockpick runs as root, and these files are others'. Each is
//! read up to a bound, and a name that is not one is not told.

mod files;
mod kubelet;
mod look;
mod parse;
mod users;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::event::Pod;
use look::Look;

/// Most containers whose names are kept; past that memory starts afresh.
const MOST_KEPT: usize = 4096;
/// A name is read anew after this time: a container may be renamed.
const NAMED_AGE: Duration = Duration::from_mins(5);
/// That there is none is believed so long: the runtime may not have written it yet.
const NAMELESS_AGE: Duration = Duration::from_secs(30);
/// Characters of a container's id.
const ID_LENGTH: usize = 64;

/// A container, by the cgroup that a process is in: what is above the container's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// 64 hexadecimal digits.
    pub(super) id: String,
    /// The user whose slice the cgroup is in. He may call cgroups in there as he likes, so only
    /// his own files say what they are called.
    pub(super) user: Option<u32>,
    /// The pod whose cgroup it is in.
    pub(super) pod_uid: Option<String>,
}

/// What a container is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) name: Option<String>,
    pub(super) pod: Option<Pod>,
}

impl Told {
    /// With what the other one tells besides. Where the two tell of different pods, this one is
    /// right.
    fn or(mut self, other: Self) -> Self {
        let mine = self.pod.as_ref().and_then(|pod| pod.uid.as_ref());
        let theirs = other.pod.as_ref().and_then(|pod| pod.uid.as_ref());
        if mine.is_some() && theirs.is_some() && mine != theirs {
            return self;
        }
        self.name = self.name.or(other.name);
        self.pod = match (self.pod, other.pod) {
            (Some(mine), Some(theirs)) => Some(Pod {
                namespace: mine.namespace.or(theirs.namespace),
                name: mine.name.or(theirs.name),
                uid: mine.uid.or(theirs.uid),
            }),
            (mine, theirs) => mine.or(theirs),
        };
        self
    }

    /// Whether nothing is left to be told of a container, `in_pod` or not.
    fn is_whole(&self, in_pod: bool) -> bool {
        let pod = self.pod.as_ref().and_then(Pod::full_name);
        self.name.is_some() && (!in_pod || pod.is_some())
    }
}

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

/// Whether it is an id as runtimes give it. Such a text leads to no other directory.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether it is the uid of a pod: a UUID, or of a static pod the 32 hexadecimal digits of a hash.
pub(super) fn is_pod_uid(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    matches!(lengths[..], [32] | [8, 4, 4, 4, 12]) && text.split('-').all(is_hex)
}
