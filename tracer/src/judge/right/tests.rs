//! What is said to be right is no alert, whoever judges it.

use proptest::prelude::*;

use super::*;
use crate::{
    event::{Family, Netns},
    judge::{
        expectations::{Address, OwnerRule, Service},
        rules::{Algorithm, Packet, Protocol},
        steering::Steered,
        verdict::{
            Judge,
            tests::{PORT, address, fitting, listener, packet, picture, syn},
        },
    },
};

fn service() -> impl Strategy<Value = Service> {
    let at = prop::option::of(address());
    let port = prop_oneof![4 => Just(PORT), 1 => Just(PORT + 1)];
    (at, port, any::<bool>()).prop_map(|(address, port, is_named)| Service {
        name: "A".into(),
        listen: vec![Address {
            protocol: Protocol::Tcp,
            address: address.map(|address| address.to_canonical()),
            port,
        }],
        netns: None,
        owner: OwnerRule {
            uid: is_named.then_some(1),
            ..OwnerRule::default()
        },
    })
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(vec![
        Algorithm::PortOnly,
        Algorithm::Hybrid,
        Algorithm::AddressFirst,
    ])
}

/// As the programs ask, but for false hits of a bit.
fn covers(right: &Right, bound: &Bound, packet: &Packet) -> bool {
    let destination = mapped(packet.destination);
    packet.sdif == 0
        && match right {
            Right::Exact => bound.address == destination,
            Right::AnyBut(but) => !but.contains(&destination),
        }
}

proptest! {
    // Most packets fit none of a few listeners, or are not said to be right.
    #![proptest_config(ProptestConfig { max_global_rejects: 1 << 20, ..ProptestConfig::default() })]
    #[test]
    fn nothing_that_alerts_is_said_to_be_right(
        listeners in prop::collection::vec(listener(), 1..5),
        services in prop::collection::vec(service(), 0..2),
        packet in packet(),
        chosen: prop::sample::Index,
        algorithm in algorithm(),
        has_hold: bool,
    ) {
        let expectations = Expectations {
            services,
            hold: has_hold.then_some(Expectations::HOLD),
        };
        let picture = picture(&listeners);
        // Nobody can send to it.
        prop_assume!(!packet.destination.is_unspecified());
        let fitting = fitting(&listeners, &packet);
        prop_assume!(!fitting.is_empty());
        let bound = *chosen.get(&fitting);
        let said = right(&bound, picture.places(), &expectations);
        prop_assume!(said.as_ref().is_some_and(|right| covers(right, &bound, &packet)));
        let netns = Netns { inode: 1, cookie: None, name: None };
        let judge = Judge {
            picture: &picture,
            steered: &Steered::default(),
            expectations: &expectations,
            algorithm,
        };
        let judgement = judge.judge(&syn(packet, &netns, bound));
        prop_assert!(!judgement.verdict.is_alert(), "{said:?}, yet {judgement:?}");
    }
}

fn at(address: &str) -> Place {
    let address = mapped(address.parse().expect("an address"));
    let is_ipv4 = address.to_ipv4_mapped().is_some();
    Place {
        bound: Bound {
            protocol: Protocol::Tcp,
            netns: 1,
            address,
            port: PORT,
            family: if is_ipv4 { Family::Ipv4 } else { Family::Ipv6 },
            device: 0,
            v6only: false,
        },
        live: Vec::new(),
        gone: None,
    }
}

#[test]
fn only_what_another_may_claim_has_to_be_looked_at() {
    let nothing = Expectations::default();
    let (a, b, ipv6) = (at("6.6.6.6"), at("0.0.0.0"), at("::"));
    let said = |of: &Place, all: &[&Place]| right(&of.bound, all.iter().copied(), &nothing);
    assert_eq!(said(&b, &[&b]), Some(Right::AnyBut(vec![])));
    let all = [&a, &b];
    assert_eq!(said(&a, &all), Some(Right::Exact));
    assert_eq!(said(&b, &all), Some(Right::AnyBut(vec![a.bound.address])));
    // The IPv4 socket has more right to all of IPv4.
    assert_eq!(said(&ipv6, &[&b, &ipv6]), None);
    assert_eq!(said(&b, &[&b, &ipv6]), Some(Right::AnyBut(vec![])));
}
