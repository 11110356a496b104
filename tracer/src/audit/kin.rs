//! Whether processes belong to one service.

use std::collections::HashMap;

use super::Scene;
use crate::{event::Owner, processes::Relation};

/// Whether any process of one side belongs with any of the other: the same one, a parent
/// and its child, or one executable in one unit of systemd or one container. Siblings are
/// not, as a shell or a supervisor starts many things; nor is a session's scope a service.
pub(super) fn related(one: &[Owner], other: &[Owner], relations: &HashMap<u32, Relation>) -> bool {
    counting(one).any(|mine| counting(other).any(|theirs| belong(mine, theirs, relations)))
}

/// systemd holds the sockets that it activates services by: the services count.
pub(super) fn counting(owners: &[Owner]) -> impl Iterator<Item = &Owner> {
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

/// Sets of the processes, by their places: those of one set may well share a
/// reuseport group on purpose. They are an ancestor and its descendant, or have an ancestor
/// in common besides process 1; or they are called alike and run one executable, or in one
/// unit or container, and are both orphans or both not: what a release that ended left
/// behind is not one with the next.
pub(super) fn fellows(owners: &[Owner], scene: &Scene) -> Sets {
    let mut sets = Sets::of(owners.len());
    let mut of_process: HashMap<u32, usize> = HashMap::new();
    let mut of_kind: HashMap<_, usize> = HashMap::new();
    for (place, owner) in owners.iter().enumerate() {
        let relation = scene.relations.get(&owner.pid);
        let ancestors = relation.map_or(&[][..], |relation| &relation.ancestors);
        for pid in [owner.pid].iter().chain(ancestors) {
            sets.join(place, *of_process.entry(*pid).or_insert(place));
        }
        let orphan = scene.orphans.contains(&owner.pid);
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

/// Disjoint sets of numbers.
pub(super) struct Sets(Vec<usize>);

impl Sets {
    fn of(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// The number that stands for the set.
    pub(super) fn find(&mut self, mut one: usize) -> usize {
        while self.0[one] != one {
            self.0[one] = self.0[self.0[one]];
            one = self.0[one];
        }
        one
    }

    pub(super) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one.max(other)] = one.min(other);
    }
}
