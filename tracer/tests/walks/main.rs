//! Who gets a SYN: `judge` against a straightforward model of the kernels' walks, for every
//! algorithm, both families, and listeners that come and go in any order.

mod kernel;

use std::net::IpAddr;

use kernel::{Kernel, Sock, Version};
use proptest::prelude::*;
use sockpick::event::Family;
use sockpick::judge::explain::{Pick, Socket, pick};
use sockpick::judge::rules::{Bound, Packet, Protocol, Ranking};

const NETNS: u32 = 1;
const OTHER_NETNS: u32 = 2;
const PORT: u16 = 80;
/// In the same bucket of the port table.
const NEIGHBOUR: u16 = PORT + 32;
/// An interface that stands for a VRF.
const VRF: u32 = 4;

fn bound(address: &str) -> Bound {
    let address: IpAddr = address.parse().expect("an address");
    Bound::to(NETNS, address, PORT)
}

fn shared(address: &str) -> Sock {
    Sock {
        bound: bound(address),
        uid: 0,
        reuseport: true,
    }
}

fn packet(destination: &str) -> Packet {
    Packet {
        protocol: Protocol::Tcp,
        netns: NETNS,
        destination: destination.parse().expect("an address"),
        port: PORT,
        dif: 2,
        sdif: 0,
        l3mdev_accept: false,
    }
}

/// What `judge` is given: the dump of the packet's port, and how full its bucket is.
fn judged(kernel: &Kernel, version: Version, packet: &Packet) -> (Pick, Vec<usize>) {
    let second = version == Version::V5_16;
    let dump = kernel.dump(packet.netns, packet.port, second);
    let sockets: Vec<Socket> = dump
        .iter()
        .map(|&number| kernel.sock(number))
        .map(|sock| Socket {
            bound: sock.bound,
            uid: sock.uid,
        })
        .collect();
    let ranking = version.algorithm().ranking(kernel.in_bucket(packet.port));
    (pick(packet, &sockets, ranking), dump)
}

/// Judge and model agree: on nobody, on one socket, or on a group.
fn agree(kernel: &Kernel, version: Version, packet: &Packet) -> Result<(), TestCaseError> {
    let found = kernel.lookup(version, packet);
    let (pick, dump) = judged(kernel, version, packet);
    let group_of = |number: usize| {
        let sock = kernel.sock(number);
        let member =
            |other: &&usize| **other == number || kernel.sock(**other).is_grouped_with(sock);
        dump.iter().filter(member).copied().collect::<Vec<usize>>()
    };
    let context = format!("{version:?} {packet:?}\n{kernel:?}");
    match (pick, found) {
        (Pick::Nothing, None) => {}
        (Pick::One(index), Some(number)) => {
            prop_assert_eq!(dump[index], number, "{}", context);
            prop_assert_eq!(group_of(number).len(), 1, "{}", context);
        }
        (Pick::Group(index), Some(number)) => {
            let group = group_of(number);
            prop_assert!(
                group.contains(&dump[index]),
                "{:?} {:?} {}",
                pick,
                found,
                context
            );
            prop_assert!(group.len() > 1, "{}", context);
        }
        _ => prop_assert!(false, "{:?} {:?} {}", pick, found, context),
    }
    Ok(())
}

/// Only a VRF lets listeners fit one packet that are not in each other's way: one bound to
/// it, one to the interface in it. In one chain it then matters what a dump does not tell:
/// whether such a one has `SO_REUSEPORT`, and where an IPv6 one without it stands among
/// IPv4 ones.
fn depends_on_what_is_hidden(kernel: &Kernel, packet: &Packet) -> bool {
    let dump = kernel.dump(packet.netns, packet.port, false);
    packet.sdif != 0
        && dump.iter().any(|&number| {
            let sock = kernel.sock(number);
            let among_others = packet.destination.is_ipv4() && sock.bound.family == Family::Ipv6;
            sock.bound.fit(packet).is_ok()
                && !dump
                    .iter()
                    .any(|&other| other != number && sock.overlaps(kernel.sock(other)))
                && (sock.reuseport || among_others)
        })
}

