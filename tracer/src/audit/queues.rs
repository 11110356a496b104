//! Listeners that nobody accepts from, or that nobody holds.

use std::{collections::HashMap, net::Ipv6Addr};

use super::{
    finding::{Finding, Kind, MOST_CLIENTS, Severity, Situation, finding, fold},
    scene::{Group, Held, Member, Scene},
    view::{View, named},
};
use crate::{
    event::{Endpoint, Owner, Queue},
    judge::rules::{Packet, Protocol, mapped},
    kin::each_once,
};

pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    let waiting = Waiting::of(view.scene);
    let groups = 0..view.scene.groups.len();
    let stuck = groups.clone().filter_map(|index| {
        let stuck = Stuck::of(view.group(index), index, &waiting)?;
        Some((stuck.key(view), stuck))
    });
    let stuck = fold(stuck);
    let orphans = groups
        .filter(|_| view.scene.owners_complete)
        .filter(|&index| view.owners(index).is_empty())
        .map(|index| (view.group(index).bound.netns, index));
    let orphans = fold(orphans);
    let stuck = stuck.iter().map(|(_, cases)| told(view, cases));
    let orphans = orphans.iter().map(|(_, cases)| orphan(view, cases));
    stuck.chain(orphans).collect()
}

/// Connections that waited at both looks, by where they arrived.
struct Waiting<'a> {
    by_port: HashMap<(u32, u16), Vec<&'a Held>>,
    by_address: HashMap<(u32, u16, Ipv6Addr), Vec<&'a Held>>,
}

impl<'a> Waiting<'a> {
    fn of(scene: &'a Scene) -> Self {
        let mut waiting = Self {
            by_port: HashMap::new(),
            by_address: HashMap::new(),
        };
        for held in scene.connections.iter().filter(|held| held.waits) {
            let connection = &held.connection;
            let (netns, port) = (connection.netns, connection.local.port());
            let address = mapped(connection.local.ip());
            let by_address = waiting.by_address.entry((netns, port, address));
            by_address.or_default().push(held);
            waiting.by_port.entry((netns, port)).or_default().push(held);
        }
        waiting
    }

    /// Those that the group may have taken.
    fn at(&self, group: &Group) -> Vec<&'a Held> {
        let bound = &group.bound;
        let here = if bound.is_wildcard() {
            self.by_port.get(&(bound.netns, bound.port))
        } else {
            self.by_address
                .get(&(bound.netns, bound.port, bound.address))
        };
        here.into_iter()
            .flatten()
            .copied()
            .filter(|held| may_have_taken(group, held))
            .collect()
    }
}

/// Members of a group whose queue holds connections that waited at both looks.
struct Stuck<'a> {
    index: usize,
    members: Vec<(&'a Member, Queue)>,
    waiting: Vec<&'a Held>,
    /// Who holds one of these members, not of all in the group.
    owners: Vec<Owner>,
}

impl<'a> Stuck<'a> {
    fn of(group: &'a Group, index: usize, waiting: &Waiting<'a>) -> Option<Self> {
        let mut members: Vec<(&Member, Queue)> = group
            .members
            .iter()
            .filter_map(|member| Some((member, member.later?)))
            .filter(|(member, later)| {
                let queue = member.queue.length;
                queue > 0 && later.length >= queue
            })
            .collect();
        if members.is_empty() {
            return None;
        }
        let waiting = waiting.at(group);
        // accept() takes the oldest: had it run, fewer would have waited all the time.
        members.retain(|(member, _)| waiting.len() >= member.queue.length as usize);
        let holders = members.iter().flat_map(|(member, _)| member.owners.iter());
        let owners = each_once(holders);
        (!members.is_empty()).then_some(Self {
            index,
            members,
            waiting,
            owners,
        })
    }

    fn is_full(&self) -> bool {
        self.members.iter().any(|(_, later)| is_full(*later))
    }

    fn key(&self, view: &View<'_>) -> (u32, bool, Vec<u32>) {
        let pids = self.owners.iter().map(|owner| owner.pid).collect();
        let netns = view.group(self.index).bound.netns;
        (netns, self.is_full(), pids)
    }

