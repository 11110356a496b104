//! How Linux ranks listening sockets for a SYN: who fits, who is more specific, and the
//! score the kernel gives. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::Family;

/// Protocol of a socket, and of a packet: ports of one are not those of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
}

/// A listening socket, as far as the lookup cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Bound {
    /// Inode number of its namespace.
    pub netns: u32,
    /// Its protocol. Recordings know one only, and do not say which.
    #[serde(skip)]
    pub protocol: Protocol,
    /// Bound address; that of an `AF_INET` socket in v4-mapped form.
    pub address: Ipv6Addr,
    /// Port, host order.
    pub port: u16,
    /// Its family.
    pub family: Family,
    /// Interface it is bound to; 0 for none.
    pub device: u32,
    /// Takes no IPv4.
    pub v6only: bool,
}

/// A SYN, as far as the lookup cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Inode number of its namespace.
    pub netns: u32,
    /// Its protocol.
    pub protocol: Protocol,
    /// Destination address, in the packet's family.
    pub destination: IpAddr,
    /// Destination port, host order.
    pub port: u16,
    /// Interface the lookup matches against: the VRF, for a packet that came through one.
    pub dif: u32,
    /// The interface enslaved to that VRF, 0 without one.
    pub sdif: u32,
    /// `net.ipv4.tcp_l3mdev_accept`: unbound listeners take packets of every VRF.
    pub l3mdev_accept: bool,
}

/// Why a socket does not fit a packet; the first rule that it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// It is in another namespace.
    Netns,
    /// Another port, or one of another protocol.
    Port,
    /// The packet's family is not taken: an IPv4 socket for an IPv6 packet, or the other
    /// way round with `IPV6_V6ONLY`.
    Family,
    /// Bound to another address.
    Address,
    /// Bound to a device that the packet did not come through.
    Device,
    /// Not bound to a device, but the packet came through a VRF.
    VrfScope,
}

/// How specifically a socket fits a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fit {
    /// Bound to the packet's destination, not to any address.
    pub address: bool,
    /// Bound to the packet's device.
    pub device: bool,
    /// A socket of the packet's own family: not an IPv6 socket for an IPv4 packet.
    pub native: bool,
}

impl Fit {
    /// Whether this is the more specific one: the address counts first; then device and
    /// family, which do not weigh against each other.
    #[must_use]
    pub fn beats(self, other: Self) -> bool {
        if self.address != other.address {
            return self.address;
        }
        let no_worse = self.device >= other.device && self.native >= other.native;
        no_worse && self != other
    }

    /// The score of kernels that look the address up first, without the point for
    /// `SO_INCOMING_CPU` (`compute_score`, `net/ipv4/inet_hashtables.c` and
    /// `net/ipv6/inet6_hashtables.c`; the point for the device since 8d6c414cd2fb, 5.16).
    #[must_use]
    pub fn score(self, packet: &Packet) -> u32 {
        let family = packet.destination.is_ipv4() && self.native;
        1 + u32::from(self.device) + u32::from(family)
    }
}

/// In which order, and by which score, the kernel compares the sockets of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// Those on the packet's address first, then those on any.
    AddressFirst,
    /// All in one chain.
    PortChain,
}

impl Algorithm {
    /// How it ranks the sockets of a port whose bucket holds so many sockets, every port
    /// and namespace in it counted.
    #[must_use]
    pub fn ranking(self, in_bucket: usize) -> Ranking {
        match self {
            Self::AddressFirst => Ranking::AddressFirst,
            // `__inet_lookup_listener`, net/ipv4/inet_hashtables.c, 4.16 to 4.20
            Self::Hybrid if in_bucket > 10 => Ranking::AddressFirst,
            Self::PortOnly | Self::Hybrid => Ranking::PortChain,
        }
    }
}

impl Ranking {
    /// The score of a socket, without the point for `SO_INCOMING_CPU`.
    #[must_use]
    pub fn score(self, fit: Fit, packet: &Packet) -> u32 {
        if self == Self::AddressFirst {
            return fit.score(packet);
        }
        let (address, device) = (u32::from(fit.address), u32::from(fit.device));
        if packet.destination.is_ipv4() {
            // `compute_score`, net/ipv4/inet_hashtables.c, up to 4.20
            1 + u32::from(fit.native) + 4 * address + 4 * device
        } else {
            // `compute_score`, net/ipv6/inet6_hashtables.c, up to 4.20
            1 + address + device
        }
    }
}

