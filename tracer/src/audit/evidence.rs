//! Connections held by a process whose listener is not the most specific one.

use std::{
    collections::{BTreeSet, HashSet},
    net::SocketAddr,
};

use super::{
    finding::{Finding, Kind, Severity, Situation, finding, fold},
    queues::{clients, may_have_taken, packet},
    scene::{Group, Held},
    view::{Index, View},
};
use crate::{
    event::{Family, Owner},
    judge::rules::{Algorithm, Fit},
    kin::related,
    listeners::chain,
    words,
};

/// The groups between which the owner of a connection is in question.
struct Contest {
    /// The most specific ones that fit.
    best: Vec<usize>,
    /// Less specific ones that can have taken it.
    others: Vec<usize>,
}

/// Whether more than one listener fits the connection, so that its holder matters: the
/// holders of all others need not be looked for. The index is of these groups.
#[must_use]
pub fn contested(groups: &[Group], index: &Index, held: &Held) -> bool {
    contest(groups, index, held).is_some()
}

pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    let connections = &view.scene.connections;
    let ends: HashSet<(u32, SocketAddr, SocketAddr)> = connections
        .iter()
        .map(|held| &held.connection)
        .map(|connection| (connection.netns, connection.local, connection.remote))
        .collect();
    let cases = connections.iter().filter_map(|held| {
        let connection = &held.connection;
        // Both ends are on listening ports: which one was accepted is not known.
        let is_ambiguous = ends.contains(&(connection.netns, connection.remote, connection.local));
        if is_ambiguous {
            return None;
        }
        let case = robbed(view, held)?;
        Some((key(view, &case), case))
    });
    fold(cases)
        .into_iter()
        .map(|(_, cases)| report(view, &cases))
        .collect()
}

fn contest(groups: &[Group], index: &Index, held: &Held) -> Option<Contest> {
    let packet = packet(held);
    let fits: Vec<(usize, Fit)> = index
        .fitting(packet.netns, packet.destination, packet.port)
        .filter_map(|index| Some((index, groups[index].bound.fit(&packet).ok()?)))
        .collect();
    let beaten = |fit: Fit| fits.iter().any(|(_, other)| other.beats(fit));
    let (others, best): (Vec<_>, Vec<_>) = fits.iter().copied().partition(|&(_, fit)| beaten(fit));
    let others: Vec<usize> = others
        .into_iter()
        .map(|(index, _)| index)
        .filter(|&index| may_have_taken(&groups[index], held))
        .collect();
    if others.is_empty() {
        return None;
    }
    let best = best.into_iter().map(|(index, _)| index).collect();
    Some(Contest { best, others })
}

/// A connection that its holder's listener took from a more specific one.
struct Case<'a> {
    held: &'a Held,
    /// The group whose connection it should have been.
    specific: usize,
    /// The one that its holder has.
    other: usize,
}

fn robbed<'a>(view: &View<'_>, held: &'a Held) -> Option<Case<'a>> {
    if held.holders.is_empty() {
        return None;
    }
    let contest = contest(&view.scene.groups, &view.index, held)?;
    let holds =
        |&index: &usize| related(&held.holders, view.owners(index), &view.scene.kin.relations);
    // Nothing can be said against owners who cannot be seen.
    let known = contest
        .best
        .iter()
        .all(|&index| !view.owners(index).is_empty());
    if !known || contest.best.iter().any(holds) {
        return None;
    }
    let other = contest.others.iter().copied().find(holds)?;
    Some(Case {
        held,
        specific: *contest.best.first()?,
        other,
    })
}

/// Whether the kernel gives such connections to the other one now.
fn happens_now(view: &View<'_>, case: &Case<'_>) -> bool {
    !view.by_address(case.other) && view.stands_before(case.other, case.specific)
}

/// One situation: whatever was taken from others by one listener, or by one process.
fn key(view: &View<'_>, case: &Case<'_>) -> (u32, usize, bool, bool) {
    (
        view.group(case.other).bound.netns,
        view.who(case.other),
        happens_now(view, case),
        same_family(view, case),
    )
}