    fn connections(&self) -> u64 {
        let lengths = self
            .members
            .iter()
            .map(|(_, later)| u64::from(later.length));
        lengths.sum()
    }
}

fn told(view: &View<'_>, cases: &[Stuck<'_>]) -> Finding {
    let stuck = &cases[0];
    let group = view.group(stuck.index);
    let fullest = stuck.members.iter().map(|(_, later)| *later);
    let fullest = fullest.max_by_key(|queue| queue.length);
    let (length, limit) = fullest.map_or((0, 0), |queue| (queue.length, queue.limit));
    let connections = stuck.connections();
    let sockets = match (stuck.members.len(), group.members.len()) {
        (1, 1) => String::new(),
        (some, all) => format!(" ({some} of the group's {all} sockets)"),
    };
    let effect = if stuck.is_full() {
        "the queue is full, so further clients get no answer until they give up"
    } else {
        "clients are connected, but nobody reads what they send"
    };
    let cause = format!(
        "{connections} connection{} in the accept queue of {}{sockets} and none was accepted \
         in {} ms; {effect} (fullest: {length} of {limit}).",
        if connections == 1 { " waits" } else { "s wait" },
        named(&group.endpoint(), &stuck.owners),
        view.scene.watched.as_millis(),
    );
    let remedy = "See what its process does instead of accepting (stopped, blocked, out of \
         descriptors, or a worker that is stuck), and restart it.";
    let severity = if stuck.is_full() {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let indices: Vec<Vec<usize>> = cases.iter().map(|case| vec![case.index]).collect();
    let situation = Situation {
        kind: Kind::NoAcceptor,
        severity,
        key: format!(" {severity} {} {}", group.endpoint(), group.uid),
        cases: &indices,
    };
    let mut found = finding(view, &situation, cause, remedy.into());
    for (party, case) in found.listeners.iter_mut().zip(cases) {
        let members = case.members.iter();
        party.inodes = members.map(|(member, _)| member.inode).collect();
        party.owners.clone_from(&case.owners);
    }
    found.connections = Some(cases.iter().map(Stuck::connections).sum());
    found.clients = clients(cases.iter().flat_map(|case| case.waiting.iter().copied()));
    found
}

/// As `sk_acceptq_is_full` (`include/net/sock.h`); the limit is not known from `/proc`.
fn is_full(queue: Queue) -> bool {
    queue.limit > 0 && queue.length > queue.limit
}

/// A socket that no process holds: the kernel's own, or forgotten.
fn orphan(view: &View<'_>, indices: &[usize]) -> Finding {
    let cause = format!(
        "No process holds {}: it is a server inside the kernel (as that of NFS), a socket that \
         is on its way between processes, or one that only io_uring holds.",
        view.group(indices[0]).endpoint()
    );
    let remedy = "None is needed if the kernel serves that port; otherwise restart the service.";
    let cases: Vec<Vec<usize>> = indices.iter().map(|&index| vec![index]).collect();
    let situation = Situation {
        kind: Kind::NoAcceptor,
        severity: Severity::Info,
        key: " nobody".to_owned(),
        cases: &cases,
    };
    finding(view, &situation, cause, remedy.into())
}

/// Whether the connection can have come from the group: an accepted socket has its
/// listener's family and device.
pub(super) fn may_have_taken(group: &Group, held: &Held) -> bool {
    let connection = &held.connection;
    group.bound.family == connection.family
        && group.bound.device == connection.device
        && group.bound.fit(&packet(held)).is_ok()
}

/// The SYN of a connection, as far as it is known: not through which device it came,
/// unless the listener was bound to that.
pub(super) fn packet(held: &Held) -> Packet {
    let connection = &held.connection;
    Packet {
        netns: connection.netns,
        protocol: Protocol::Tcp,
        destination: connection.local.ip(),
        port: connection.local.port(),
        dif: connection.device,
        sdif: 0,
        l3mdev_accept: false,
    }
}

pub(super) fn clients<'a>(held: impl Iterator<Item = &'a Held>) -> Vec<Endpoint> {
    held.take(MOST_CLIENTS)
        .map(|held| Endpoint {
            address: held.connection.remote.ip(),
            port: held.connection.remote.port(),
        })
        .collect()
}
