//! What is said where the order of start decides.

use super::*;

/// The causes of overlaps where the order of start decides: chain, and whose restart robs.
#[test]
fn overlaps_tell_the_chain_and_the_next_restart() {
    let (a4, b4) = ("6.6.6.6:80 of p200(200)", "*:80 of p100(100)");
    let (a6, b6) = ("[2001:db8::6]:80 of p200(200)", "[::]:80 of p100(100)");
    let now4 =
        format!("{b4} stands first and gets the connections for 6.6.6.6:80 until {a4} restarts.");
    let next4 = format!("{a4} stands first now; at the next restart of {b4} that one takes");
    let now6 = format!("until {b6} restarts.");
    let next6 = format!("{a6} stands first now; when it restarts next, {b6} takes");
    for (places, addresses, said, order) in [
        ((0, 1), ("0.0.0.0", "6.6.6.6"), now4, "*:80, 6.6.6.6:80"),
        ((1, 0), ("0.0.0.0", "6.6.6.6"), next4, "6.6.6.6:80, *:80"),
        (
            (0, 1),
            ("::", "2001:db8::6"),
            now6,
            "[::]:80, [2001:db8::6]:80",
        ),
        (
            (1, 0),
            ("::", "2001:db8::6"),
            next6,
            "[2001:db8::6]:80, [::]:80",
        ),
    ] {
        let groups = vec![
            group(places.0, addresses.0, A),
            group(places.1, addresses.1, B),
        ];
        let found = findings(&scene(Algorithm::PortOnly, groups));
        let order = format!("The chain of port 80, first to last: {order}.");
        assert!(found[0].cause.contains(&order), "{}", found[0].cause);
        assert!(found[0].cause.contains(&said), "{}", found[0].cause);
        assert!(found[0].remedy.contains("not 4.16"), "{}", found[0].remedy);
        assert!(
            !found[0].remedy.contains("more than ten"),
            "{}",
            found[0].remedy
        );
    }
}

/// Other ports of the namespace may share the bucket.
#[test]
fn neighbours_fill_the_bucket() {
    let with = |neighbours: usize, port: u16| {
        let mut groups = vec![group(0, "0.0.0.0", A), group(1, "6.6.6.6", B)];
        for place in 0..neighbours {
            let mut neighbour = group(place + 2, "0.0.0.0", 300);
            neighbour.bound.port = port + 32 * u16::try_from(place).expect("a small number");
            groups.push(neighbour);
        }
        findings(&scene(Algorithm::Hybrid, groups)).remove(0)
    };
    let few = with(8, 112);
    assert_eq!(few.severity, Severity::Critical);
    assert!(
        few.cause.contains("(10 are seen in it now;"),
        "{}",
        few.cause
    );
    assert!(few.remedy.contains("more than ten"), "{}", few.remedy);
    let many = with(9, 112);
    assert_eq!(many.severity, Severity::Info);
    assert!(
        many.cause.contains("and 11 are seen in it now"),
        "{}",
        many.cause
    );
    assert_eq!(with(9, 113).severity, Severity::Critical, "another bucket");
}

/// An IPv6 socket on a mapped address stands behind every IPv4 one, whoever restarts.
#[test]
fn a_mapped_listener_is_advised_nothing_that_does_not_help() {
    let groups = vec![group(0, "::ffff:6.6.6.6", A), group(1, "0.0.0.0", B)];
    let mut scene = scene(Algorithm::PortOnly, groups);
    scene.connections = vec![held("6.6.6.6:80", Family::Ipv4, B)];
    let found = findings(&scene);
    let kinds: Vec<Kind> = found.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Overlap, Kind::Evidence]);
    assert!(
        found[0].cause.contains("no restart helps"),
        "{}",
        found[0].cause
    );
    for finding in &found {
        let said = &finding.remedy;
        assert!(said.contains("listen with an IPv4 socket"), "{said}");
        for useless in ["after every restart", "For now", "open across restarts"] {
            assert!(!said.contains(useless), "{said}");
        }
    }
}

/// Where one is bound to a device, both fit only what comes through it.
#[test]
fn an_overlap_beside_a_device_is_of_what_comes_through_it() {
    for (specific, general) in [
        (on_device(group(1, "6.6.6.6", B), 1), group(0, "0.0.0.0", A)),
        (group(1, "6.6.6.6", B), on_device(group(0, "0.0.0.0", A), 1)),
    ] {
        let groups = || vec![general.clone(), specific.clone()];
        let found = findings(&scene(Algorithm::AddressFirst, groups()));
        let said = &found[0].cause;
        assert!(said.contains(" and comes through eth1. While"), "{said}");
        let found = findings(&scene(Algorithm::PortOnly, groups()));
        let said = &found[0].cause;
        assert!(said.contains("80 through eth1 until"), "{said}");
    }
    let groups = vec![group(0, "0.0.0.0", A), group(1, "6.6.6.6", B)];
    let found = findings(&scene(Algorithm::AddressFirst, groups));
    assert!(!found[0].cause.contains("through"), "{}", found[0].cause);
}

/// Each device is a situation of its own.
#[test]
fn overlaps_through_different_devices_are_not_one_finding() {
    let groups = vec![
        group(0, "0.0.0.0", A),
        on_device(group(1, "6.6.6.6", B), 1),
        on_device(group(2, "6.6.6.7", B), 2),
    ];
    let found = findings(&scene(Algorithm::AddressFirst, groups));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_ne!(found[0].id, found[1].id);
}
