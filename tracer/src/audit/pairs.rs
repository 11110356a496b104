//! Which listeners fit the same packets.

use std::collections::BTreeMap;

use super::view::{OnPort, View};
use crate::event::Family;

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
    let (a, b) = a.overlap(b)?;
    let (specific, general) = if a.beats(b) {
        (one, other)
    } else {
        (other, one)
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

impl Pair {
    pub(super) fn families(self, view: &View<'_>) -> (Family, Family) {
        let family = |index| view.group(index).bound.family;
        (family(self.specific), family(self.general))
    }
}