fn same_family(view: &View<'_>, case: &Case<'_>) -> bool {
    let family = |index| view.group(index).bound.family;
    family(case.specific) == family(case.other)
}

fn report(view: &View<'_>, cases: &[Case<'_>]) -> Finding {
    let first = &cases[0];
    let now = happens_now(view, first);
    let severity = if now {
        Severity::Critical
    } else {
        Severity::Warning
    };
    // Each pair once, that of the first connection first.
    let mut seen = HashSet::new();
    let pairs: Vec<Vec<usize>> = cases
        .iter()
        .map(|case| vec![case.specific, case.other])
        .filter(|pair| seen.insert(pair.clone()))
        .collect();
    let other = view.group(first.other);
    let situation = Situation {
        kind: Kind::Evidence,
        severity,
        key: format!(" {now} {} {}", other.endpoint(), other.uid),
        cases: &pairs,
    };
    let of_first: Vec<&Case<'_>> = cases
        .iter()
        .filter(|case| (case.specific, case.other) == (first.specific, first.other))
        .collect();
    let cause = cause(view, &of_first, now);
    let mut found = finding(view, &situation, cause, remedy(view, first));
    found.connections = Some(cases.len() as u64);
    found.clients = clients(cases.iter().map(|case| case.held));
    found
}

fn remedy(view: &View<'_>, case: &Case<'_>) -> String {
    let (specific, other) = (view.group(case.specific), view.group(case.other));
    let again = if view.by_address(case.other) || goes_first(specific, other) {
        format!(
            "keep {} open across restarts, or bind {} to its own addresses.",
            specific.endpoint(),
            other.endpoint()
        )
    } else {
        // Open or not, its place in the chain decides.
        let order = chain::order_of(specific.bound.family, other.bound.family);
        let hybrid = view.scene.algorithm == Algorithm::Hybrid;
        chain::cures(&specific.endpoint(), &other.endpoint(), order, hybrid)
    };
    format!(
        "A client that keeps such a connection open goes on talking to the wrong process: have \
         {} close it, or restart it. To keep it from happening again: {again}",
        words::owners(&case.held.holders),
    )
}

/// Whether the specific one gets its connections on every kernel while it is there.
fn goes_first(specific: &Group, other: &Group) -> bool {
    (specific.bound.family, other.bound.family) == (Family::Ipv4, Family::Ipv6)
}

fn cause(view: &View<'_>, cases: &[&Case<'_>], now: bool) -> String {
    let first = cases[0];
    let how = if now {
        "this kernel gives it such connections now, as its listener stands first in the chain"
    } else if view.by_address(first.other) {
        "this kernel does that only while no more specific listener is there, or where a program \
         steers"
    } else {
        "its listener stood first in the chain then, or was the only one"
    };
    let (count, are) = match cases.len() {
        1 => ("1 connection".to_owned(), "is"),
        more => (format!("{more} connections"), "are"),
    };
    let owners = view.owners(first.specific);
    let age = if started(view, owners) <= started(view, &first.held.holders) {
        "was already running when that one started"
    } else {
        "started later than that one, so its listener may be younger than the connection"
    };
    let addresses: BTreeSet<SocketAddr> = cases
        .iter()
        .map(|case| case.held.connection.local)
        .collect();
    let addresses: Vec<String> = addresses.iter().take(2).map(ToString::to_string).collect();
    format!(
        "{count} to {} {are} held by {}, which has {}, though {} is more specific: {how}. {} {age}.",
        addresses.join(", "),
        words::owners(&first.held.holders),
        view.group(first.other).endpoint(),
        view.named(first.specific),
        words::owners(owners),
    )
}

/// When the first of them started.
fn started(view: &View<'_>, owners: &[Owner]) -> u64 {
    owners
        .iter()
        .filter_map(|owner| view.scene.kin.relations.get(&owner.pid))
        .map(|relation| relation.started)
        .min()
        .unwrap_or(u64::MAX)
}