impl Bound {
    /// A socket of the address's family that is bound to no device.
    #[must_use]
    pub fn to(netns: u32, address: IpAddr, port: u16) -> Self {
        Self {
            netns,
            protocol: Protocol::Tcp,
            address: mapped(address),
            port,
            family: Family::of(address),
            device: 0,
            v6only: false,
        }
    }

    /// Bound to any address of its family.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.address.is_unspecified() || self.address == ANY_MAPPED
    }

    /// The address in the family its owner gave it.
    #[must_use]
    pub fn shown_address(&self) -> IpAddr {
        match self.family {
            Family::Ipv4 => self.address.to_canonical(),
            Family::Ipv6 => self.address.into(),
        }
    }

    /// How both fit a packet that both may fit, where one of them is the more specific.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<(Fit, Fit)> {
        let packet = common_packet(self, other)?;
        let (one, other) = (self.fit(&packet).ok()?, other.fit(&packet).ok()?);
        (one.beats(other) || other.beats(one)).then_some((one, other))
    }

    /// How the socket fits the packet.
    ///
    /// # Errors
    /// The first rule that it fails.
    pub fn fit(&self, packet: &Packet) -> Result<Fit, Unfit> {
        if self.netns != packet.netns {
            return Err(Unfit::Netns);
        }
        if (self.protocol, self.port) != (packet.protocol, packet.port) {
            return Err(Unfit::Port);
        }
        let ipv4 = packet.destination.is_ipv4();
        let v4_socket = self.family == Family::Ipv4;
        if ipv4 && self.v6only || !ipv4 && v4_socket {
            return Err(Unfit::Family);
        }
        let address = self.address == mapped(packet.destination);
        let any = self.address.is_unspecified() || ipv4 && self.address == ANY_MAPPED;
        if !address && !any {
            return Err(Unfit::Address);
        }
        if self.device == 0 {
            // `inet_sk_bound_dev_eq`, include/net/inet_sock.h
            if packet.sdif != 0 && !packet.l3mdev_accept {
                return Err(Unfit::VrfScope);
            }
        } else if self.device != packet.dif && self.device != packet.sdif {
            return Err(Unfit::Device);
        }
        Ok(Fit {
            address,
            device: self.device != 0,
            native: !ipv4 || v4_socket,
        })
    }
}

/// A packet that both may fit: for the more specific address, over the device.
fn common_packet(one: &Bound, other: &Bound) -> Option<Packet> {
    let takes_ipv4 = |bound: &Bound| !bound.v6only;
    let destination = match (one.is_wildcard(), other.is_wildcard()) {
        (false, false) if one.address != other.address => return None,
        (false, _) => one.address.to_canonical(),
        (_, false) => other.address.to_canonical(),
        (true, true) if takes_ipv4(one) && takes_ipv4(other) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (true, true) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let dif = match (one.device, other.device) {
        (0, device) | (device, 0) => device,
        (one, other) if one == other => one,
        _ => return None,
    };
    Some(Packet {
        netns: one.netns,
        protocol: one.protocol,
        destination,
        port: one.port,
        dif,
        sdif: 0,
        l3mdev_accept: false,
    })
}

/// `::ffff:0.0.0.0`: any IPv4 address.
pub const ANY_MAPPED: Ipv6Addr = Ipv6Addr::from_bits(0xffff_0000_0000);

/// An address in the form that [`Bound::address`] has.
#[must_use]
pub fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Buckets of the table hashed by port (`INET_LHTABLE_SIZE`, up to 5.18). So many ports in
/// a row fall into each bucket once, whatever the namespace adds to the hash.
pub const BUCKETS: u16 = 32;

/// How this kernel looks a listener up (docs/verdicts.md, "Which kernel does what").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Up to 4.15: one chain per port; the first reuseport socket that raises the score wins.
    PortOnly,
    /// 4.16 to 4.20: the chain per port while its bucket holds at most ten sockets, past that
    /// the packet's address first (61b7c691c731).
    Hybrid,
    /// From 5.0: the packet's address first, then any (d9fbc7f6431f, 0ee58dad5b06).
    AddressFirst,
}
