//! Many listeners: one situation is one finding, and it is found soon.

use super::*;
use nix::time::{ClockId, clock_gettime};

/// One address each beside a wildcard.
fn tenants(count: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = (0..count)
        .map(|place| {
            group(
                place,
                &format!("10.99.{}.{}", place / 250, place % 250 + 1),
                A,
            )
        })
        .collect();
    groups.push(group(count, "0.0.0.0", B));
    groups
}

#[test]
fn one_situation_is_one_finding_with_its_number_and_examples() {
    for (algorithm, severity) in [
        (Algorithm::AddressFirst, Severity::Info),
        (Algorithm::PortOnly, Severity::Warning),
    ] {
        let found = findings(&scene(algorithm, tenants(4000)));
        assert_eq!(found.len(), 1, "{algorithm:?}");
        let found = &found[0];
        assert_eq!((found.count, found.severity), (4000, severity));
        assert_eq!(found.of_first, 2);
        assert_eq!(found.listeners.len(), 6, "{:?}", found.listeners);
        let more = "The same holds for 3999 more: 10.99.0.2:80, 10.99.0.3:80, 10.99.0.4:80, \
             10.99.0.5:80, ….";
        assert!(found.cause.ends_with(more), "{}", found.cause);
        assert!(found.cause.len() < 1000, "{}", found.cause);
    }
}

#[test]
fn ports_of_the_same_processes_are_one_situation() {
    let mut groups = Vec::new();
    for port in 0..50_usize {
        for (step, (address, pid)) in [("127.0.0.1", A), ("0.0.0.0", B)].iter().enumerate() {
            let mut one = group(2 * port + step, address, *pid);
            one.bound.port = 1000 + u16::try_from(port).expect("a port");
            groups.push(one);
        }
    }
    let found = findings(&scene(Algorithm::AddressFirst, groups));
    assert_eq!((found.len(), found[0].count), (1, 50));
    let more = "for 49 more: 127.0.0.1:1001 beside *:1001, ";
    assert!(found[0].cause.contains(more), "{}", found[0].cause);
}

#[test]
fn a_situation_keeps_its_id_as_more_join_it() {
    let id = |count| {
        findings(&scene(Algorithm::AddressFirst, tenants(count)))[0]
            .id
            .clone()
    };
    assert_eq!(id(20), id(30));
}

#[test]
fn ten_thousand_listeners_take_no_time() {
    let started = processor_time();
    for algorithm in [Algorithm::AddressFirst, Algorithm::PortOnly] {
        let mut scene = scene(algorithm, tenants(10_000));
        scene.connections = (0..4000)
            .map(|last| {
                let local = format!("10.99.{}.{}:80", last / 250, last % 250 + 1);
                held(&local, Family::Ipv4, B)
            })
            .collect();
        let evidence = findings(&scene)
            .into_iter()
            .find(|one| one.kind == Kind::Evidence);
        let evidence = evidence.expect("evidence");
        assert_eq!((evidence.connections, evidence.count), (Some(4000), 4000));
    }
    // Without optimisation; growing with the square it took minutes.
    let took = processor_time().saturating_sub(started);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// What this thread had of a processor, whatever else goes on there.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock");
    Duration::from(time)
}
