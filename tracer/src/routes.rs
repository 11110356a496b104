//! What the routing tables of this thread's network namespace say of an address; needs no
//! right, and sends no packet.
#![forbid(unsafe_code)]

use std::{io, net::IpAddr};

use anyhow::{Result, bail};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAttribute, RouteFlags, RouteMessage, RouteType},
    rule::{RuleAttribute, RuleMessage},
};

use crate::rtnetlink;

/// Addresses that are nobody's (RFC 5737, RFC 3849), for a client that is not known.
pub const NOBODY: [IpAddr; 3] = [
    IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 77)),
    IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 77)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77)),
];

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this host: the interface that the route names, `lo` for most of `AnyIP`.
    Local(u32),
    /// On through an interface.
    Through(u32),
    /// Nowhere.
    Nowhere,
}

/// What becomes of a packet that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As its destination's route says.
    Routed(Route),
    /// Dropped: the way back to its source is through another interface (`rp_filter`).
    ReversePath,
    /// Not known: the tables could not be asked, or do not take the source.
    Unknown,
}

/// Where this host sends a packet for the address, by the entry of the table: for its own
/// addresses the interface that has them, which is also what a listener's device is compared
/// with for connections from this host to itself (`ip_route_output_key_hash_rcu`,
/// `net/ipv4/route.c`).
///
/// # Errors
/// If rtnetlink does not answer.
pub fn to(destination: IpAddr) -> Result<Route> {
    let mut request = request(destination);
    request.header.flags = RouteFlags::FibMatch;
    match get(request)? {
        Ok(route) => Ok(route),
        Err(error) if is_nowhere(&error) => Ok(Route::Nowhere),
        Err(error) => bail!("rtnetlink refused: {error}"),
    }
}

/// What a route of type unreachable or prohibit says, or that there is none.
fn is_nowhere(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EACCES)
    )
}

/// What becomes of a packet that comes in through an interface. Without a client, one that
/// nobody is.
///
/// # Errors
/// If rtnetlink does not answer.
pub fn arriving(destination: IpAddr, client: Option<IpAddr>, interface: u32) -> Result<Fate> {
    let nobody = NOBODY
        .into_iter()
        .filter(|nobody| client.is_none() && nobody.is_ipv4() == destination.is_ipv4());
    let mut fate = Fate::Unknown;
    for source in client.into_iter().chain(nobody) {
        let mut request = request(destination);
        request.header.source_prefix_length = request.header.destination_prefix_length;
        request
            .attributes
            .push(RouteAttribute::Source(source.into()));
        request.attributes.push(RouteAttribute::Iif(interface));
        fate = match get(request)? {
            Ok(route) => return Ok(Fate::Routed(route)),
            Err(error) if is_nowhere(&error) => return Ok(Fate::Routed(Route::Nowhere)),
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) && client.is_some() => {
                Fate::ReversePath
            }
            Err(_) => Fate::Unknown,
        };
    }
    Ok(fate)
}

/// Whether packets that carry a mark are routed by other tables than those asked here.
///
/// # Errors
/// If rtnetlink does not answer.
pub fn by_mark(destination: IpAddr) -> Result<bool> {
    let mut request = RuleMessage::default();
    request.header.family = family(destination);
    let told = rtnetlink::dump(RouteNetlinkMessage::GetRule(request))?;
    let marked = |attribute: &RuleAttribute| matches!(attribute, RuleAttribute::FwMark(_));
    Ok(told.iter().any(|message| match message {
        RouteNetlinkMessage::NewRule(rule) => rule.attributes.iter().any(marked),
        _ => false,
    }))
}

fn request(destination: IpAddr) -> RouteMessage {
    let mut request = RouteMessage::default();
    request.header.address_family = family(destination);
    request.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
    request
        .attributes
        .push(RouteAttribute::Destination(destination.into()));
    request
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

fn get(request: RouteMessage) -> Result<io::Result<Route>> {
    Ok(
        match rtnetlink::ask(RouteNetlinkMessage::GetRoute(request))? {
            Ok(RouteNetlinkMessage::NewRoute(route)) => Ok(read(&route)),
            Ok(other) => bail!("rtnetlink answered with something else: {other:?}"),
            Err(error) => Err(error),
        },
    )
}

fn read(route: &RouteMessage) -> Route {
    let out = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            RouteAttribute::MultiPath(hops) => hops.first().map(|hop| hop.interface_index),
            _ => None,
        });
    match (route.header.kind, out) {
        (RouteType::Local | RouteType::Anycast, out) => Route::Local(out.unwrap_or(0)),
        (RouteType::Unicast, Some(out)) => Route::Through(out),
        _ => Route::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::LOOPBACK;

    #[test]
    fn this_host_is_local_to_itself() -> Result<()> {
        let here = to([127, 0, 0, 1].into())?;
        assert_eq!(here, Route::Local(LOOPBACK));
        Ok(())
    }
}
