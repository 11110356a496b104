//! Whether processes belong to one service. Pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    event::Owner,
    words::{self, count},
};

/// Most sets of processes that are named.
const MOST_SETS: usize = 4;

/// What tells whether two processes belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    /// Its parent, the parent's parent and so on, without process 1.
    pub ancestors: Vec<u32>,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// What is known of processes beside what they hold.
#[derive(Clone, Debug, Default)]
pub struct Kin {
    /// Parents and starts.
    pub relations: HashMap<u32, Relation>,
    /// Those whose parent and whose session's leader have ended.
    pub orphans: HashSet<u32>,
}

/// Sockets of a group whose processes belong together.
pub struct Set {
    sockets: usize,
    owners: Vec<Owner>,
}

/// Whether any process of one side belongs with any of the other: the same one, a parent
/// and its child, or one executable in one unit of systemd or one container. Siblings are
/// not, as a shell or a supervisor starts many things; nor is a session's scope a service.
pub(crate) fn related(one: &[Owner], other: &[Owner], relations: &HashMap<u32, Relation>) -> bool {
    counting(one).any(|mine| counting(other).any(|theirs| belong(mine, theirs, relations)))
}

/// systemd holds the sockets that it activates services by: the services count.
fn counting(owners: &[Owner]) -> impl Iterator<Item = &Owner> {
    let parted = owners.iter().any(|owner| owner.pid != 1);
    owners.iter().filter(move |owner| owner.pid != 1 || !parted)
}

fn belong(one: &Owner, other: &Owner, relations: &HashMap<u32, Relation>) -> bool {
    let descends = |child: &Owner, parent: &Owner| {
        relations
            .get(&child.pid)
            .is_some_and(|relation| relation.ancestors.contains(&parent.pid))
    };
    let service = one
        .unit
        .as_ref()
        .is_some_and(|unit| unit.ends_with(".service"));
    let place = service && same(one.unit.as_ref(), other.unit.as_ref())
        || same(one.container.as_ref(), other.container.as_ref());
    let place = place && one.container_unit == other.container_unit;
    one.pid == other.pid
        || descends(one, other)
        || descends(other, one)
        || place && same(one.exe.as_ref(), other.exe.as_ref())
}

fn same(one: Option<&String>, other: Option<&String>) -> bool {
    one.is_some() && one == other
}

/// The members of a reuseport group, by whose they are; `members` has who holds each. Of those
/// that nobody is seen to hold nothing is known.
#[must_use]
pub fn sets(members: &[&[Owner]], kin: &Kin) -> Vec<Set> {
    let held = members.iter().filter(|owners| !owners.is_empty());
    let held: Vec<&[Owner]> = held.copied().collect();
    if held.len() < 2 {
        return Vec::new();
    }
    // Who holds one socket together belongs together; each process is looked at once.
    let owners = each_once(held.iter().copied().flatten());
    let places: HashMap<u32, usize> = owners
        .iter()
        .enumerate()
        .map(|(place, owner)| (owner.pid, place))
        .collect();
    let mut fellows = fellows(&owners, kin);
    for member in &held {
        let mut counting = counting(member).map(|owner| places[&owner.pid]);
        if let Some(first) = counting.next() {
            counting.for_each(|other| fellows.join(first, other));
        }
    }
    let mut sets: BTreeMap<usize, Set> = BTreeMap::new();
    for member in held {
        let first = counting(member).next();
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

/// The sets, with the sockets of each.
#[must_use]
pub fn named(sets: &[Set], kin: &Kin) -> String {
    let is_left = |set: &Set| {
        let mut owners = set.owners.iter();
        owners.all(|owner| kin.orphans.contains(&owner.pid))
    };
    let names: Vec<String> = sets
        .iter()
        .take(MOST_SETS)
        .map(|set| {
            let sockets = count(set.sockets as u64, "socket");
            let left = if is_left(set) {
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
    format!("{}{more}", names.join("; "))
}

/// Sets of the processes, by their places: those of one set may well share a
/// reuseport group on purpose. They are an ancestor and its descendant, or have an ancestor
/// in common besides process 1; or they are called alike and run one executable, or in one
/// unit or container, and are both orphans or both not: what a release that ended left
/// behind is not one with the next.
fn fellows(owners: &[Owner], kin: &Kin) -> Sets {
    let mut sets = Sets::of(owners.len());
    let mut of_process: HashMap<u32, usize> = HashMap::new();
    let mut of_kind: HashMap<_, usize> = HashMap::new();
    for (place, owner) in owners.iter().enumerate() {
        let relation = kin.relations.get(&owner.pid);
        let ancestors = relation.map_or(&[][..], |relation| &relation.ancestors);
        for pid in [owner.pid].iter().chain(ancestors) {
            sets.join(place, *of_process.entry(*pid).or_insert(place));
        }
        let orphan = kin.orphans.contains(&owner.pid);
        let places = [&owner.exe, &owner.unit, &owner.container];
        for (kind, place_of) in places.into_iter().enumerate() {
            if let Some(text) = place_of {
                let key = (kind, text, &owner.comm, orphan);
                sets.join(place, *of_kind.entry(key).or_insert(place));
            }
        }
    }
    sets
}

/// Processes, each once.
pub(crate) fn each_once<'a>(owners: impl Iterator<Item = &'a Owner>) -> Vec<Owner> {
    let mut known = HashSet::new();
    owners
        .filter(|owner| known.insert(owner.pid))
        .cloned()
        .collect()
}

/// Disjoint sets of numbers.
struct Sets(Vec<usize>);

impl Sets {
    fn of(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// The number that stands for the set.
    fn find(&mut self, mut one: usize) -> usize {
        while self.0[one] != one {
            self.0[one] = self.0[self.0[one]];
            one = self.0[one];
        }
        one
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one.max(other)] = one.min(other);
    }
}
