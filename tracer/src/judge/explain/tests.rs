//! Tables: listeners, a packet, and who gets it by the rules and why.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::judge::rules::{Algorithm, Protocol};

/// A listener: `address`, device, and whether it takes IPv6 only.
fn socket(address: &str, device: u32, v6only: bool) -> Socket {
    let address: IpAddr = address.parse().unwrap_or(Ipv4Addr::BROADCAST.into());
    Socket {
        bound: Bound {
            device,
            v6only,
            ..Bound::to(1, address, 80)
        },
        uid: 0,
    }
}

fn packet(destination: &str, dif: u32) -> Packet {
    Packet {
        protocol: Protocol::Tcp,
        netns: 1,
        destination: destination.parse().unwrap_or(Ipv4Addr::BROADCAST.into()),
        port: 80,
        dif,
        sdif: 0,
        l3mdev_accept: false,
    }
}

/// Who gets it by the rules, by which rule, and how everybody fared.
fn judged(packet: &Packet, sockets: &[Socket]) -> (Pick, Rule, Vec<(usize, Outcome)>) {
    by(packet, sockets, Ranking::AddressFirst)
}

fn by(
    packet: &Packet,
    sockets: &[Socket],
    ranking: Ranking,
) -> (Pick, Rule, Vec<(usize, Outcome)>) {
    let pick = pick(packet, sockets, ranking);
    let candidates = candidates(packet, sockets, pick, false, ranking);
    let outcomes = candidates.iter().map(|one| (one.index, one.outcome));
    (pick, rule(&candidates, pick, false), outcomes.collect())
}

#[test]
fn the_address_counts_first() {
    let any = socket("0.0.0.0", 0, false);
    let exact = socket("6.6.6.6", 0, false);
    for (sockets, winner) in [([any, exact], 1), ([exact, any], 0)] {
        let expected = vec![
            (winner, Outcome::Picked),
            (1 - winner, Outcome::LessSpecific),
        ];
        assert_eq!(
            judged(&packet("6.6.6.6", 2), &sockets),
            (Pick::One(winner), Rule::Address, expected)
        );
        assert_eq!(
            judged(&packet("6.6.6.7", 2), &sockets).0,
            Pick::One(1 - winner)
        );
    }
}

#[test]
fn an_exact_unbound_one_beats_a_wildcard_on_the_device() {
    let sockets = [socket("0.0.0.0", 2, false), socket("6.6.6.6", 0, false)];
    assert_eq!(judged(&packet("6.6.6.6", 2), &sockets).0, Pick::One(1));
}

#[test]
fn a_group_that_stands_first_overtakes_one_on_the_device() {
    let unbound = socket("0.0.0.0", 0, false);
    let bound = socket("0.0.0.0", 2, false);
    // IPv4: last started, first in the chain.
    assert_eq!(
        judged(&packet("6.6.6.6", 2), &[unbound, bound]),
        (
            Pick::One(0),
            Rule::Order,
            vec![(0, Outcome::Picked), (1, Outcome::Overtaken)]
        )
    );
    assert_eq!(
        judged(&packet("6.6.6.6", 2), &[bound, unbound]),
        (
            Pick::One(0),
            Rule::Device,
            vec![(0, Outcome::Picked), (1, Outcome::LowerScore)]
        )
    );
    assert_eq!(
        judged(&packet("6.6.6.6", 3), &[bound, unbound]),
        (
            Pick::One(1),
            Rule::OnlyOne,
            vec![(1, Outcome::Picked), (0, Outcome::Device)]
        )
    );
}

#[test]
fn a_group_stands_where_its_first_member_does() {
    let sockets = [
        socket("0.0.0.0", 0, false),
        socket("0.0.0.0", 2, false),
        socket("0.0.0.0", 0, false),
    ];
    let (packet, ranking) = (packet("6.6.6.6", 2), Ranking::AddressFirst);
    // The hash picks the member that stands last.
    let candidates = candidates(&packet, &sockets, Pick::One(2), false, ranking);
    let outcomes: Vec<Outcome> = candidates.iter().map(|one| one.outcome).collect();
    let expected = [Outcome::OtherMember, Outcome::Overtaken, Outcome::Picked];
    assert_eq!(outcomes, expected);
    assert_eq!(rule(&candidates, Pick::One(2), false), Rule::Order);
}

#[test]
fn a_group_is_named_and_not_its_member() {
    let any = socket("::", 0, false);
    let exact = socket("2001:db8::6", 0, false);
    let other = Socket { uid: 7, ..any };
    assert_eq!(
        judged(&packet("2001:db8::6", 2), &[any, exact, any, exact]),
        (
            Pick::Group(1),
            Rule::Address,
            vec![
                (1, Outcome::PickedGroup),
                (3, Outcome::PickedGroup),
                (0, Outcome::LessSpecific),
                (2, Outcome::LessSpecific)
            ]
        )
    );
    // Another user's is a group of its own.
    assert_eq!(
        judged(&packet("2001:db8::7", 2), &[any, other, any]).2,
        vec![
            (0, Outcome::PickedGroup),
            (1, Outcome::LaterInChain),
            (2, Outcome::PickedGroup)
        ]
    );
}

