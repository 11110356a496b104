mod many;
mod mixed;
mod order;

use super::*;
use crate::{
    event::{Family, Netns, Owner, Queue},
    judge::rules::{Algorithm, Bound},
    kin::{Kin, Relation},
    listeners::connections::Connection,
    words,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

const A: u32 = 100;
const B: u32 = 200;

fn owner(pid: u32) -> Owner {
    Owner {
        pid,
        comm: format!("p{pid}"),
        exe: Some("/usr/sbin/nginx".into()),
        ..Owner::default()
    }
}

/// Of one socket, at this place in the dump.
fn group(place: usize, address: &str, pid: u32) -> Group {
    let address: IpAddr = address.parse().expect("an address");
    Group {
        netns: Arc::new(Netns {
            inode: 1,
            cookie: None,
            name: None,
        }),
        bound: Bound::to(1, address, 80),
        device: None,
        uid: 0,
        members: vec![Member {
            place,
            inode: place as u64 + 1,
            queue: Queue {
                length: 0,
                limit: 4,
            },
            later: Some(Queue {
                length: 0,
                limit: 4,
            }),
            owners: Arc::from([owner(pid)]),
            complete: true,
        }],
    }
}

fn on_device(mut group: Group, device: u32) -> Group {
    group.bound.device = device;
    group.device = Some(format!("eth{device}").into());
    group
}

fn v6only(mut group: Group) -> Group {
    group.bound.v6only = true;
    group
}

fn scene(algorithm: Algorithm, groups: Vec<Group>) -> Scene {
    Scene {
        algorithm,
        groups,
        connections: Vec::new(),
        kin: Kin::default(),
        choosers: Vec::new(),
        owners_complete: true,
        watched: Duration::from_millis(200),
    }
}

fn held(local: &str, family: Family, pid: u32) -> Held {
    Held {
        connection: Connection {
            netns: 1,
            local: local.parse().expect("an endpoint"),
            remote: SocketAddr::from(([203, 0, 113, 7], 40000)),
            family,
            device: 0,
            inode: 77,
            cookie: 77,
        },
        holders: Arc::from([owner(pid)]),
        waits: false,
    }
}

/// Kind, severity and the listeners, as they are shown.
fn brief(scene: &Scene) -> Vec<(Kind, Severity, String)> {
    let shown = |party: &Party| words::bound_at(party.address, party.port, party.device.as_deref());
    findings(scene)
        .iter()
        .map(|finding| {
            let listeners: Vec<_> = finding.listeners.iter().map(shown).collect();
            (finding.kind, finding.severity, listeners.join(" "))
        })
        .collect()
}

#[test]
fn overlap_depends_on_algorithm_order_and_family() {
    use Algorithm::{AddressFirst, Hybrid, PortOnly};
    use Severity::{Critical, Info, Warning};
    // Which address is first in the chain, which second; the expected order is specific first.
    let cases = [
        (AddressFirst, "0.0.0.0", "6.6.6.6", Info, "6.6.6.6:80 *:80"),
        (PortOnly, "0.0.0.0", "6.6.6.6", Critical, "6.6.6.6:80 *:80"),
        (PortOnly, "6.6.6.6", "0.0.0.0", Warning, "6.6.6.6:80 *:80"),
        (Hybrid, "0.0.0.0", "6.6.6.6", Critical, "6.6.6.6:80 *:80"),
        (
            PortOnly,
            "::",
            "2001:db8::6",
            Critical,
            "[2001:db8::6]:80 [::]:80",
        ),
        // IPv4 sockets are met before IPv6 ones, wherever the dump has them.
        (PortOnly, "::", "6.6.6.6", Info, "6.6.6.6:80 [::]:80"),
        (PortOnly, "::", "0.0.0.0", Info, "*:80 [::]:80"),
        (AddressFirst, "0.0.0.0", "::", Info, "*:80 [::]:80"),
        (
            PortOnly,
            "::ffff:6.6.6.6",
            "0.0.0.0",
            Critical,
            "[::ffff:6.6.6.6]:80 *:80",
        ),
    ];
    for (algorithm, first, second, severity, listeners) in cases {
        let scene = scene(algorithm, vec![group(0, first, A), group(1, second, B)]);
        assert_eq!(
            brief(&scene),
            [(Kind::Overlap, severity, listeners.to_owned())],
            "{algorithm:?} {first} {second}"
        );
    }
}

#[test]
fn no_common_packet_no_overlap() {
    for (one, other) in [
        (group(0, "6.6.6.6", A), group(1, "7.7.7.7", B)),
        (group(0, "0.0.0.0", A), v6only(group(1, "::", B))),
        (group(0, "6.6.6.6", A), group(1, "2001:db8::6", B)),
        (
            on_device(group(0, "6.6.6.6", A), 2),
            on_device(group(1, "0.0.0.0", B), 3),
        ),
    ] {
        assert_eq!(brief(&scene(Algorithm::PortOnly, vec![one, other])), []);
    }
}

#[test]
fn hybrid_is_safe_in_a_crowded_bucket_and_one_service_cannot_rob_itself() {
    let mut many = group(0, "0.0.0.0", A);
    for place in 2..12 {
        many.members.push(Member {
            place,
            ..many.members[0].clone()
        });
    }
    let crowded = scene(Algorithm::Hybrid, vec![many, group(1, "6.6.6.6", B)]);
    assert_eq!(brief(&crowded)[0].1, Severity::Info);
    let groups = vec![group(0, "0.0.0.0", A), group(1, "6.6.6.6", A)];
    assert_eq!(
        brief(&scene(Algorithm::PortOnly, groups))[0].1,
        Severity::Info
    );
}

#[test]
fn a_device_group_beside_an_unbound_one_is_order_dependent_everywhere() {
    for (device_first, address) in [(true, "0.0.0.0"), (false, "0.0.0.0"), (false, "::")] {
        let places = if device_first { (0, 1) } else { (1, 0) };
        let bound = on_device(group(places.0, address, A), 2);
        let scene = scene(
            Algorithm::AddressFirst,
            vec![bound, group(places.1, address, B)],
        );
        let found = findings(&scene);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].kind, Kind::DevOrder);
        assert_eq!(found[0].severity, Severity::Warning);
        assert_eq!(found[0].listeners[0].device.as_deref(), Some("eth2"));
        let gets_nothing = found[0].cause.contains("gets nothing");
        assert_eq!(gets_nothing, !device_first, "{}", found[0].cause);
        let rule = if address == "::" { "first" } else { "last" };
        assert!(found[0].cause.contains(&format!("started {rule} wins")));
    }
}

