//! The kernel's listener tables and walks, written down as the kernel has them and not as
//! `judge` thinks of them: chains, scores, a loop.
//!
//! From `net/ipv4/inet_hashtables.c` and `net/ipv6/inet6_hashtables.c`: `__inet_hash`,
//! `inet_hash2`, `compute_score`, `inet_lhash2_lookup`, `__inet_lookup_listener` and their
//! IPv6 counterparts, of 4.14.67 (one table), 4.19.108 (61b7c691c731: a second table, used
//! past ten sockets), 5.0 (d9fbc7f6431f, 0ee58dad5b06: the second table only) and 5.16
//! (8d6c414cd2fb: a point for the device). Who may listen beside whom is
//! `inet_csk_bind_conflict` (`net/ipv4/inet_connection_sock.c`). Left out: collisions of the
//! second table's hash, `SO_INCOMING_CPU`, programs.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sockpick::event::Family;
use sockpick::judge::rules::{Algorithm, Bound, Packet};

/// `INET_LHTABLE_SIZE`
const PORT_BUCKETS: u16 = 32;
/// `LOOPBACK4_IPV6`: what an IPv6 socket with an address of its own has for an IPv4 one.
const LOOPBACK4_IPV6: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4_14,
    V4_19,
    V5_0,
    V5_16,
}

impl Version {
    pub(crate) const ALL: [Self; 4] = [Self::V4_14, Self::V4_19, Self::V5_0, Self::V5_16];

    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Self::V4_14 => Algorithm::PortOnly,
            Self::V4_19 => Algorithm::Hybrid,
            Self::V5_0 | Self::V5_16 => Algorithm::AddressFirst,
        }
    }
}

/// A socket that is about to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sock {
    pub(crate) bound: Bound,
    pub(crate) uid: u32,
    pub(crate) reuseport: bool,
}

impl Sock {
    fn is_v6(&self) -> bool {
        self.bound.family == Family::Ipv6
    }

    /// `sk_v6_rcv_saddr`
    fn v6_rcv_saddr(&self) -> Ipv6Addr {
        self.bound.address
    }

    /// `inet_rcv_saddr`, as `__inet6_bind` sets it for an IPv6 socket.
    fn rcv_saddr(&self) -> Ipv4Addr {
        match self.bound.address.to_ipv4_mapped() {
            Some(address) => address,
            None if self.bound.address.is_unspecified() => Ipv4Addr::UNSPECIFIED,
            None => LOOPBACK4_IPV6,
        }
    }

    /// Whether both need `SO_REUSEPORT` to listen together, whichever comes first.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let devices = (self.bound.device, other.bound.device);
        (devices.0 == 0 || devices.1 == 0 || devices.0 == devices.1)
            && rcv_saddr_equal(self, other)
            && rcv_saddr_equal(other, self)
    }

    /// Members of one group: `inet_reuseport_add_sock`.
    pub(crate) fn is_grouped_with(&self, other: &Self) -> bool {
        self == other && self.reuseport
    }
}

/// What the second table is hashed by (`ipv4_portaddr_hash`, `ipv6_portaddr_hash`): any
/// address of either family is 0, and a mapped one is IPv4.
fn portaddr(netns: u32, port: u16, address: Ipv6Addr) -> (u32, u16, Ipv6Addr) {
    let any = address.to_ipv4_mapped() == Some(Ipv4Addr::UNSPECIFIED);
    (
        netns,
        port,
        if any { Ipv6Addr::UNSPECIFIED } else { address },
    )
}

/// `inet_rcv_saddr_equal`, wildcards matching, for a socket that comes to another.
fn rcv_saddr_equal(sk: &Sock, sk2: &Sock) -> bool {
    let (any, any2) = (
        sk.rcv_saddr().is_unspecified(),
        sk2.rcv_saddr().is_unspecified(),
    );
    let ipv4 = || !sk2.bound.v6only && (sk.rcv_saddr() == sk2.rcv_saddr() || any || any2);
    if !sk.is_v6() {
        return ipv4();
    }
    let mapped = |sk: &Sock| !sk.is_v6() || sk.v6_rcv_saddr().to_ipv4_mapped().is_some();
    let any6 = |sk: &Sock| sk.is_v6() && sk.v6_rcv_saddr().is_unspecified();
    if mapped(sk) && mapped(sk2) {
        return ipv4();
    }
    any6(sk) && any6(sk2)
        || any6(sk2) && !(sk2.bound.v6only && mapped(sk))
        || any6(sk) && !(sk.bound.v6only && mapped(sk2))
        || sk2.is_v6() && sk.v6_rcv_saddr() == sk2.v6_rcv_saddr()
}

/// The tables of all namespaces; sockets are named by the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    socks: Vec<Sock>,
    /// `listening_hash`
    by_port: HashMap<u16, Vec<usize>>,
    /// `lhash2`
    by_address: HashMap<(u32, u16, Ipv6Addr), Vec<usize>>,
}

impl Kernel {
    /// Lets a socket listen, if the kernel does.
    pub(crate) fn listen(&mut self, sock: Sock) -> Option<usize> {
        let conflict = |&other: &usize| {
            let other = &self.socks[other];
            let devices = (sock.bound.device, other.bound.device);
            (sock.bound.netns, sock.bound.port) == (other.bound.netns, other.bound.port)
                && (devices.0 == 0 || devices.1 == 0 || devices.0 == devices.1)
                && !(sock.reuseport && other.reuseport && sock.uid == other.uid)
                && rcv_saddr_equal(&sock, other)
        };
        if self.by_port.values().flatten().any(conflict) {
            return None;
        }
        let number = self.socks.len();
        self.socks.push(sock);
        let (bucket, key) = places(&sock);
        let port = self.by_port.entry(bucket).or_default();
        let address = self.by_address.entry(key).or_default();
        for chain in [port, address] {
            if sock.reuseport && sock.is_v6() {
                chain.push(number);
            } else {
                chain.insert(0, number);
            }
        }
        Some(number)
    }