#[test]
fn families() {
    let both = socket("::", 0, false);
    let v6only = socket("::", 0, true);
    let v4 = socket("0.0.0.0", 0, false);
    let found = judged(&packet("6.6.6.6", 2), &[v4, both]);
    assert_eq!((found.0, found.1), (Pick::One(0), Rule::Family));
    assert_eq!(judged(&packet("6.6.6.6", 2), &[both]).0, Pick::One(0));
    assert_eq!(
        judged(&packet("6.6.6.6", 2), &[v6only]),
        (
            Pick::Nothing,
            Rule::NoListener,
            vec![(0, Outcome::Ipv6Only)]
        )
    );
    assert_eq!(
        judged(&packet("2001:db8::6", 2), &[v4, v6only]).2,
        vec![(1, Outcome::Picked), (0, Outcome::Ipv4Only)]
    );
    // A mapped address is looked up among the IPv4 ones.
    let mapped = socket("::ffff:6.6.6.6", 0, false);
    assert_eq!(judged(&packet("6.6.6.6", 2), &[v4, mapped]).0, Pick::One(1));
}

#[test]
fn a_vrf_keeps_unbound_listeners_out() {
    let unbound = socket("0.0.0.0", 0, false);
    let vrf = socket("0.0.0.0", 4, false);
    let mut through = packet("6.6.6.6", 4);
    through.sdif = 3;
    assert_eq!(
        judged(&through, &[unbound, vrf]).2,
        vec![(1, Outcome::Picked), (0, Outcome::VrfScope)]
    );
    assert_eq!(judged(&through, &[unbound]).0, Pick::Nothing);
    through.l3mdev_accept = true;
    assert_eq!(judged(&through, &[unbound]).0, Pick::One(0));
}

#[test]
fn in_one_chain_the_first_of_a_group_ends_the_walk() {
    let packet = packet("6.6.6.6", 2);
    let any = socket("0.0.0.0", 0, false);
    let exact = socket("6.6.6.6", 0, false);
    // B restarted after A: it stands first, and A is not looked at.
    assert_eq!(
        by(&packet, &[any, exact], Ranking::PortChain),
        (
            Pick::One(0),
            Rule::Order,
            vec![(0, Outcome::Picked), (1, Outcome::Overtaken)]
        )
    );
    assert_eq!(
        by(&packet, &[exact, any], Ranking::PortChain),
        (
            Pick::One(0),
            Rule::Address,
            vec![(0, Outcome::Picked), (1, Outcome::LowerScore)]
        )
    );
    // With more than ten sockets in the bucket 4.16 to 4.20 look the address up first.
    assert_eq!(Algorithm::Hybrid.ranking(10), Ranking::PortChain);
    assert_eq!(Algorithm::Hybrid.ranking(11), Ranking::AddressFirst);
    assert_eq!(Algorithm::PortOnly.ranking(99), Ranking::PortChain);
}

#[test]
fn in_one_chain_a_mapped_one_stands_behind_whatever_was_started_first() {
    let any = socket("0.0.0.0", 0, false);
    let mapped = socket("::ffff:6.6.6.6", 0, false);
    for sockets in [[any, mapped], [mapped, any]] {
        let found = by(&packet("6.6.6.6", 2), &sockets, Ranking::PortChain);
        let winner = sockets.iter().position(|one| *one == any).unwrap_or(9);
        assert_eq!((found.0, found.1), (Pick::One(winner), Rule::Family));
        assert_eq!(found.2[1].1, Outcome::Overtaken);
    }
}

#[test]
fn what_the_kernel_says_is_explained_or_not() {
    let sockets = [socket("0.0.0.0", 0, false), socket("6.6.6.6", 0, false)];
    let packet = packet("6.6.6.6", 2);
    // An sk_lookup program may choose whom it likes, one that does not fit included.
    let elsewhere = socket("6.6.6.7", 0, false);
    let all = [sockets[0], sockets[1], elsewhere];
    let steered = candidates(&packet, &all, Pick::One(2), true, Ranking::AddressFirst);
    let outcomes: Vec<_> = steered.iter().map(|one| (one.index, one.outcome)).collect();
    assert_eq!(
        outcomes,
        [
            (1, Outcome::Steered),
            (0, Outcome::Steered),
            (2, Outcome::Picked)
        ]
    );
    assert_eq!(rule(&steered, Pick::One(2), true), Rule::SkLookup);
    // Without a program there is no explanation, and none is made up.
    let odd = candidates(
        &packet,
        &sockets,
        Pick::One(0),
        false,
        Ranking::AddressFirst,
    );
    assert_eq!(rule(&odd, Pick::One(0), false), Rule::Unexplained);
    assert_eq!(rule(&odd, Pick::Outside, false), Rule::Unexplained);
}

#[test]
fn sharing_a_port_tells_reuseport() {
    let any = socket("0.0.0.0", 0, false);
    let exact = socket("6.6.6.6", 0, false);
    for (sockets, expected) in [
        (vec![any], false),
        (vec![any, exact], true),
        (vec![exact, exact], true),
        (vec![exact, socket("6.6.6.7", 0, false)], false),
        (
            vec![socket("0.0.0.0", 1, false), socket("0.0.0.0", 2, false)],
            false,
        ),
        (vec![any, socket("0.0.0.0", 2, false)], true),
        (vec![any, socket("::", 0, true)], false),
        (vec![any, socket("::", 0, false)], true),
        (vec![socket("::", 0, false), exact], true),
        (vec![socket("::", 0, true), exact], false),
    ] {
        assert_eq!(shares(0, &sockets), expected, "{sockets:?}");
    }
}
