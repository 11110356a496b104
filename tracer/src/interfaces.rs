//! Interfaces of this thread's network namespace: names, VRFs, addresses; and the one that
//! a SYN would come through.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use nix::ifaddrs::getifaddrs;

use crate::{routes::Route, rtnetlink};

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
    /// It is up.
    pub up: bool,
}

/// Interfaces and their addresses.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    /// Every interface.
    pub all: Vec<Interface>,
    /// Addresses, each with the name of its interface.
    pub addresses: Vec<(IpAddr, String)>,
}

/// What is known of a SYN before its interface is.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Interface, if it was named.
    pub device: Option<&'a str>,
    /// Where it goes.
    pub destination: IpAddr,
    /// Who sends it, if that was named.
    pub client: Option<IpAddr>,
    /// Route to the destination; `None` if the tables could not be asked.
    pub to_destination: Option<Route>,
    /// Route to the client, or to anybody if none was named.
    pub to_client: Option<Route>,
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
    /// Through which others it may come as well.
    pub others: Others,
}

/// Interfaces that a SYN may come through besides the one assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// None.
    None,
    /// Any but loopback: the client is another host.
    Outside,
    /// Any.
    Any,
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

    /// The interface that a SYN comes through: the one named; for a client on this host the
    /// one that has the destination address, which the lookup takes although the packet
    /// passes the loopback interface (`ip_route_output_key_hash_rcu`, `net/ipv4/route.c`;
    /// `ip6_rcv_core`, `net/ipv6/ip6_input.c`); for another host's the one that leads back to
    /// it; without a client the one that has the address, unless that is loopback.
    ///
    /// # Errors
    /// If there is no interface of that name.
    pub fn arrival(&self, sent: &Sent<'_>) -> Result<Arrival> {
        if let Some(name) = sent.device {
            let Some(interface) = self.named(name) else {
                bail!("no interface {name:?} in this network namespace; see ip link");
            };
            return Ok(self.through(interface.clone(), None, Others::None));
        }
        let (interface, why, others) = self.usual(sent);
        Ok(self.through(interface, Some(why), others))
    }

    /// As if the SYN came through that interface.
    #[must_use]
    pub fn instead(&self, interface: &Interface) -> Arrival {
        self.through(interface.clone(), None, Others::None)
    }

    fn usual(&self, sent: &Sent<'_>) -> (Interface, String, Others) {
        let destination = sent.destination;
        if destination.is_loopback() {
            let why = format!("{destination} is a loopback address");
            return (self.loopback(), why, Others::None);
        }
        let (holder, has) = self.holder(sent);
        let client = sent.client.filter(|_| sent.to_client.is_some());
        let back = match sent.to_client {
            Some(Route::Through(index)) => self.indexed(index),
            _ => None,
        };
        match (client, sent.to_client, back) {
            (Some(client), Some(Route::Local(_)), _) => {
                let why = format!("{client} is an address of this host, and {has}");
                return (holder.unwrap_or_else(|| self.loopback()), why, Others::None);
            }
            (Some(client), _, Some(back)) => {
                let why = format!("the route back to {client} goes through it");
                return (back.clone(), why, Others::Outside);
            }
            _ => {}
        }
        let outside = holder.filter(|interface| interface.index != LOOPBACK);
        // A link-local address is of one interface, for this host's own connections too.
        let of_link = matches!(destination, IpAddr::V6(address) if address.is_unicast_link_local());
        let others = if client.is_some() || of_link && outside.is_some() {
            Others::Outside
        } else {
            Others::Any
        };
        if let Some(interface) = outside {
            return (interface, has, others);
        }
        match back.or_else(|| self.outward(destination)) {
            Some(interface) => {
                let why = format!(
                    "{has}, and other hosts' SYNs do not come through lo; --from or --dev names \
                     another"
                );
                (interface.clone(), why, others)
            }
            None => (self.loopback(), has, others),
        }
    }

    /// The interface whose address the destination is, and how that is told.
    fn holder(&self, sent: &Sent<'_>) -> (Option<Interface>, String) {
        let destination = sent.destination;
        let named = |name: &str| self.named(name);
        let mut holders = self
            .addresses
            .iter()
            .filter(|(known, _)| *known == destination)
            .filter_map(|(_, name)| named(name));
        let routed = match sent.to_destination {
            Some(Route::Local(index)) => self.indexed(index),
            _ => None,
        };
        let first = holders.next();
        // Where several have it, the route tells which counts; in IPv6 before 4.18 it is
        // always loopback.
        let by_route = routed.filter(|routed| {
            Some(*routed) == first || holders.clone().any(|holder| holder == *routed)
        });
        match (by_route.or(first), routed) {
            (Some(interface), _) => {
                let name = &interface.name;
                let has = if interface.index == LOOPBACK {
                    format!("{destination} is on {name}")
                } else {
                    format!("it has the address {destination}")
                };
                (Some(interface.clone()), has)
            }
            (None, Some(interface)) => {
                let has = format!(
                    "no interface has {destination}; a route makes it local on {}",
                    interface.name
                );
                (Some(interface.clone()), has)
            }
            (None, None) => (
                None,
                format!("no interface here has the address {destination}"),
            ),
        }
    }

    /// The first interface besides loopback that is up and has an address of the family that
    /// other networks know.
    fn outward(&self, destination: IpAddr) -> Option<&Interface> {
        self.all.iter().find(|interface| {
            let addressed = self.addresses.iter().any(|(address, name)| {
                let link_local = match address {
                    IpAddr::V4(address) => address.is_link_local(),
                    IpAddr::V6(address) => address.is_unicast_link_local(),
                };
                *name == interface.name && address.is_ipv4() == destination.is_ipv4() && !link_local
            });
            interface.up && interface.index != LOOPBACK && !interface.vrf && addressed
        })
    }

    fn loopback(&self) -> Interface {
        self.indexed(LOOPBACK).cloned().unwrap_or(Interface {
            index: LOOPBACK,
            name: "lo".to_owned(),
            ..Interface::default()
        })
    }

    fn through(&self, interface: Interface, assumed: Option<String>, others: Others) -> Arrival {
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
            others,
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
        up: link.header.flags.contains(LinkFlags::Up),
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
mod tests;
