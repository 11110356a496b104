//! Which listeners fit the same packets.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::view::{OnPort, View};
use crate::{
    event::Family,
    judge::rules::{Bound, Packet},
};

/// A more specific and a less specific group that fit a common packet.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) specific: usize,
    pub(super) general: usize,
    /// What makes the one more specific.
    pub(super) by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    Address,
    Device,
    /// An IPv4 socket beside a dual-stack one.
    Family,
}

/// All pairs of a port. Only what may fit a common packet is compared: listeners of one
/// address, or with the wildcards; of one device, or with those of none.
pub(super) fn pairs(view: &View<'_>, on_port: &OnPort) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let wildcards = by_device(view, &on_port.wildcards);
    within(view, &wildcards, &mut pairs);
    for groups in on_port.specific.values() {
        let groups = by_device(view, groups);
        within(view, &groups, &mut pairs);
        between(view, &groups, &wildcards, &mut pairs);
    }
    pairs
}

type ByDevice = BTreeMap<u32, Vec<usize>>;

fn by_device(view: &View<'_>, groups: &[usize]) -> ByDevice {
    let mut devices = ByDevice::new();
    for &index in groups {
        let device = view.group(index).bound.device;
        devices.entry(device).or_default().push(index);
    }
    devices
}

fn within(view: &View<'_>, groups: &ByDevice, pairs: &mut Vec<Pair>) {
    let unbound = groups.get(&0);
    for (&device, of_device) in groups {
        for (place, &one) in of_device.iter().enumerate() {
            let later = of_device[place + 1..].iter();
            let unbound = unbound.filter(|_| device != 0).into_iter().flatten();
            pairs.extend(
                later
                    .chain(unbound)
                    .filter_map(|&other| pair(view, one, other)),
            );
        }
    }
}

fn between(view: &View<'_>, groups: &ByDevice, wildcards: &ByDevice, pairs: &mut Vec<Pair>) {
    for (&device, of_device) in groups {
        let fits = |&(&other, _): &(&u32, _)| device == 0 || other == 0 || other == device;
        for &one in of_device {
            let others = wildcards.iter().filter(fits).flat_map(|(_, others)| others);
            pairs.extend(others.filter_map(|&other| pair(view, one, other)));
        }
    }
}

fn pair(view: &View<'_>, one: usize, other: usize) -> Option<Pair> {
    let (a, b) = (&view.group(one).bound, &view.group(other).bound);
    let packet = common_packet(a, b)?;
    let (a, b) = (a.fit(&packet).ok()?, b.fit(&packet).ok()?);
    let (specific, general) = if a.beats(b) {
        (one, other)
    } else if b.beats(a) {
        (other, one)
    } else {
        return None;
    };
    let by = if a.address != b.address {
        By::Address
    } else if a.native != b.native {
        By::Family
    } else {
        By::Device
    };
    Some(Pair {
        specific,
        general,
        by,
    })
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
        destination,
        port: one.port,
        dif,
        sdif: 0,
        l3mdev_accept: false,
    })
}

impl Pair {
    pub(super) fn families(self, view: &View<'_>) -> (Family, Family) {
        let family = |index| view.group(index).bound.family;
        (family(self.specific), family(self.general))
    }
}
