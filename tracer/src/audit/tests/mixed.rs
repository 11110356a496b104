//! Whose the sockets of one group are.

use super::*;

/// One group with a socket of each of these processes.
fn shared(owners: &[Owner]) -> Group {
    let mut shared = group(0, "0.0.0.0", A);
    let first = shared.members.remove(0);
    for (place, owner) in owners.iter().enumerate() {
        shared.members.push(Member {
            place,
            inode: place as u64 + 1,
            owners: Arc::from([owner.clone()]),
            ..first.clone()
        });
    }
    shared
}

fn called(pid: u32, comm: &str) -> Owner {
    Owner {
        comm: comm.into(),
        ..owner(pid)
    }
}

fn child_of(parents: &[u32]) -> Relation {
    Relation {
        ancestors: parents.to_vec(),
        started: 1,
    }
}

#[test]
fn an_old_release_beside_the_new_one_is_found_with_both_named() {
    let owners = [
        called(11, "v1"),
        called(12, "v1"),
        called(21, "v2"),
        called(22, "v2"),
    ];
    let mut scene = scene(Algorithm::AddressFirst, vec![shared(&owners)]);
    for (pid, parents) in [(21, vec![20, 7]), (22, vec![20, 7])] {
        scene.kin.relations.insert(pid, child_of(&parents));
    }
    let found = findings(&scene);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].kind, found[0].severity),
        (Kind::MixedGroup, Severity::Warning)
    );
    for said in ["v1(11) +1 (2 sockets)", "v2(21) +1 (2 sockets)"] {
        assert!(found[0].cause.contains(said), "{}", found[0].cause);
    }
}

#[test]
fn one_service_is_not_mixed() {
    let scene = |owners: &[Owner]| scene(Algorithm::AddressFirst, vec![shared(owners)]);
    // Called alike and of one executable; children of one parent; a parent and its child.
    assert_eq!(brief(&scene(&[called(1, "w"), called(2, "w")])), []);
    let mut siblings = scene(&[called(11, "one"), called(12, "two")]);
    for pid in [11, 12] {
        siblings.kin.relations.insert(pid, child_of(&[10]));
    }
    assert_eq!(brief(&siblings), []);
    let mut family = scene(&[called(11, "one"), called(12, "two")]);
    family.kin.relations.insert(12, child_of(&[11]));
    assert_eq!(brief(&family), []);
}

#[test]
fn what_a_dead_parent_left_is_not_one_with_the_next_of_its_name() {
    let mut scene = scene(
        Algorithm::AddressFirst,
        vec![shared(&[called(11, "w"), called(12, "w")])],
    );
    scene.kin.orphans.insert(11);
    let found = findings(&scene);
    assert_eq!(found[0].kind, Kind::MixedGroup);
    let said = "w(11) (1 socket, left by a parent that ended)";
    assert!(found[0].cause.contains(said), "{}", found[0].cause);
    scene.kin.orphans.insert(12);
    assert_eq!(brief(&scene), []);
}

#[test]
fn who_holds_one_socket_together_belongs_together() {
    let mut group = shared(&[called(1, "systemd"), called(12, "b"), called(13, "c")]);
    group.members[0].owners = Arc::from([called(1, "systemd"), called(12, "b"), called(13, "c")]);
    assert_eq!(brief(&scene(Algorithm::AddressFirst, vec![group])), []);
}
