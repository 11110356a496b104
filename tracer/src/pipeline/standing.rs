//! What may be said of the listeners that are there, SYNs or none: which services have theirs, and
//! where listeners stand in each other's way.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{assess::Assessor, enrich::Enricher};
use crate::{
    judge::{
        expectations::{Address, Service},
        rules::{Bound, mapped},
    },
    words::namespace,
};

/// The listeners at a time, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether every address of a service has a listener bound to it, by the service's name.
    pub services: BTreeMap<Arc<str>, bool>,
    /// Places of a port of which one may be given SYNs that another is more specific for. By the
    /// name or number of the namespace, and the port.
    pub overlapping: BTreeMap<(Arc<str>, u16), u64>,
}

impl Standing {
    /// As of the last record; asks for the names of namespaces.
    pub(super) fn of(assessor: &Assessor, enricher: &mut Enricher) -> Self {
        let bound: FxHashSet<Bound> = assessor.listeners().map(|(bound, _)| bound).collect();
        let mut names = FxHashMap::default();
        for at in &bound {
            names
                .entry(at.netns)
                .or_insert_with(|| enricher.netns(at.netns));
        }
        let services = assessor.expectations().services.iter();
        let service = |service: &Service| {
            let here: Vec<&Bound> = bound
                .iter()
                .filter(|at| service.is_expected_in(&names[&at.netns]))
                .collect();
            let has_listener = |address: &Address| here.iter().any(|at| is_bound_to(at, *address));
            (
                service.name.clone(),
                service.listen.iter().all(has_listener),
            )
        };
        Self {
            services: services.map(service).collect(),
            overlapping: overlapping(&bound)
                .map(|((netns, port), places)| {
                    let name = namespace(&names[&netns]);
                    ((name.into(), port), places)
                })
                .collect(),
        }
    }
}

fn is_bound_to(bound: &Bound, address: Address) -> bool {
    bound.port == address.port
        && match address.address {
            None => bound.is_wildcard(),
            Some(IpAddr::V4(any)) if any.is_unspecified() => bound.is_wildcard() && !bound.v6only,
            Some(address) => bound.address == mapped(address),
        }
}

/// Ports on which places overlap, and how many those are. A place is held against those on its own
/// address and those on any, so the work grows with what overlaps.
fn overlapping(bound: &FxHashSet<Bound>) -> impl Iterator<Item = ((u32, u16), u64)> {
    let mut ports: FxHashMap<(u32, u16), FxHashMap<Ipv6Addr, Vec<&Bound>>> = FxHashMap::default();
    for at in bound {
        let addresses = ports.entry((at.netns, at.port)).or_default();
        addresses.entry(address(at)).or_default().push(at);
    }
    ports.into_iter().filter_map(|(port, addresses)| {
        let any = addresses.get(&Ipv6Addr::UNSPECIFIED);
        let any: &[&Bound] = any.map_or(&[], Vec::as_slice);
        let mut found: FxHashSet<Bound> = FxHashSet::default();
        for places in addresses.values() {
            for (nth, one) in places.iter().enumerate() {
                let others = places[nth + 1..].iter().chain(any);
                for other in others.filter(|other| one.overlap(other).is_some()) {
                    found.extend([**one, **other]);
                }
            }
        }
        (!found.is_empty()).then_some((port, found.len() as u64))
    })
}

/// The address, with one value for any of either family.
fn address(bound: &Bound) -> Ipv6Addr {
    if bound.is_wildcard() {
        Ipv6Addr::UNSPECIFIED
    } else {
        bound.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::rules::Protocol;

    fn bound(address: &str, port: u16, device: u32) -> Bound {
        let address: IpAddr = address.parse().expect("an address");
        Bound {
            device,
            ..Bound::to(1, address, port)
        }
    }

    #[test]
    fn only_a_wildcard_beside_something_more_specific_overlaps() {
        let all = [
            bound("0.0.0.0", 80, 0),
            bound("6.6.6.6", 80, 0),
            bound("0.0.0.0", 80, 3),
            bound("6.6.6.6", 443, 0),
            bound("7.7.7.7", 443, 0),
            bound("::", 22, 0),
        ];
        let found: Vec<_> = overlapping(&all.into_iter().collect()).collect();
        assert_eq!(found, [((1, 80), 3)]);
        let v6only = Bound {
            v6only: true,
            ..bound("::", 80, 0)
        };
        for (one, other, expected) in [
            (bound("0.0.0.0", 80, 0), bound("2001:db8::1", 80, 0), false),
            (v6only, bound("6.6.6.6", 80, 0), false),
            (bound("::", 80, 0), bound("6.6.6.6", 80, 0), true),
            (bound("0.0.0.0", 80, 3), bound("6.6.6.6", 80, 0), true),
            (bound("6.6.6.6", 80, 3), bound("6.6.6.6", 80, 0), true),
            (bound("6.6.6.6", 80, 3), bound("0.0.0.0", 80, 4), false),
        ] {
            let found = overlapping(&[one, other].into_iter().collect()).next();
            assert_eq!(found.is_some(), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn an_address_has_its_own_listener_or_none() {
        let address = |address: Option<&str>| Address {
            protocol: Protocol::Tcp,
            address: address.map(|text| text.parse().expect("an address")),
            port: 80,
        };
        let six = bound("6.6.6.6", 80, 0);
        let any = bound("0.0.0.0", 80, 0);
        let any6 = bound("::", 80, 0);
        for (at, wanted, expected) in [
            (six, address(Some("6.6.6.6")), true),
            (any, address(Some("6.6.6.6")), false),
            (any, address(None), true),
            (any6, address(Some("0.0.0.0")), true),
            (six, address(None), false),
        ] {
            assert_eq!(is_bound_to(&at, wanted), expected, "{at:?} {wanted:?}");
        }
    }
}