#[test]
fn groups_are_split_by_settings_and_devices() {
    let mut other_user = group(1, "0.0.0.0", B);
    other_user.uid = 33;
    let cases = [
        (group(0, "0.0.0.0", A), other_user, Severity::Warning),
        (
            group(0, "::", A),
            v6only(group(1, "::", B)),
            Severity::Warning,
        ),
        (
            on_device(group(0, "0.0.0.0", A), 2),
            on_device(group(1, "0.0.0.0", B), 3),
            Severity::Info,
        ),
    ];
    for (one, other, severity) in cases {
        let scene = scene(Algorithm::AddressFirst, vec![one, other]);
        let found = brief(&scene);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0, found[0].1), (Kind::SplitGroup, severity));
    }
}

#[test]
fn queues_that_nobody_empties() {
    // Length at both looks, connections that waited all the time, what is found.
    let cases = [
        (0, 3, 0, None),
        (2, 1, 1, None),
        // As long as before, but others: somebody accepts.
        (2, 2, 0, None),
        (2, 2, 2, Some(Severity::Warning)),
        (4, 5, 4, Some(Severity::Critical)),
    ];
    for (first, second, waiting, severity) in cases {
        let mut listener = group(0, "6.6.6.6", A);
        listener.members[0].queue.length = first;
        listener.members[0].later = Some(Queue {
            length: second,
            limit: 4,
        });
        let mut scene = scene(Algorithm::AddressFirst, vec![listener]);
        scene.connections = (0..waiting)
            .map(|_| {
                let mut held = held("6.6.6.6:80", Family::Ipv4, A);
                held.connection.inode = 0;
                held.holders = Arc::from([]);
                held.waits = true;
                held
            })
            .collect();
        let found = findings(&scene);
        assert_eq!(found.first().map(|finding| finding.severity), severity);
    }
}

