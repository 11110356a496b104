//! Sockets of one address and port that look like one reuseport group and are several.

use std::collections::BTreeMap;

use super::{Finding, Group, Kind, Scene, Severity, finding, overlap::on_one_port};

pub(super) fn findings(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for groups in on_one_port(scene).values() {
        let mut alike: BTreeMap<_, Vec<&Group>> = BTreeMap::new();
        for group in groups.iter().filter(|group| group.is_complete()) {
            let family = group.bound.shown_address().is_ipv4();
            let key = (group.bound.address, family);
            alike.entry(key).or_default().push(group);
        }
        for groups in alike.values() {
            findings.extend(by_settings(groups));
            findings.extend(by_device(groups));
        }
    }
    findings
}

/// Different users or `IPV6_V6ONLY`: what fits both goes to the first in the chain.
fn by_settings(groups: &[&Group]) -> Vec<Finding> {
    let mut by_device: BTreeMap<u32, Vec<&Group>> = BTreeMap::new();
    for group in groups {
        by_device.entry(group.bound.device).or_default().push(group);
    }
    by_device.into_values().filter_map(of_one_device).collect()
}

fn of_one_device(mut split: Vec<&Group>) -> Option<Finding> {
    // Of one family, so the place in the dump is that in the chain.
    split.sort_by_key(|group| group.place().1);
    let [first, second, ..] = split[..] else {
        return None;
    };
    let by = if first.bound.v6only == second.bound.v6only {
        format!(
            "belong to different users ({} and {})",
            first.uid, second.uid
        )
    } else {
        "differ in IPV6_V6ONLY".to_owned()
    };
    let cause = format!(
        "{} and {} are bound alike but {by}, so the kernel makes separate reuseport groups of \
         them and shares connections within each only. What fits both goes to the first in the \
         chain: {} now.",
        first.named(),
        second.named(),
        first.named()
    );
    let remedy = "Open all of them with the same user and the same IPV6_V6ONLY, or give them \
         different ports.";
    let found = finding(
        Kind::SplitGroup,
        Severity::Warning,
        &split,
        cause,
        remedy.into(),
    );
    Some(found)
}

/// Different devices: usually meant, one group for each.
fn by_device(groups: &[&Group]) -> Option<Finding> {
    let bound: Vec<&Group> = groups
        .iter()
        .copied()
        .filter(|group| group.bound.device != 0)
        .collect();
    let (first, rest) = bound.split_first()?;
    let other = rest
        .iter()
        .find(|group| group.bound.device != first.bound.device)?;
    let cause = format!(
        "{} and {} look like one reuseport group but are bound to different devices, so \
         connections are shared only among the sockets of the device they come through.",
        first.named(),
        other.named(),
    );
    let remedy =
        "None is needed if that is meant; otherwise bind all of them to one device or none.";
    let found = finding(
        Kind::SplitGroup,
        Severity::Info,
        &bound,
        cause,
        remedy.into(),
    );
    Some(found)
}
