//! Whether processes belong to one service.

use std::collections::HashMap;

use crate::{event::Owner, processes::Relation};

/// Whether any process of one side belongs with any of the other: the same one, a parent
/// and its child, or one executable in one unit of systemd or one container. Siblings are
/// not, as a shell or a supervisor starts many things; nor is a session's scope a service.
pub(super) fn related(one: &[Owner], other: &[Owner], relations: &HashMap<u32, Relation>) -> bool {
    // systemd holds the sockets that it activates services by: the services count.
    let parted = |owners: &[Owner]| owners.iter().any(|owner| owner.pid != 1);
    let counts = |owner: &&Owner, owners: &[Owner]| owner.pid != 1 || !parted(owners);
    one.iter().filter(|owner| counts(owner, one)).any(|mine| {
        other
            .iter()
            .filter(|owner| counts(owner, other))
            .any(|theirs| belong(mine, theirs, relations))
    })
}

fn belong(one: &Owner, other: &Owner, relations: &HashMap<u32, Relation>) -> bool {
    let descends = |child: &Owner, parent: &Owner| {
        relations
            .get(&child.pid)
            .is_some_and(|relation| relation.ancestors.contains(&parent.pid))
    };
    let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    let service = one
        .unit
        .as_ref()
        .is_some_and(|unit| unit.ends_with(".service"));
    let place = service && same(&one.unit, &other.unit) || same(&one.container, &other.container);
    let place = place && one.container_unit == other.container_unit;
    one.pid == other.pid
        || descends(one, other)
        || descends(other, one)
        || place && same(&one.exe, &other.exe)
}
