//! What a record means: how the socket fits the packet, and what chose it. Pure.
#![forbid(unsafe_code)]

pub mod expectations;
pub mod explain;
pub mod health;
pub mod netns;
pub mod picture;
pub mod right;
pub mod rules;
pub mod steering;
pub mod verdict;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sockpick_ebpf::abi::{Listener, SynRecord, group_prog, steer};

use crate::event::{Family, Match, Via};

use rules::{Bound, Protocol};

const AF_INET: u16 = 2;

/// Something bounded, and how full it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many there are.
    pub holds: usize,
    /// How many there may be.
    pub most: usize,
    /// How many were left out, or forgotten before their time.
    pub beyond: u64,
}

/// For one more: nearly every list has one alone, and there may be thousands of lists.
fn make_room<T>(list: &mut Vec<T>) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
}

/// Where a listener is bound.
#[must_use]
pub fn bound(listener: &Listener) -> Bound {
    Bound {
        netns: listener.netns,
        protocol: Protocol::Tcp,
        address: listener.addr.into(),
        port: listener.port,
        family: family(listener),
        device: listener.bound_dev_if,
        v6only: listener.v6only != 0,
    }
}

/// How the chosen socket fits the packet.
#[must_use]
pub fn matched(record: &SynRecord) -> Match {
    if record.has_listener == 0 || record.listener.port != u16::from_be(record.destination_port_be)
    {
        return Match::None;
    }
    let bound = Ipv6Addr::from(record.listener.addr);
    if record.listener.addr == record.destination {
        return Match::Exact;
    }
    let ipv4_packet = record.family == AF_INET;
    // An IPv4 wildcard is kept in v4-mapped form, be it an AF_INET socket's or an
    // AF_INET6 socket's that was bound to ::ffff:0.0.0.0.
    if ipv4_packet && bound == Ipv6Addr::from_bits(0xffff_0000_0000) {
        return Match::Wildcard;
    }
    match (bound.is_unspecified(), ipv4_packet) {
        (true, true) => Match::DualStack,
        (true, false) => Match::Wildcard,
        (false, _) => Match::None,
    }
}

/// What chose the socket.
#[must_use]
pub fn via(record: &SynRecord) -> Via {
    if record.group_prog == group_prog::DROPPED {
        return Via::ReuseportBpf;
    }
    match record.steer {
        steer::SK_LOOKUP => return Via::SkLookup,
        steer::ASSIGN => return Via::SkAssign,
        steer::TPROXY => return Via::Tproxy,
        _ => {}
    }
    if record.group == 0 {
        return Via::Lookup;
    }
    match record.group_prog {
        group_prog::CLASSIC => Via::ReuseportCbpf,
        group_prog::EBPF => Via::ReuseportBpf,
        _ => Via::ReuseportHash,
    }
}

/// The address a listener is bound to, in the family its owner gave it.
#[must_use]
pub fn bound_address(listener: &Listener) -> IpAddr {
    bound(listener).shown_address()
}

/// The listener's family.
#[must_use]
pub fn family(listener: &Listener) -> Family {
    if listener.family == AF_INET {
        Family::Ipv4
    } else {
        Family::Ipv6
    }
}