#[test]
fn a_stuck_queue_is_its_holders_and_not_its_groups() {
    let mut listener = group(0, "6.6.6.6", A);
    listener.members[0].queue.length = 1;
    listener.members[0].later = Some(Queue {
        length: 1,
        limit: 4,
    });
    listener.members.push(Member {
        place: 1,
        inode: 99,
        owners: Arc::from([owner(A), owner(B)]),
        ..group(1, "6.6.6.6", B).members[0].clone()
    });
    let mut scene = scene(Algorithm::AddressFirst, vec![listener]);
    let mut waiting = held("6.6.6.6:80", Family::Ipv4, A);
    waiting.holders = Arc::from([]);
    waiting.waits = true;
    scene.connections = vec![waiting];
    let found = findings(&scene).remove(0);
    let said =
        "1 connection waits in the accept queue of 6.6.6.6:80 of p100(100) (1 of the group's 2";
    assert!(found.cause.starts_with(said), "{}", found.cause);
    assert_eq!(found.listeners[0].inodes, [1]);
    assert_eq!(found.listeners[0].owners, [owner(A)]);
}

#[test]
fn a_listener_without_owner_is_told_only_where_all_are_visible() {
    let mut listener = group(0, "0.0.0.0", A);
    listener.members[0].owners = Arc::from([]);
    let mut scene = scene(Algorithm::AddressFirst, vec![listener]);
    assert_eq!(brief(&scene)[0].0, Kind::NoAcceptor);
    scene.owners_complete = false;
    assert_eq!(brief(&scene), []);
}

#[test]
fn a_connection_of_the_less_specific_listener_is_evidence() {
    let groups = || vec![group(0, "0.0.0.0", B), group(1, "6.6.6.6", A)];
    let with = |algorithm, held: Held| {
        let mut scene = scene(algorithm, groups());
        scene.connections = vec![held];
        brief(&scene)
            .into_iter()
            .find(|(kind, ..)| *kind == Kind::Evidence)
            .map(|(_, severity, listeners)| (severity, listeners))
    };
    let expected = |severity| Some((severity, "6.6.6.6:80 *:80".to_owned()));
    let of_b = || held("6.6.6.6:80", Family::Ipv4, B);
    assert_eq!(
        with(Algorithm::AddressFirst, of_b()),
        expected(Severity::Warning)
    );
    assert_eq!(
        with(Algorithm::PortOnly, of_b()),
        expected(Severity::Critical)
    );
    // A's own; one of another address; one whose holder has no listener here; one that an
    // IPv6 listener took; one that nobody is seen to hold.
    for innocent in [
        held("6.6.6.6:80", Family::Ipv4, A),
        held("7.7.7.7:80", Family::Ipv4, B),
        held("6.6.6.6:80", Family::Ipv4, 300),
        held("6.6.6.6:80", Family::Ipv6, B),
        Held {
            holders: Arc::from([]),
            ..of_b()
        },
    ] {
        assert_eq!(with(Algorithm::AddressFirst, innocent), None);
    }
}

#[test]
fn processes_of_one_service_are_no_evidence() {
    let mut scene = scene(
        Algorithm::AddressFirst,
        vec![group(0, "0.0.0.0", B), group(1, "6.6.6.6", A)],
    );
    scene.connections = vec![held("6.6.6.6:80", Family::Ipv4, B)];
    let evidence = |scene: &Scene| brief(scene).iter().any(|one| one.0 == Kind::Evidence);
    assert!(evidence(&scene));
    let child = Relation {
        ancestors: vec![50, A],
        started: 1,
    };
    scene.kin.relations.insert(B, child);
    assert!(!evidence(&scene), "a parent and its child");
    scene.kin.relations.clear();
    // Under one .service the executable tells; a session's scope tells nothing.
    for (unit, expected) in [("web.service", false), ("session-1.scope", true)] {
        for group in &mut scene.groups {
            for member in &mut group.members {
                let mut owner = member.owners[0].clone();
                owner.unit = Some(unit.into());
                member.owners = Arc::from([owner]);
            }
        }
        scene.connections[0].holders = scene.groups[0].members[0].owners.clone();
        assert_eq!(evidence(&scene), expected, "{unit}");
    }
}

#[test]
fn ids_stay_with_the_situation() {
    let id = |first: u32| {
        let groups = vec![group(0, "0.0.0.0", first), group(1, "6.6.6.6", A)];
        findings(&scene(Algorithm::AddressFirst, groups))[0]
            .id
            .clone()
    };
    assert_eq!(id(B), id(300), "another process is the same situation");
    assert!(id(B).starts_with("overlap-"));
}
