//! Sockets of one address and port that look like one reuseport group and are several.

use std::collections::BTreeMap;

use super::{
    finding::{Finding, Kind, Severity, Situation, finding, fold},
    view::View,
};

pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    let mut settings = Vec::new();
    let mut devices = Vec::new();
    for on_port in view.index.ports() {
        let addresses = on_port.specific.values().chain([&on_port.wildcards]);
        for alike in addresses.flat_map(|groups| by_address(view, groups)) {
            settings.extend(by_settings(view, &alike));
            devices.extend(by_device(view, &alike));
        }
    }
    let part = |&index: &usize| {
        let group = view.group(index);
        (view.who(index), group.uid, group.bound.v6only)
    };
    let key = |case: Vec<usize>| {
        let netns = view.group(case[0]).bound.netns;
        let parts: Vec<_> = case.iter().map(part).collect();
        ((netns, parts), case)
    };
    let settings = fold(settings.into_iter().map(key));
    let devices = fold(devices.into_iter().map(key));
    let settings = settings
        .into_iter()
        .map(|(_, cases)| told_settings(view, &cases));
    let devices = devices
        .into_iter()
        .map(|(_, cases)| told_devices(view, &cases));
    settings.chain(devices).collect()
}

/// Groups on one address, apart by the family of the address.
fn by_address(view: &View<'_>, groups: &[usize]) -> Vec<Vec<usize>> {
    let mut alike: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for &index in groups {
        let group = view.group(index);
        if group.is_complete() {
            let family = group.bound.shown_address().is_ipv4();
            let key = (group.bound.address, family);
            alike.entry(key).or_default().push(index);
        }
    }
    alike.into_values().collect()
}

/// Different users or `IPV6_V6ONLY`: what fits both goes to the first in the chain.
fn by_settings(view: &View<'_>, groups: &[usize]) -> Vec<Vec<usize>> {
    let mut by_device: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for &index in groups {
        let device = view.group(index).bound.device;
        by_device.entry(device).or_default().push(index);
    }
    let mut split: Vec<Vec<usize>> = by_device.into_values().collect();
    split.retain(|groups| groups.len() > 1);
    for groups in &mut split {
        // Of one family, so the place in the dump is that in the chain.
        groups.sort_by_key(|&index| view.place(index));
    }
    split
}

fn told_settings(view: &View<'_>, cases: &[Vec<usize>]) -> Finding {
    let (first, second) = (cases[0][0], cases[0][1]);
    let (one, other) = (view.group(first), view.group(second));
    let by = if one.bound.v6only == other.bound.v6only {
        format!("belong to different users ({} and {})", one.uid, other.uid)
    } else {
        "differ in IPV6_V6ONLY".to_owned()
    };
    let cause = format!(
        "{} and {} are bound alike but {by}, so the kernel makes separate reuseport groups of \
         them and shares connections within each only. What fits both goes to the first in the \
         chain: {} now.",
        view.named(first),
        view.named(second),
        view.named(first)
    );
    let remedy = "Open all of them with the same user and the same IPV6_V6ONLY, or give them \
         different ports.";
    told(view, Severity::Warning, cases, (cause, remedy))
}

/// Different devices: usually meant, one group for each.
fn by_device(view: &View<'_>, groups: &[usize]) -> Option<Vec<usize>> {
    let device = |index: usize| view.group(index).bound.device;
    let bound: Vec<usize> = groups
        .iter()
        .copied()
        .filter(|&index| device(index) != 0)
        .collect();
    let first = device(*bound.first()?);
    bound
        .iter()
        .any(|&index| device(index) != first)
        .then_some(bound)
}

fn told_devices(view: &View<'_>, cases: &[Vec<usize>]) -> Finding {
    let (first, rest) = (cases[0][0], &cases[0][1..]);
    let device = |index: usize| view.group(index).bound.device;
    let other = rest
        .iter()
        .copied()
        .find(|&one| device(one) != device(first));
    let more = match rest.len().saturating_sub(1) {
        0 => String::new(),
        1 => ", and 1 more,".to_owned(),
        more => format!(", and {more} more,"),
    };
    let cause = format!(
        "{} and {}{more} look like one reuseport group but are bound to different devices, so \
         connections are shared only among the sockets of the device they come through.",
        view.named(first),
        view.named(other.unwrap_or(first)),
    );
    let remedy =
        "None is needed if that is meant; otherwise bind all of them to one device or none.";
    told(view, Severity::Info, cases, (cause, remedy))
}

fn told(
    view: &View<'_>,
    severity: Severity,
    cases: &[Vec<usize>],
    (cause, remedy): (String, &str),
) -> Finding {
    let situation = Situation {
        kind: Kind::SplitGroup,
        severity,
        key: format!(" {severity} {}", view.group(cases[0][0]).endpoint()),
        cases,
    };
    finding(view, &situation, cause, remedy.to_owned())
}
