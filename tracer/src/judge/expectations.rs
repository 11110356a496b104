//! What should be where: the services a user names. Pure.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    netns::NetnsName,
    rules::{Packet, Protocol},
};
use crate::event::{Netns, Owner, counting};

/// All that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    /// Named services; of two that name the same address, the first counts.
    pub services: Vec<Service>,
    /// How long a specific listener is expected back after it closed; `None`: learning is
    /// off.
    pub hold: Option<Duration>,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            hold: Some(Self::HOLD),
        }
    }
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub listen: Vec<Address>,
    /// Namespace it is expected in; `None`: wherever its addresses are.
    pub netns: Option<NetnsName>,
    /// Who may hold its listeners.
    pub owner: OwnerRule,
}

/// Where a service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// By which protocol.
    pub protocol: Protocol,
    /// Address; `None`, written `*`: any, of either family.
    pub address: Option<IpAddr>,
    /// Port, host order.
    pub port: u16,
}

impl Address {
    fn is_on(&self, protocol: Protocol, port: u16) -> bool {
        (self.protocol, self.port) == (protocol, port)
    }
}

/// Who may hold a listener: all that is given must be true of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerRule {
    /// systemd unit.
    pub unit: Option<String>,
    /// Executable.
    pub exe: Option<String>,
    /// `comm`
    pub comm: Option<String>,
    /// Owner of the socket, in the initial user namespace.
    pub uid: Option<u32>,
}

/// What a service says of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The service.
    pub service: &'a Service,
    /// It names the packet's very address; else it takes any.
    pub exact: bool,
    /// It names any IPv4 address: an IPv6 socket in its place is another.
    pub ipv4_any: bool,
}

impl Expectations {
    /// How long a closed listener is expected back, unless told otherwise.
    pub const HOLD: Duration = Duration::from_mins(10);

    /// The service that a destination belongs to: one that names it, else one that takes any.
    #[must_use]
    pub fn claim(&self, netns: &Netns, packet: &Packet) -> Option<Claim<'_>> {
        let destination = packet.destination;
        let mut any = None;
        for service in &self.services {
            if !service.is_expected_in(netns) {
                continue;
            }
            let listen = service.listen.iter();
            for listen in listen.filter(|listen| listen.is_on(packet.protocol, packet.port)) {
                let claim = |exact, ipv4_any| Claim {
                    service,
                    exact,
                    ipv4_any,
                };
                match listen.address {
                    Some(address) if address == destination => return Some(claim(true, false)),
                    Some(IpAddr::V4(address)) if address.is_unspecified() => {
                        if destination.is_ipv4() {
                            any.get_or_insert(claim(false, true));
                        }
                    }
                    Some(IpAddr::V6(address)) if !address.is_unspecified() => {}
                    Some(IpAddr::V4(_)) => {}
                    None | Some(IpAddr::V6(_)) => {
                        any.get_or_insert(claim(false, false));
                    }
                }
            }
        }
        any
    }
}

impl Expectations {
    /// Addresses of services on a port in whichever namespace, and who may hold them.
    pub(crate) fn on_port(
        &self,
        protocol: Protocol,
        port: u16,
    ) -> impl Iterator<Item = (Option<IpAddr>, &OwnerRule)> {
        self.services.iter().flat_map(move |service| {
            let listen = service.listen.iter();
            let there = listen.filter(move |listen| listen.is_on(protocol, port));
            there.map(|listen| (listen.address, &service.owner))
        })
    }
}

impl Service {
    /// Whether it is expected in this namespace.
    #[must_use]
    pub fn is_expected_in(&self, netns: &Netns) -> bool {
        self.netns.as_ref().is_none_or(|wanted| wanted.means(netns))
    }
}

impl OwnerRule {
    /// Whether anybody may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is the processes that decide.
    #[must_use]
    pub fn asks_processes(&self) -> bool {
        self.unit.is_some() || self.exe.is_some() || self.comm.is_some()
    }

    /// Whether these processes and this user may hold the listener. Nobody known is no
    /// contradiction.
    #[must_use]
    pub fn admits(&self, owners: &[Owner], uid: u32) -> bool {
        if self.uid.is_some_and(|wanted| wanted != uid) {
            return false;
        }
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| found.is_some_and(|found| found == wanted))
        };
        let matches = |owner: &Owner| {
            (is(&self.unit, owner.unit.as_deref()) || self.is_in_container(owner))
                && is(&self.exe, owner.exe.as_deref())
                && is(&self.comm, Some(&owner.comm))
        };
        owners.is_empty() || counting(owners).any(matches)
    }

    /// A unit of a container is asked for with it: `CONTAINER/UNIT`, by name or id.
    fn is_in_container(&self, owner: &Owner) -> bool {
        let asked = self.unit.as_deref().and_then(|unit| unit.split_once('/'));
        asked.is_some_and(|(container, unit)| {
            let id = owner.container.as_deref().unwrap_or_default();
            let is_it = id == container
                || owner.container_name.as_deref() == Some(container)
                || container.len() >= 12 && id.starts_with(container);
            is_it && owner.container_unit.as_deref() == Some(unit)
        })
    }
}
