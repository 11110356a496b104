//! Connections held by a process whose listener is not the most specific one.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
};

use super::{
    Finding, Group, Held, Kind, Scene, Severity, finding, in_bucket,
    kin::related,
    queues::{clients, may_have_taken, packet},
};
use crate::{event::Owner, judge::rules::Fit, listeners::chain, words};

/// The groups between which the owner of a connection is in question.
struct Contest<'a> {
    /// The most specific ones that fit.
    best: Vec<&'a Group>,
    /// Less specific ones that can have taken it.
    others: Vec<&'a Group>,
}

/// Whether more than one listener fits the connection, so that its holder matters: the
/// holders of all others need not be looked for.
#[must_use]
pub fn contested(groups: &[Group], held: &Held) -> bool {
    contest(groups.iter(), held).is_some()
}

pub(super) fn findings(scene: &Scene) -> Vec<Finding> {
    let by_port = super::overlap::on_one_port(scene);
    let ends: HashSet<(u32, SocketAddr, SocketAddr)> = scene
        .connections
        .iter()
        .map(|held| &held.connection)
        .map(|connection| (connection.netns, connection.local, connection.remote))
        .collect();
    let mut cases: BTreeMap<(usize, usize), Vec<&Held>> = BTreeMap::new();
    for held in &scene.connections {
        let connection = &held.connection;
        // Both ends are on listening ports: which one was accepted is not known.
        let is_ambiguous = ends.contains(&(connection.netns, connection.remote, connection.local));
        let key = (connection.netns, connection.local.port());
        let Some(groups) = by_port.get(&key).filter(|_| !is_ambiguous) else {
            continue;
        };
        if let Some((specific, other)) = robbed(scene, groups, held) {
            let key = (specific.place().1, other.place().1);
            cases.entry(key).or_default().push(held);
        }
    }
    cases
        .into_values()
        .filter_map(|held| report(scene, &held))
        .collect()
}

fn contest<'a>(groups: impl Iterator<Item = &'a Group>, held: &Held) -> Option<Contest<'a>> {
    let packet = packet(held);
    let fits: Vec<(&Group, Fit)> = groups
        .filter_map(|group| Some((group, group.bound.fit(&packet).ok()?)))
        .collect();
    let beaten = |fit: Fit| fits.iter().any(|(_, other)| other.beats(fit));
    let (others, best): (Vec<_>, Vec<_>) = fits.iter().copied().partition(|&(_, fit)| beaten(fit));
    let others: Vec<&Group> = others
        .into_iter()
        .map(|(group, _)| group)
        .filter(|group| may_have_taken(group, held))
        .collect();
    if others.is_empty() {
        return None;
    }
    let best = best.into_iter().map(|(group, _)| group).collect();
    Some(Contest { best, others })
}

/// The group whose connection it should have been, and the one that its holder has.
fn robbed<'a>(scene: &Scene, groups: &[&'a Group], held: &Held) -> Option<(&'a Group, &'a Group)> {
    if held.holders.is_empty() {
        return None;
    }
    let contest = contest(groups.iter().copied(), held)?;
    let holds = |group: &&Group| related(&held.holders, &group.owners(), &scene.relations);
    // Nothing can be said against owners who cannot be seen.
    let known = contest.best.iter().all(|group| !group.owners().is_empty());
    if !known || contest.best.iter().any(&holds) {
        return None;
    }
    let other = contest.others.iter().copied().find(|group| holds(group))?;
    Some((*contest.best.first()?, other))
}

fn report(scene: &Scene, held: &[&Held]) -> Option<Finding> {
    let groups: Vec<&Group> = scene.groups.iter().collect();
    let first = held.first()?;
    let (specific, other) = robbed(scene, &groups, first)?;
    let in_bucket = in_bucket(scene, &other.bound);
    let by_address = chain::by_address(scene.algorithm, in_bucket);
    let now = !by_address && chain::stands_before(other.place(), specific.place());
    let how = if now {
        "this kernel gives it such connections now, as its listener stands first in the chain"
    } else if by_address {
        "this kernel does that only while no more specific listener is there, or where a program \
         steers"
    } else {
        "its listener stood first in the chain then, or was the only one"
    };
    let remedy = format!(
        "A client that keeps such a connection open goes on talking to the wrong process: have \
         {} close it, or restart it. To keep it from happening again, keep {} open across \
         restarts, or bind {} to its own addresses.",
        words::owners(&first.holders),
        specific.endpoint(),
        other.endpoint()
    );
    let severity = if now {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut found = finding(
        Kind::Evidence,
        severity,
        &[specific, other],
        cause(scene, held, (specific, other), how),
        remedy,
    );
    found.connections = Some(held.len() as u64);
    found.clients = clients(held.iter().copied());
    Some(found)
}

fn cause(scene: &Scene, held: &[&Held], (specific, other): (&Group, &Group), how: &str) -> String {
    let first = held[0];
    let (count, are) = match held.len() {
        1 => ("1 connection".to_owned(), "is"),
        more => (format!("{more} connections"), "are"),
    };
    let owners = specific.owners();
    let age = if started(scene, &owners) <= started(scene, &first.holders) {
        "was already running when that one started"
    } else {
        "started later than that one, so its listener may be younger than the connection"
    };
    format!(
        "{count} to {} {are} held by {}, which has {}, though {} is more specific: {how}. {} {age}.",
        first.connection.local,
        words::owners(&first.holders),
        other.endpoint(),
        specific.named(),
        words::owners(&owners),
    )
}

/// When the first of them started.
fn started(scene: &Scene, owners: &[Owner]) -> u64 {
    owners
        .iter()
        .filter_map(|owner| scene.relations.get(&owner.pid))
        .map(|relation| relation.started)
        .min()
        .unwrap_or(u64::MAX)
}
