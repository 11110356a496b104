//! Listeners that nobody accepts from, or that nobody holds.

use super::{Finding, Group, Held, Kind, Member, Scene, Severity, finding};
use crate::{
    event::{Endpoint, Queue},
    judge::rules::Packet,
};

/// Most clients that a finding names.
const MOST_CLIENTS: usize = 5;

pub(super) fn findings(scene: &Scene) -> Vec<Finding> {
    let stuck = scene.groups.iter().filter_map(|group| stuck(scene, group));
    let orphans = scene
        .groups
        .iter()
        .filter(|_| scene.owners_complete)
        .filter_map(orphan);
    stuck.chain(orphans).collect()
}

/// Members whose queue holds connections that waited at both looks.
fn stuck(scene: &Scene, group: &Group) -> Option<Finding> {
    let waiting: Vec<&Held> = scene
        .connections
        .iter()
        .filter(|held| held.waits && may_have_taken(group, held))
        .collect();
    let stuck: Vec<(&Member, Queue)> = group
        .members
        .iter()
        .filter_map(|member| Some((member, member.later?)))
        .filter(|(member, later)| {
            // accept() takes the oldest: had it run, fewer would have waited all the time.
            let queue = member.queue.length;
            queue > 0 && later.length >= queue && waiting.len() >= queue as usize
        })
        .collect();
    let (_, queue) = stuck.iter().max_by_key(|(_, later)| later.length)?;
    let full = stuck.iter().any(|(_, later)| is_full(*later));
    let connections: u64 = stuck.iter().map(|(_, later)| u64::from(later.length)).sum();
    let sockets = match (stuck.len(), group.members.len()) {
        (1, 1) => String::new(),
        (some, all) => format!(" ({some} of its {all} sockets)"),
    };
    let effect = if full {
        "the queue is full, so further clients get no answer until they give up"
    } else {
        "clients are connected, but nobody reads what they send"
    };
    let cause = format!(
        "{connections} connection{} in the accept queue of {}{sockets} and none was accepted \
         in {} ms; {effect} (fullest: {} of {}).",
        if connections == 1 { " waits" } else { "s wait" },
        group.named(),
        scene.watched.as_millis(),
        queue.length,
        queue.limit
    );
    let remedy = "See what its process does instead of accepting (stopped, blocked, out of \
         descriptors, or a worker that is stuck), and restart it.";
    let severity = if full {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut found = finding(Kind::NoAcceptor, severity, &[group], cause, remedy.into());
    found.connections = Some(connections);
    found.clients = clients(waiting.into_iter());
    Some(found)
}

/// As `sk_acceptq_is_full` (`include/net/sock.h`); the limit is not known from `/proc`.
fn is_full(queue: Queue) -> bool {
    queue.limit > 0 && queue.length > queue.limit
}

/// A socket that no process holds: the kernel's own, or forgotten.
fn orphan(group: &Group) -> Option<Finding> {
    if !group.owners().is_empty() {
        return None;
    }
    let cause = format!(
        "No process holds {}: it is a server inside the kernel (as that of NFS), a socket that \
         is on its way between processes, or one that only io_uring holds.",
        group.endpoint()
    );
    let remedy = "None is needed if the kernel serves that port; otherwise restart the service.";
    Some(finding(
        Kind::NoAcceptor,
        Severity::Info,
        &[group],
        cause,
        remedy.into(),
    ))
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