    pub(crate) fn close(&mut self, number: usize) {
        let (bucket, key) = places(&self.socks[number]);
        let chains = [self.by_port.get_mut(&bucket), self.by_address.get_mut(&key)];
        for chain in chains.into_iter().flatten() {
            chain.retain(|&other| other != number);
        }
    }

    pub(crate) fn sock(&self, number: usize) -> &Sock {
        &self.socks[number]
    }

    /// How many sockets are in a port's bucket.
    pub(crate) fn in_bucket(&self, port: u16) -> usize {
        self.by_port.get(&(port % PORT_BUCKETS)).map_or(0, Vec::len)
    }

    /// The listeners of a namespace's port as `sock_diag` dumps them, IPv4 asked for first:
    /// the port table in its order, or from 5.19 on the second one, bucket by bucket.
    pub(crate) fn dump(&self, netns: u32, port: u16, second: bool) -> Vec<usize> {
        let mut numbers: Vec<usize> = if second {
            self.by_address.values().flatten().copied().collect()
        } else {
            self.by_port
                .get(&(port % PORT_BUCKETS))
                .cloned()
                .unwrap_or_default()
        };
        numbers.retain(|&number| {
            let bound = &self.socks[number].bound;
            (bound.netns, bound.port) == (netns, port)
        });
        numbers.sort_by_key(|&number| self.socks[number].is_v6());
        numbers
    }

    /// `__inet_lookup_listener`, `inet6_lookup_listener`
    pub(crate) fn lookup(&self, version: Version, packet: &Packet) -> Option<usize> {
        let by_port = self.by_port.get(&(packet.port % PORT_BUCKETS));
        let by_port = by_port.map_or(&[][..], Vec::as_slice);
        let one_table = match version {
            Version::V4_14 => true,
            Version::V4_19 => by_port.len() <= 10,
            Version::V5_0 | Version::V5_16 => false,
        };
        if one_table {
            return self.walk(by_port, version, packet, packet.destination);
        }
        let any = match packet.destination {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        [packet.destination, any].into_iter().find_map(|daddr| {
            let address = match daddr {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            let bucket = self
                .by_address
                .get(&portaddr(packet.netns, packet.port, address))?;
            self.walk(bucket, version, packet, daddr)
        })
    }

    /// The loop of either lookup.
    fn walk(
        &self,
        chain: &[usize],
        version: Version,
        packet: &Packet,
        daddr: IpAddr,
    ) -> Option<usize> {
        let mut result = None;
        let mut hiscore = 0;
        for &number in chain {
            let sk = &self.socks[number];
            let score = compute_score(sk, version, packet, daddr);
            if score > hiscore {
                if sk.reuseport {
                    // reuseport_select_sock: a member of its group
                    return Some(number);
                }
                result = Some(number);
                hiscore = score;
            }
        }
        result
    }
}

fn places(sock: &Sock) -> (u16, (u32, u16, Ipv6Addr)) {
    let bound = &sock.bound;
    let key = portaddr(bound.netns, bound.port, bound.address);
    (bound.port % PORT_BUCKETS, key)
}

fn compute_score(sk: &Sock, version: Version, packet: &Packet, daddr: IpAddr) -> i32 {
    let bound = &sk.bound;
    if (bound.netns, bound.port) != (packet.netns, packet.port) {
        return -1;
    }
    match (version, daddr) {
        (Version::V4_14 | Version::V4_19, IpAddr::V4(daddr)) => {
            if bound.v6only {
                return -1;
            }
            let mut score = if sk.is_v6() { 1 } else { 2 };
            if !sk.rcv_saddr().is_unspecified() {
                if sk.rcv_saddr() != daddr {
                    return -1;
                }
                score += 4;
            }
            device_of_old(sk, packet, score, 4)
        }
        (Version::V4_14 | Version::V4_19, IpAddr::V6(daddr)) => {
            if !sk.is_v6() {
                return -1;
            }
            let mut score = 1;
            if !sk.v6_rcv_saddr().is_unspecified() {
                if sk.v6_rcv_saddr() != daddr {
                    return -1;
                }
                score += 1;
            }
            device_of_old(sk, packet, score, 1)
        }
        (Version::V5_0 | Version::V5_16, daddr) => {
            let fits = match daddr {
                IpAddr::V4(daddr) => !bound.v6only && sk.rcv_saddr() == daddr,
                IpAddr::V6(daddr) => sk.is_v6() && sk.v6_rcv_saddr() == daddr,
            };
            if !fits || !bound_dev_eq(sk, packet) {
                return -1;
            }
            let device = version == Version::V5_16 && bound.device != 0;
            let family = daddr.is_ipv4() && !sk.is_v6();
            1 + i32::from(device) + i32::from(family)
        }
    }
}

/// With `exact_dif` (`inet_exact_dif_match`) a packet of a VRF is for those bound to it.
fn device_of_old(sk: &Sock, packet: &Packet, score: i32, points: i32) -> i32 {
    let exact_dif = packet.sdif != 0 && !packet.l3mdev_accept;
    let device = sk.bound.device;
    if device == 0 && !exact_dif {
        return score;
    }
    if device != packet.dif && device != packet.sdif {
        return -1;
    }
    if device == 0 { score } else { score + points }
}

/// `inet_sk_bound_dev_eq`
fn bound_dev_eq(sk: &Sock, packet: &Packet) -> bool {
    match sk.bound.device {
        0 => packet.sdif == 0 || packet.l3mdev_accept,
        device => device == packet.dif || device == packet.sdif,
    }
}
