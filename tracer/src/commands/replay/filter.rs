//! The filters that trace has in the kernel, over a recording.

use anyhow::Result;
use ipnet::IpNet;

use crate::{
    cli::{FamilyArg, ReplayArgs, every_port},
    decode::Record,
    event::Family,
    failure::Failure,
    host::recorded::Recorded,
    judge,
};

/// The filters that trace has in the kernel.
pub(super) struct Filter {
    ports: Vec<u16>,
    destinations: Vec<IpNet>,
    sources: Vec<IpNet>,
    namespaces: Vec<String>,
    family: Option<Family>,
}

impl Filter {
    pub(super) fn of(args: &ReplayArgs) -> Result<Self> {
        let filter = &args.filter;
        Ok(Self {
            ports: every_port(&filter.port).map_err(Failure::usage)?,
            destinations: filter.dst.clone(),
            sources: filter.src.clone(),
            namespaces: filter.netns.clone(),
            family: filter.family.map(|family| match family {
                FamilyArg::Ipv4 => Family::Ipv4,
                FamilyArg::Ipv6 => Family::Ipv6,
            }),
        })
    }

    fn is_empty(&self) -> bool {
        self.ports.is_empty()
            && self.destinations.is_empty()
            && self.sources.is_empty()
            && self.namespaces.is_empty()
            && self.family.is_none()
    }

    /// Whether the kernel would have told of it. Listeners come and go past the filters.
    pub(super) fn passes(&self, record: &Record, host: &Recorded) -> bool {
        if self.is_empty() {
            return true;
        }
        let (netns, cookie, family, client, destination, port_be) = match record {
            Record::Listen(_) | Record::Close(_) => return true,
            Record::Syn(syn) => (
                syn.netns,
                syn.netns_cookie,
                syn.family,
                syn.client,
                syn.destination,
                syn.destination_port_be,
            ),
            Record::Handover(one) => (
                one.netns,
                one.netns_cookie,
                one.family,
                one.client,
                one.destination,
                one.destination_port_be,
            ),
        };
        let within = |nets: &[IpNet], address| {
            let address = judge::packet_address(address, family);
            nets.is_empty() || nets.iter().any(|net| net.contains(&address))
        };
        let is_meant = |wanted: &String| {
            wanted.parse() == Ok(netns) || host.netns_name(netns, cookie).as_ref() == Some(wanted)
        };
        let family = if family == libc::AF_INET as u16 {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        (self.ports.is_empty() || self.ports.contains(&u16::from_be(port_be)))
            && within(&self.destinations, destination)
            && within(&self.sources, client)
            && (self.namespaces.is_empty() || self.namespaces.iter().any(is_meant))
            && self.family.is_none_or(|wanted| wanted == family)
    }
}
