//! One reuseport group whose sockets belong to processes that have nothing in common: an old
//! release that did not end, a descriptor that a child of a dead service keeps.

use super::{
    finding::{Finding, Kind, Severity, Situation, finding, fold},
    scene::Group,
    view::View,
};
use crate::{
    event::Owner,
    kin::{self, Set},
};

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

fn sets(view: &View<'_>, group: &Group) -> Vec<Set> {
    let members: Vec<&[Owner]> = group.members.iter().map(|one| &*one.owners).collect();
    kin::sets(&members, &view.scene.kin)
}

fn told(view: &View<'_>, cases: &[(usize, Vec<Set>)]) -> Finding {
    let (index, sets) = &cases[0];
    let cause = format!(
        "The sockets of {} are one reuseport group but belong to processes that have nothing in \
         common: {}. The kernel shares connections among all of them, so a client reaches \
         either.",
        view.group(*index).endpoint(),
        kin::named(sets, &view.scene.kin),
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
