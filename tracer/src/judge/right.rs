//! Which SYNs of a listener are right, whoever sends them and whenever: so that the programs
//! need not tell of each. Pure. Says less rather than too much: what it does not know to be right
//! is judged one by one.

use std::net::Ipv6Addr;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    expectations::Expectations,
    picture::{Picture, Place},
    rules::{Bound, mapped},
};

/// SYNs that are no alert, of those that the walk of the tables gives a listener, without a VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// Those for the address that it is bound to.
    Exact,
    /// Those for any address but these.
    AnyBut(Vec<Ipv6Addr>),
}

/// Of each of the listeners, which are on these ports, what is right: with their names.
pub(crate) fn rights(
    picture: &Picture,
    expectations: &Expectations,
    ports: &FxHashSet<u16>,
    listeners: impl Iterator<Item = (u64, Bound)>,
) -> Vec<(u64, Option<Right>)> {
    let mut near: FxHashMap<(u32, u16), Vec<&Place>> = FxHashMap::default();
    let places = picture.places();
    for place in places.filter(|place| ports.contains(&place.bound.port)) {
        let key = (place.bound.netns, place.bound.port);
        near.entry(key).or_default().push(place);
    }
    let right = |(id, bound): (u64, Bound)| {
        let others = near.get(&(bound.netns, bound.port)).into_iter().flatten();
        (id, right(&bound, others.copied(), expectations))
    };
    listeners.map(right).collect()
}

/// What is right of a listener bound so, by all who listen or listened on its port in its
/// namespace, and by what is expected; `None`: each SYN has to be looked at.
#[must_use]
pub fn right<'a>(
    bound: &Bound,
    on_port: impl IntoIterator<Item = &'a Place>,
    expectations: &Expectations,
) -> Option<Right> {
    if bound.device != 0 {
        return None;
    }
    let mut but = Vec::new();
    for other in on_port {
        // By the device a SYN comes through it is another's.
        if other.bound.device != 0 {
            return None;
        }
        match other.bound.overlap(bound) {
            Some((its, own)) if its.beats(own) => {
                // Of its family alone: that would be half of all addresses.
                if other.bound.is_wildcard() || !bound.is_wildcard() {
                    return None;
                }
                but.push(other.bound.address);
            }
            _ => {}
        }
    }
    for (address, owner) in expectations.on_port(bound.protocol, bound.port) {
        let address = address.filter(|address| !address.is_unspecified());
        // Any address, or a question of who holds it.
        but.push(mapped(address.filter(|_| owner.is_empty())?));
    }
    Some(if bound.is_wildcard() {
        Right::AnyBut(but)
    } else {
        Right::Exact
    })
}

#[cfg(test)]
mod tests;
