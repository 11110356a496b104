//! What can be told of listeners without tracing: who stands in whose way, and what shows
//! that it happened. Pure; `docs/audit.md` describes every kind of finding.
#![forbid(unsafe_code)]

mod evidence;
mod finding;
pub mod kin;
mod mixed;
mod overlap;
mod pairs;
pub mod programs;
mod queues;
mod split;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use kin::Kin;
use programs::Chooser;

use crate::{
    event::{Netns, Owner, Queue},
    judge::rules::{Algorithm, Bound},
    listeners::connections::Connection,
    words,
};

pub use evidence::contested;
pub use finding::{Finding, Kind, Party, SCHEMA, Severity};
pub use view::Index;
use view::View;

/// Everything that was looked at.
#[derive(Clone, Debug)]
pub struct Scene {
    /// How this kernel looks a listener up.
    pub algorithm: Algorithm,
    /// The listeners, grouped.
    pub groups: Vec<Group>,
    /// Connections on the ports of interest, at the second look.
    pub connections: Vec<Held>,
    /// Of the processes concerned.
    pub kin: Kin,
    /// Groups with a program, as far as the kernel told.
    pub choosers: Vec<Chooser>,
    /// Whether every process could be looked into, so that no owner is no owner.
    pub owners_complete: bool,
    /// How long the accept queues were watched.
    pub watched: Duration,
}

/// Listeners bound alike under one user, in chain order: one reuseport group, or one socket.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their namespace.
    pub netns: Arc<Netns>,
    /// Where they are bound.
    pub bound: Bound,
    /// Name of the interface they are bound to.
    pub device: Option<Arc<str>>,
    /// Owner of the sockets.
    pub uid: u32,
    /// At least one.
    pub members: Vec<Member>,
}

/// One listening socket.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its place in the dump: chain order within a namespace and family.
    pub place: usize,
    /// Its inode number.
    pub inode: u64,
    /// Its accept queue at the first look.
    pub queue: Queue,
    /// And at the second; `None` if it was gone.
    pub later: Option<Queue>,
    /// Processes that hold it.
    pub owners: Arc<[Owner]>,
    /// Whether device, `v6only` and queue are known.
    pub complete: bool,
}

/// A connection and who holds it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The connection.
    pub connection: Connection,
    /// Processes that hold it; empty where none was found.
    pub holders: Arc<[Owner]>,
    /// Nobody had accepted it at either look.
    pub waits: bool,
}

/// Everything found, the worst first.
#[must_use]
pub fn findings(scene: &Scene) -> Vec<Finding> {
    let view = View::of(scene);
    let mut findings = overlap::findings(&view);
    findings.extend(split::findings(&view));
    findings.extend(mixed::findings(&view));
    findings.extend(programs::findings(&view));
    findings.extend(queues::findings(&view));
    findings.extend(evidence::findings(&view));
    findings.sort_by(|one, other| {
        let key = |finding: &Finding| (finding.netns.inode, finding.listeners[0].port);
        let severity = other.severity.cmp(&one.severity);
        severity.then_with(|| key(one).cmp(&key(other)))
    });
    findings
}

impl Group {
    /// Where it is bound, as it is shown.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let address = self.bound.shown_address();
        words::bound_at(address, self.bound.port, self.device.as_deref())
    }

    /// Everybody who holds a member, each once.
    #[must_use]
    pub fn owners(&self) -> Vec<Owner> {
        each_once(self.members.iter().flat_map(|member| member.owners.iter()))
    }

    fn is_complete(&self) -> bool {
        self.members.iter().all(|member| member.complete)
    }

    fn party(&self, inodes: Vec<u64>, owners: Vec<Owner>) -> Party {
        Party {
            address: self.bound.shown_address(),
            port: self.bound.port,
            family: self.bound.family,
            device: self.device.clone(),
            v6only: self.bound.v6only,
            uid: self.uid,
            inodes,
            owners,
        }
    }
}

/// Processes, each once.
fn each_once<'a>(owners: impl Iterator<Item = &'a Owner>) -> Vec<Owner> {
    let mut known = HashSet::new();
    owners
        .filter(|owner| known.insert(owner.pid))
        .cloned()
        .collect()
}

/// Cases by what makes them one situation, in the order in which the first of each came.
fn fold<K: Clone + Eq + Hash, C>(cases: impl IntoIterator<Item = (K, C)>) -> Vec<(K, Vec<C>)> {
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut folded: Vec<(K, Vec<C>)> = Vec::new();
    for (key, case) in cases {
        let place = *places.entry(key.clone()).or_insert(folded.len());
        match folded.get_mut(place) {
            Some((_, alike)) => alike.push(case),
            None => folded.push((key, vec![case])),
        }
    }
    folded
}