/// A packet's address: IPv4 packets are recorded in v4-mapped form.
#[must_use]
pub fn packet_address(address: [u8; 16], packet_family: u16) -> IpAddr {
    let bits = u128::from_be_bytes(address);
    // In one comparison: `to_canonical` makes twelve.
    if packet_family == AF_INET && bits >> 32 == 0xffff {
        IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AF_INET6: u16 = 10;

    fn record(packet: (&str, u16), bound: (&str, u16), socket_family: u16) -> SynRecord {
        let bytes = |text: &str| match text.parse() {
            Ok(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
            Ok(IpAddr::V6(address)) => address.octets(),
            Err(error) => panic!("{text}: {error}"),
        };
        SynRecord {
            has_listener: 1,
            destination: bytes(packet.0),
            destination_port_be: packet.1.to_be(),
            family: if packet.0.contains(':') {
                AF_INET6
            } else {
                AF_INET
            },
            listener: Listener {
                addr: bytes(bound.0),
                port: bound.1,
                family: socket_family,
                ..Listener::default()
            },
            ..SynRecord::default()
        }
    }

    #[test]
    fn match_says_how_the_socket_fits() {
        let cases = [
            (("6.6.6.6", 80), ("6.6.6.6", 80), AF_INET, Match::Exact),
            (("6.6.6.6", 80), ("0.0.0.0", 80), AF_INET, Match::Wildcard),
            (("6.6.6.6", 80), ("::", 80), AF_INET6, Match::DualStack),
            (
                ("6.6.6.6", 80),
                ("::ffff:6.6.6.6", 80),
                AF_INET6,
                Match::Exact,
            ),
            (
                ("6.6.6.6", 80),
                ("::ffff:0.0.0.0", 80),
                AF_INET6,
                Match::Wildcard,
            ),
            (
                ("2001:db8::6", 80),
                ("2001:db8::6", 80),
                AF_INET6,
                Match::Exact,
            ),
            (("2001:db8::6", 80), ("::", 80), AF_INET6, Match::Wildcard),
            // Steered elsewhere: it does not fit at all.
            (("6.6.6.6", 80), ("127.0.0.1", 80), AF_INET, Match::None),
            (("6.6.6.6", 80), ("0.0.0.0", 8080), AF_INET, Match::None),
        ];
        for (packet, bound, family, expected) in cases {
            assert_eq!(
                matched(&record(packet, bound, family)),
                expected,
                "{packet:?} {bound:?}"
            );
        }
        assert_eq!(matched(&SynRecord::default()), Match::None);
    }

    #[test]
    fn a_packets_address_is_of_its_family() {
        for (text, family, expected) in [
            ("::ffff:6.6.6.6", AF_INET, "6.6.6.6"),
            ("::ffff:0.0.0.0", AF_INET, "0.0.0.0"),
            ("::ffff:6.6.6.6", AF_INET6, "::ffff:6.6.6.6"),
            ("2001:db8::6", AF_INET6, "2001:db8::6"),
            ("2001:db8::6", AF_INET, "2001:db8::6"),
            ("::1:ffff:606:606", AF_INET, "::1:ffff:606:606"),
        ] {
            let address: Ipv6Addr = text.parse().expect("an address");
            let shown = packet_address(address.octets(), family);
            assert_eq!(shown.to_string(), expected);
            if family == AF_INET {
                assert_eq!(shown, address.to_canonical());
            }
        }
    }

    #[test]
    fn via_says_what_chose() {
        let with = |steer, group, group_prog| SynRecord {
            steer,
            group,
            group_prog,
            ..SynRecord::default()
        };
        let cases = [
            (with(steer::LOOKUP, 0, group_prog::NONE), Via::Lookup),
            (with(steer::LOOKUP, 1, group_prog::NONE), Via::ReuseportHash),
            (
                with(steer::LOOKUP, 1, group_prog::CLASSIC),
                Via::ReuseportCbpf,
            ),
            (with(steer::LOOKUP, 1, group_prog::EBPF), Via::ReuseportBpf),
            (
                with(steer::LOOKUP, 1, group_prog::FELL_BACK),
                Via::ReuseportHash,
            ),
            // It turned the packet away, whoever had chosen the group.
            (
                with(steer::LOOKUP, 1, group_prog::DROPPED),
                Via::ReuseportBpf,
            ),
            (
                with(steer::SK_LOOKUP, 1, group_prog::DROPPED),
                Via::ReuseportBpf,
            ),
            (with(steer::SK_LOOKUP, 1, group_prog::NONE), Via::SkLookup),
            (with(steer::ASSIGN, 0, group_prog::NONE), Via::SkAssign),
            (with(steer::TPROXY, 1, group_prog::EBPF), Via::Tproxy),
            // Nobody saw: the socket tells.
            (with(steer::UNSEEN, 0, group_prog::NONE), Via::Lookup),
            (with(steer::UNSEEN, 1, group_prog::NONE), Via::ReuseportHash),
        ];
        for (record, expected) in cases {
            assert_eq!(via(&record), expected);
        }
    }
}
