//! What is found out at one look is what all the looks would say.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::{event::Family, judge::rules::Protocol};

pub(crate) const PORT: u16 = 80;
const NOW_NS: u64 = 20_000_000_000;

pub(crate) fn address() -> impl Strategy<Value = Ipv6Addr> {
    let all = [
        "::",
        "::ffff:0.0.0.0",
        "::ffff:6.6.6.6",
        "2001:db8::6",
        "fe80::6",
    ];
    prop::sample::select(all.map(|text| text.parse().expect("an address")).to_vec())
}

fn bound() -> impl Strategy<Value = Bound> {
    (address(), any::<[bool; 2]>(), 0..3_u32).prop_map(|(address, [ipv6, v6only], device)| {
        let is_ipv4 = address.to_ipv4_mapped().is_some() && !ipv6;
        Bound {
            protocol: Protocol::Tcp,
            netns: 1,
            address,
            port: PORT,
            family: if is_ipv4 { Family::Ipv4 } else { Family::Ipv6 },
            device,
            v6only: v6only && !is_ipv4,
        }
    })
}

pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let sdif = prop_oneof![3 => Just(0), 1 => 1..3_u32];
    (address(), 1..3_u32, sdif, any::<bool>()).prop_map(|(address, dif, sdif, l3mdev_accept)| {
        Packet {
            protocol: Protocol::Tcp,
            netns: 1,
            destination: address.to_canonical(),
            port: PORT,
            dif,
            sdif,
            l3mdev_accept,
        }
    })
}

/// Where it is bound, when it opened, and when it closed.
type Listener = (Bound, u64, Option<u64>);

pub(crate) fn listener() -> impl Strategy<Value = Listener> {
    (bound(), 0..NOW_NS, prop::option::of(0..NOW_NS))
}

pub(crate) fn picture(listeners: &[Listener]) -> Picture {
    let mut picture = Picture::new(NOW_NS / 2);
    for (inode, (bound, opened_ns, closed_ns)) in (1..).zip(listeners) {
        let socket = Live {
            inode,
            id: inode,
            opened_ns: *opened_ns,
            incoming_cpu: None,
        };
        picture.opened(*bound, socket.clone());
        if let Some(closed_ns) = closed_ns {
            picture.closed(bound, &socket, *closed_ns, Arc::from([]));
        }
    }
    picture
}

/// Where those are bound that may be given the packet.
pub(crate) fn fitting(listeners: &[Listener], packet: &Packet) -> Vec<Bound> {
    let bounds = listeners.iter().map(|(bound, ..)| *bound);
    bounds.filter(|bound| bound.fit(packet).is_ok()).collect()
}

/// A SYN that a socket bound so was given.
pub(crate) fn syn(packet: Packet, netns: &Netns, bound: Bound) -> Syn<'_> {
    Syn {
        packet,
        netns,
        ktime_ns: NOW_NS,
        cpu: 0,
        via: Via::Lookup,
        is_steered: false,
        chosen: Some(Chosen {
            bound,
            id: 1,
            uid: 0,
            owners: &[],
        }),
    }
}

proptest! {
    // Most packets fit none of a few listeners.
    #![proptest_config(ProptestConfig { max_global_rejects: 65_536, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_missed_at_one_look(
        listeners in prop::collection::vec(listener(), 1..6),
        packet in packet(),
        chosen: prop::sample::Index,
        has_hold: bool,
        was_steered: bool,
    ) {
        let expectations = Expectations {
            hold: has_hold.then_some(Expectations::HOLD),
            ..Expectations::default()
        };
        let mut picture = picture(&listeners);
        let mut steered = Steered::default();
        if was_steered {
            // All SYNs for the destination went there, until just now.
            let target = Bound::to(1, [127, 0, 0, 1].into(), PORT + 1);
            let socket = Live { inode: 99, id: 99, opened_ns: 1, incoming_cpu: None };
            picture.opened(target, socket.clone());
            steered.to(&packet, target, NOW_NS - 2, &picture);
            picture.closed(&target, &socket, NOW_NS - 1, Arc::from([]));
        }
        let fitting = fitting(&listeners, &packet);
        prop_assume!(!fitting.is_empty());
        let bound = *chosen.get(&fitting);
        let netns = Netns { inode: 1, cookie: None, name: None };
        let syn = syn(packet, &netns, bound);
        let judge = Judge {
            picture: &picture,
            steered: &steered,
            expectations: &expectations,
            algorithm: Algorithm::AddressFirst,
        };
        let (Some(chosen), Ok(fit)) = (&syn.chosen, bound.fit(&packet)) else {
            unreachable!("it was chosen among those that fit");
        };
        let case = Case { judge, syn: &syn, near: picture.near(&packet) };
        prop_assert_eq!(judge.judge(&syn), case.weigh(chosen, fit, None));
    }
}
