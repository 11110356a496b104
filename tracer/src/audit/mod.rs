//! What can be told of listeners without tracing: who stands in whose way, and what shows
//! that it happened. Pure; `docs/audit.md` describes every kind of finding.
#![forbid(unsafe_code)]

mod evidence;
mod kin;
mod overlap;
mod queues;
mod split;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use crate::{
    event::{Endpoint, Family, Netns, Owner, Queue},
    judge::rules::{Algorithm, Bound},
    kernel::algorithm::BUCKETS,
    listeners::connections::Connection,
    processes::Relation,
    sinks, words,
};

pub use evidence::contested;

/// Version of the JSON output.
pub const SCHEMA: u32 = 1;

/// Everything that was looked at.
#[derive(Clone, Debug)]
pub struct Scene {
    /// How this kernel looks a listener up.
    pub algorithm: Algorithm,
    /// The listeners, grouped.
    pub groups: Vec<Group>,
    /// Connections on the ports of interest, at the second look.
    pub connections: Vec<Held>,
    /// Parents and starts of the processes concerned.
    pub relations: HashMap<u32, Relation>,
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

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A less specific listener beside a more specific one.
    Overlap,
    /// A group bound to a device beside an unbound one.
    DevOrder,
    /// Sockets that look like one group and are several.
    SplitGroup,
    /// Connections that nobody accepts, or a listener that nobody holds.
    NoAcceptor,
    /// A connection held by a process whose listener is the less specific one.
    Evidence,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overlap => "overlap",
            Self::DevOrder => "dev_order",
            Self::SplitGroup => "split_group",
            Self::NoAcceptor => "no_acceptor",
            Self::Evidence => "evidence",
        })
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; common on purpose
    Info,
    /// Connections can reach the wrong process, or did
    Warning,
    /// They do now, or nobody serves them
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// Something found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// [`SCHEMA`]
    pub schema: u32,
    /// The same for the same situation: made of kind, namespace and bindings.
    pub id: String,
    /// What kind of thing.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub netns: Arc<Netns>,
    /// The listeners concerned; for a pair, the one at a disadvantage by right first: the
    /// more specific one.
    pub listeners: Vec<Party>,
    /// How many connections show it (`evidence`) or wait (`no_acceptor`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Some of them, from the client's side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Endpoint>,
    /// One sentence or two: what, and why.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

/// Listeners that a finding is about.
#[derive(Clone, Debug, Serialize)]
pub struct Party {
    /// Bound address; unspecified for a wildcard.
    pub address: IpAddr,
    /// Bound port.
    pub port: u16,
    /// Family of the sockets.
    pub family: Family,
    /// Interface they are bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// `IPV6_V6ONLY`
    pub v6only: bool,
    /// Owner of the sockets.
    pub uid: u32,
    /// Inode numbers of the sockets, in chain order.
    pub inodes: Vec<u64>,
    /// Processes that hold any of them.
    pub owners: Vec<Owner>,
}

/// Everything found, the worst first.
#[must_use]
pub fn findings(scene: &Scene) -> Vec<Finding> {
    let mut findings = overlap::findings(scene);
    findings.extend(split::findings(scene));
    findings.extend(queues::findings(scene));
    findings.extend(evidence::findings(scene));
    findings.sort_by(|one, other| {
        let key = |finding: &Finding| (finding.netns.inode, finding.listeners[0].port);
        let severity = other.severity.cmp(&one.severity);
        severity.then_with(|| key(one).cmp(&key(other)))
    });
    findings
}

/// Sockets in the bucket of a port, as far as they are seen: those of its namespace whose
/// ports share it. Which of other namespaces are in it is a secret of the kernel's.
fn in_bucket(scene: &Scene, of: &Bound) -> usize {
    let shares =
        |bound: &Bound| bound.netns == of.netns && bound.port % BUCKETS == of.port % BUCKETS;
    let groups = scene.groups.iter().filter(|group| shares(&group.bound));
    groups.map(|group| group.members.len()).sum()
}

impl Group {
    /// Where it is bound, as it is shown.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let address = self.bound.shown_address();
        sinks::place(address, self.bound.port, self.device.as_deref())
    }

    /// Everybody who holds a member, each once.
    #[must_use]
    pub fn owners(&self) -> Vec<Owner> {
        let mut owners: Vec<Owner> = Vec::new();
        for owner in self.members.iter().flat_map(|member| member.owners.iter()) {
            if owners.iter().all(|known| known.pid != owner.pid) {
                owners.push(owner.clone());
            }
        }
        owners
    }

    fn named(&self) -> String {
        let owners = self.owners();
        if owners.is_empty() {
            return self.endpoint();
        }
        format!("{} of {}", self.endpoint(), words::owners(&owners))
    }

    fn place(&self) -> (&Bound, usize) {
        let first = self.members.iter().map(|member| member.place).min();
        (&self.bound, first.unwrap_or(usize::MAX))
    }

    fn is_complete(&self) -> bool {
        self.members.iter().all(|member| member.complete)
    }

    fn party(&self) -> Party {
        Party {
            address: self.bound.shown_address(),
            port: self.bound.port,
            family: self.bound.family,
            device: self.device.clone(),
            v6only: self.bound.v6only,
            uid: self.uid,
            inodes: self.members.iter().map(|member| member.inode).collect(),
            owners: self.owners(),
        }
    }
}

/// A finding without connections.
fn finding(
    kind: Kind,
    severity: Severity,
    groups: &[&Group],
    cause: String,
    remedy: String,
) -> Finding {
    let netns = groups[0].netns.clone();
    let mut situation = format!("{kind} {}", words::namespace(&netns));
    for group in groups {
        let (bound, uid) = (&group.bound, group.uid);
        // Writing to a string does not fail.
        let _ = write!(
            situation,
            " {} {:?} {} {uid}",
            group.endpoint(),
            bound.family,
            bound.v6only
        );
    }
    Finding {
        schema: SCHEMA,
        id: format!("{kind}-{:08x}", hash(&situation)),
        kind,
        severity,
        netns,
        listeners: groups.iter().map(|group| group.party()).collect(),
        connections: None,
        clients: Vec::new(),
        cause,
        remedy,
    }
}

/// FNV-1a: the same in every build and release, which the standard library's is not.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
