//! One reuseport group whose sockets belong to processes that have nothing in common: an old
//! release that did not end, a descriptor that a child of a dead service keeps.

use std::collections::{BTreeMap, HashMap};

use super::{
    Finding, Group, Kind, Member, Severity, each_once,
    finding::{Situation, finding},
    fold,
    kin::{counting, fellows},
    view::View,
};
use crate::{event::Owner, words};

/// Most sets of processes that are named.
const MOST_SETS: usize = 4;

/// Sockets of a group whose processes belong together.
struct Set {
    sockets: usize,
    owners: Vec<Owner>,
}

pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    let groups = 0..view.scene.groups.len();
    let mixed = groups.filter_map(|index| {
        let sets = sets(view, view.group(index));
        (sets.len() > 1).then(|| {
            (
                (view.group(index).bound.netns, view.who(index)),
                (index, sets),
            )
        })
    });
    fold(mixed)
        .into_iter()
        .map(|(_, cases)| told(view, &cases))
        .collect()
}

/// The members by whose they are. Of those that nobody is seen to hold nothing is known.
fn sets(view: &View<'_>, group: &Group) -> Vec<Set> {
    let held: Vec<&Member> = group
        .members
        .iter()
        .filter(|member| !member.owners.is_empty())
        .collect();
    if held.len() < 2 {
        return Vec::new();
    }
    // Who holds one socket together belongs together; each process is looked at once.
    let owners = each_once(held.iter().flat_map(|member| member.owners.iter()));
    let places: HashMap<u32, usize> = owners
        .iter()
        .enumerate()
        .map(|(place, owner)| (owner.pid, place))
        .collect();
    let mut fellows = fellows(&owners, view.scene);
    for member in &held {
        let mut counting = counting(&member.owners).map(|owner| places[&owner.pid]);
        if let Some(first) = counting.next() {
            counting.for_each(|other| fellows.join(first, other));
        }
    }
    let mut sets: BTreeMap<usize, Set> = BTreeMap::new();
    for member in held {
        let first = counting(&member.owners).next();
        let Some(set) = first.map(|owner| fellows.find(places[&owner.pid])) else {
            continue;
        };
        let empty = || Set {
            sockets: 0,
            owners: Vec::new(),
        };
        sets.entry(set).or_insert_with(empty).sockets += 1;
    }
    for (place, owner) in owners.into_iter().enumerate() {
        if let Some(set) = sets.get_mut(&fellows.find(place)) {
            set.owners.push(owner);
        }
    }
    sets.into_values().collect()
}

fn told(view: &View<'_>, cases: &[(usize, Vec<Set>)]) -> Finding {
    let (index, sets) = &cases[0];
    let orphans = |set: &Set| {
        let orphans = &view.scene.orphans;
        set.owners.iter().all(|owner| orphans.contains(&owner.pid))
    };
    let names: Vec<String> = sets
        .iter()
        .take(MOST_SETS)
        .map(|set| {
            let sockets = match set.sockets {
                1 => "1 socket".to_owned(),
                more => format!("{more} sockets"),
            };
            let left = if orphans(set) {
                ", left by a parent that ended"
            } else {
                ""
            };
            format!("{} ({sockets}{left})", words::owners(&set.owners))
        })
        .collect();
    let more = match sets.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let cause = format!(
        "The sockets of {} are one reuseport group but belong to processes that have nothing in \
         common: {}{more}. The kernel shares connections among all of them, so a client reaches \
         either.",
        view.group(*index).endpoint(),
        names.join("; "),
    );
    let remedy = "If one of them is a release that was to end, or a child that inherited the \
         descriptor, end it; otherwise give them different ports. A descriptor that is opened \
         with O_CLOEXEC is not inherited.";
    let cases: Vec<Vec<usize>> = cases.iter().map(|(index, _)| vec![*index]).collect();
    let group = view.group(*index);
    let situation = Situation {
        kind: Kind::MixedGroup,
        severity: Severity::Warning,
        key: format!(" {} {}", group.endpoint(), group.uid),
        cases: &cases,
    };
    finding(view, &situation, cause, remedy.to_owned())
}