#[derive(Clone, Debug)]
enum Step {
    Listen(Sock),
    /// One of those that came so far.
    Close(prop::sample::Index),
    /// Stops and comes back.
    Restart(prop::sample::Index),
}

/// `alone`: how often `SO_REUSEPORT` is not set.
fn any_sock(device: impl Strategy<Value = u32>, alone: f64) -> impl Strategy<Value = Sock> {
    let addresses = vec![
        "0.0.0.0",
        "6.6.6.6",
        "7.7.7.7",
        "::",
        "2001:db8::1",
        "2001:db8::2",
        "::ffff:6.6.6.6",
        "::ffff:0.0.0.0",
    ];
    let address = prop::sample::select(addresses);
    let place = (prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    let alone = (prop::bool::weighted(0.1), prop::bool::weighted(alone));
    (address, place, device, any::<bool>(), alone).prop_map(
        |(address, (elsewhere, neighbour), device, v6only, (other_user, alone))| {
            let mut bound = bound(address);
            bound.netns = if elsewhere { OTHER_NETNS } else { NETNS };
            bound.port = if neighbour { NEIGHBOUR } else { PORT };
            bound.device = device;
            let mapped = bound.address.to_ipv4_mapped().is_some();
            bound.v6only = v6only && bound.family == Family::Ipv6 && !mapped;
            Sock {
                bound,
                uid: u32::from(other_user),
                reuseport: !alone,
            }
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => any_sock(prop_oneof![3 => Just(0), 2 => 1..=VRF], 0.15).prop_map(Step::Listen),
        1 => any::<prop::sample::Index>().prop_map(Step::Close),
        2 => any::<prop::sample::Index>().prop_map(Step::Restart),
    ]
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let destinations = vec![
        "6.6.6.6",
        "7.7.7.7",
        "8.8.8.8",
        "2001:db8::1",
        "2001:db8::3",
    ];
    let way = prop_oneof![3 => (1..VRF).prop_map(|dif| (dif, 0)), 1 => (1..VRF).prop_map(|sdif| (VRF, sdif))];
    (prop::sample::select(destinations), way, any::<bool>()).prop_map(
        |(destination, (dif, sdif), l3mdev_accept)| Packet {
            dif,
            sdif,
            l3mdev_accept,
            ..packet(destination)
        },
    )
}

/// A kernel with others' listeners in the bucket, and what the steps made of it.
fn after(steps: Vec<Step>, crowd: usize) -> Kernel {
    let mut kernel = Kernel::default();
    for _ in 0..crowd {
        let mut sock = shared("0.0.0.0");
        sock.bound.netns = OTHER_NETNS;
        kernel.listen(sock);
    }
    let mut alive = Vec::new();
    for step in steps {
        match step {
            Step::Listen(sock) => alive.extend(kernel.listen(sock)),
            Step::Close(_) | Step::Restart(_) if alive.is_empty() => {}
            Step::Close(index) => kernel.close(alive.swap_remove(index.index(alive.len()))),
            Step::Restart(index) => {
                let number = alive.swap_remove(index.index(alive.len()));
                kernel.close(number);
                let sock = *kernel.sock(number);
                alive.extend(kernel.listen(sock));
            }
        }
    }
    kernel
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn judge_picks_as_the_kernels_do(
        steps in prop::collection::vec(any_step(), 0..12),
        crowd in 0..12_usize,
        packet in any_packet(),
    ) {
        agree_everywhere(&after(steps, crowd), &packet)?;
    }

    /// Where single sockets compete by score: see [`depends_on_what_is_hidden`].
    #[test]
    fn judge_scores_as_the_kernels_do(
        socks in prop::collection::vec(any_sock(prop_oneof![Just(1), Just(VRF)], 0.7), 2..8),
        crowd in 0..12_usize,
        packet in any_packet(),
        l3mdev_accept in any::<bool>(),
    ) {
        let packet = Packet { dif: VRF, sdif: 1, l3mdev_accept, ..packet };
        let steps = socks.into_iter().map(Step::Listen).collect();
        agree_everywhere(&after(steps, crowd), &packet)?;
    }
}

fn agree_everywhere(kernel: &Kernel, packet: &Packet) -> Result<(), TestCaseError> {
    for version in Version::ALL {
        let ranking = version.algorithm().ranking(kernel.in_bucket(PORT));
        if ranking != Ranking::PortChain || !depends_on_what_is_hidden(kernel, packet) {
            agree(kernel, version, packet)?;
        }
    }
    Ok(())
}

/// So many listeners of A on its address and of B on any, started in this order.
fn story(a: &str, b: &str, each: usize) -> (Kernel, [Vec<usize>; 2]) {
    let mut kernel = Kernel::default();
    let mut start = |address: &str| -> Vec<usize> {
        (0..each)
            .filter_map(|_| kernel.listen(shared(address)))
            .collect()
    };
    let of_b = start(b);
    let of_a = start(a);
    (kernel, [of_a, of_b])
}

fn restart(kernel: &mut Kernel, numbers: &mut Vec<usize>) {
    for number in numbers {
        kernel.close(*number);
        let sock = *kernel.sock(*number);
        *number = kernel.listen(sock).expect("it listened before");
    }
}

/// What was measured on 4.14.67, 4.19.108 and 5.10.223: B's restart turns A's traffic to B
/// on 4.14, and on 4.19 as long as the bucket holds ten sockets at most.
#[test]
fn the_story() {
    for (version, each, robbed) in [
        (Version::V4_14, 2, true),
        (Version::V4_14, 8, true),
        (Version::V4_19, 2, true),
        (Version::V4_19, 5, true),
        (Version::V4_19, 8, false),
        (Version::V5_0, 2, false),
        (Version::V5_16, 8, false),
    ] {
        let to_a = packet("6.6.6.6");
        let (mut kernel, [mut of_a, mut of_b]) = story("6.6.6.6", "0.0.0.0", each);
        let check = |kernel: &Kernel, of: &[usize], when: &str| {
            let found = kernel.lookup(version, &to_a).expect("a listener");
            assert!(of.contains(&found), "{version:?} {each} {when}");
            agree(kernel, version, &to_a).expect("judge agrees");
        };
        check(&kernel, &of_a, "B first, then A");
        restart(&mut kernel, &mut of_b);
        check(
            &kernel,
            if robbed { &of_b } else { &of_a },
            "after B restarts",
        );
        restart(&mut kernel, &mut of_a);
        check(&kernel, &of_a, "after A restarts");
        for &number in &of_a {
            kernel.close(number);
        }
        check(&kernel, &of_b, "A down");
    }
}

/// With IPv6 the order is the other way round: who starts first wins.
#[test]
fn the_story_in_ipv6() {
    for (version, robbed) in [
        (Version::V4_14, true),
        (Version::V4_19, true),
        (Version::V5_0, false),
    ] {
        let to_a = packet("2001:db8::1");
        let (mut kernel, [of_a, mut of_b]) = story("2001:db8::1", "::", 2);
        let takes = |kernel: &Kernel, of: &[usize]| {
            agree(kernel, version, &to_a).expect("judge agrees");
            kernel
                .lookup(version, &to_a)
                .is_some_and(|found| of.contains(&found))
        };
        assert_eq!(takes(&kernel, &of_b), robbed, "{version:?}: B first");
        restart(&mut kernel, &mut of_b);
        assert!(takes(&kernel, &of_a), "{version:?}: B restarted, last");
    }
}
