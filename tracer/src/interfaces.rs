//! Interfaces of this thread's network namespace: names, VRFs, addresses; and the one that
//! a SYN would come through.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
};
use nix::ifaddrs::getifaddrs;

use crate::rtnetlink;

/// Index of the loopback interface in every namespace (`LOOPBACK_IFINDEX`,
/// include/net/flow.h).
pub const LOOPBACK: u32 = 1;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Index of the interface that it is enslaved to; 0 for none.
    pub master: u32,
    /// It is a VRF.
    pub vrf: bool,
}

/// Interfaces and their addresses.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    /// Every interface.
    pub all: Vec<Interface>,
    /// Addresses, each with the name of its interface.
    pub addresses: Vec<(IpAddr, String)>,
}

/// How a SYN comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Interface it comes through.
    pub interface: Interface,
    /// VRF that the interface is enslaved to, or is; 0 for none.
    pub vrf: u32,
    /// Why this interface was assumed, if it was not named.
    pub assumed: Option<String>,
}

impl Interfaces {
    /// Those of this thread's namespace.
    ///
    /// # Errors
    /// If rtnetlink does not answer.
    pub fn here() -> Result<Self> {
        let addresses = getifaddrs().context("cannot list addresses")?;
        Ok(Self {
            all: links()?,
            addresses: addresses
                .filter_map(|entry| Some((ip(&entry.address?)?, entry.interface_name)))
                .collect(),
        })
    }

    /// The interface of that name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Interface> {
        self.all.iter().find(|interface| interface.name == name)
    }

    /// The interface of that index.
    #[must_use]
    pub fn indexed(&self, index: u32) -> Option<&Interface> {
        self.all.iter().find(|interface| interface.index == index)
    }

    /// The interface that a SYN for `destination` comes through: the one named, else the one
    /// that has the address. From this host to itself the lookup takes that one too, though
    /// the packet passes the loopback interface (`ip_route_output_key_hash_rcu`,
    /// `net/ipv4/route.c`; `ip6_rcv_core`, `net/ipv6/ip6_input.c`).
    ///
    /// # Errors
    /// If there is no interface of that name.
    pub fn arrival(&self, named: Option<&str>, destination: IpAddr) -> Result<Arrival> {
        if let Some(name) = named {
            let Some(interface) = self.named(name) else {
                bail!("no interface {name:?} in this network namespace; see ip link");
            };
            return Ok(self.through(interface.clone(), None));
        }
        let (interface, why) = self.usual(destination);
        Ok(self.through(interface, Some(why)))
    }

    fn usual(&self, destination: IpAddr) -> (Interface, String) {
        let loopback = || {
            self.indexed(LOOPBACK).cloned().unwrap_or(Interface {
                index: LOOPBACK,
                name: "lo".to_owned(),
                ..Interface::default()
            })
        };
        if destination.is_loopback() {
            return (loopback(), format!("{destination} is a loopback address"));
        }
        let address = self
            .addresses
            .iter()
            .find(|(known, _)| *known == destination);
        match address.and_then(|(_, name)| self.named(name)) {
            Some(interface) if interface.index == LOOPBACK => {
                let why = format!(
                    "it has the address {destination}; other hosts' SYNs come through another, \
                     which --dev names"
                );
                (loopback(), why)
            }
            Some(interface) => (
                interface.clone(),
                format!("it has the address {destination}"),
            ),
            None => {
                let why = format!(
                    "no interface here has the address {destination}, so a SYN for it gets as far \
                     as the listeners only if a route makes it local; --dev names another"
                );
                (loopback(), why)
            }
        }
    }

    fn through(&self, interface: Interface, assumed: Option<String>) -> Arrival {
        let master = self.indexed(interface.master);
        let vrf = if interface.vrf {
            interface.index
        } else {
            master
                .filter(|master| master.vrf)
                .map_or(0, |vrf| vrf.index)
        };
        Arrival {
            interface,
            vrf,
            assumed,
        }
    }
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|found| found.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|found| found.ip().into()))
}

fn links() -> Result<Vec<Interface>> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let told = rtnetlink::dump(request).context("cannot list the interfaces")?;
    let links = told.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(interface(link)),
        _ => None,
    });
    Ok(links.collect())
}

fn interface(link: &LinkMessage) -> Interface {
    let mut interface = Interface {
        index: link.header.index,
        ..Interface::default()
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Controller(master) => interface.master = *master,
            LinkAttribute::LinkInfo(info) => {
                interface.vrf |= info.contains(&LinkInfo::Kind(InfoKind::Vrf));
            }
            _ => {}
        }
    }
    interface
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Interfaces {
        let interface = |index, name: &str, master, vrf| Interface {
            index,
            name: name.to_owned(),
            master,
            vrf,
        };
        let on = |address: [u8; 4], name: &str| (IpAddr::from(address), name.to_owned());
        let v6 = "2001:db8::2"
            .parse()
            .map(|address| (address, "eth0".to_owned()));
        Interfaces {
            all: vec![
                interface(1, "lo", 0, false),
                interface(2, "eth0", 0, false),
                interface(3, "eth1", 4, false),
                interface(4, "red", 0, true),
            ],
            addresses: [
                on([192, 0, 2, 2], "eth0"),
                on([10, 0, 0, 1], "eth1"),
                on([6, 6, 6, 6], "lo"),
            ]
            .into_iter()
            .chain(v6)
            .collect(),
        }
    }

    #[test]
    fn the_usual_interface_is_that_of_the_address_or_loopback() -> Result<()> {
        for (destination, name) in [
            ("127.0.0.9", "lo"),
            ("192.0.2.2", "eth0"),
            ("10.0.0.1", "eth1"),
            ("6.6.6.6", "lo"),
            ("2001:db8::2", "eth0"),
            ("203.0.113.1", "lo"),
        ] {
            let arrival = some().arrival(None, destination.parse()?)?;
            assert_eq!(arrival.interface.name, name, "{destination}");
            assert!(arrival.assumed.is_some());
        }
        let nowhere = some().arrival(Some("eth9"), IpAddr::from([1, 2, 3, 4]));
        assert!(nowhere.is_err());
        Ok(())
    }

    #[test]
    fn a_vrf_is_seen() -> Result<()> {
        for (name, vrf) in [("eth0", 0), ("eth1", 4), ("red", 4)] {
            let arrival = some().arrival(Some(name), IpAddr::from([10, 0, 0, 1]))?;
            assert_eq!((arrival.vrf, arrival.assumed), (vrf, None));
        }
        Ok(())
    }
}
