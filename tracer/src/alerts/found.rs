//! Findings of a look at the listeners: an alert each, for as long as they are found. They count
//! no SYN, and end with the first look that does not find them, not by quiet.

use std::collections::BTreeSet;

use super::{
    active::Alerts,
    alert::{Evidence, Found, Identity, Now, Report, Resolution},
    life::{Firing, Sign, Way},
};
use crate::{
    audit::{Finding, Severity},
    words,
};

impl Alerts {
    /// Takes everything that a look found, the worst first. What is only worth knowing is no
    /// alert. Says how many have none for want of room; what had one keeps it.
    pub fn found(&mut self, findings: &[Finding], now: Now) -> u64 {
        let grave = |finding: &&Finding| finding.severity >= Severity::Warning;
        let mut there = BTreeSet::new();
        let mut without_room = 0;
        for finding in findings.iter().filter(grave) {
            let identity = Identity::Finding(Found::of(finding));
            if self.firing.contains_key(&identity) || self.has_room() {
                self.shown(identity.clone(), sign(finding, now), now);
            } else {
                without_room += 1;
                self.without_room(&identity);
            }
            there.insert(identity);
        }
        self.unfound(
            |identity| !there.contains(identity),
            Resolution::Recovered,
            now,
        );
        without_room
    }

    /// Nobody looks any more, so nobody would see them end.
    pub fn unlooked(&mut self, now: Now) {
        self.unfound(|_| true, Resolution::Reconfigured, now);
    }

    fn unfound(&mut self, is_over: impl Fn(&Identity) -> bool, why: Resolution, now: Now) {
        let is_finding = |identity: &Identity| matches!(identity, Identity::Finding(_));
        let over = |(identity, firing): &(&Identity, &mut Firing)| {
            is_finding(identity) && firing.ending.is_none() && is_over(identity)
        };
        for (_, firing) in self.firing.iter_mut().filter(over) {
            firing.end_at(now.ktime_ns, why);
        }
        self.end_due(now);
    }
}

impl Found {
    pub(super) fn of(finding: &Finding) -> Self {
        Self {
            id: finding.id.clone(),
            rule: finding.kind,
            severity: finding.severity,
            netns: words::namespace(&finding.netns).into_owned(),
        }
    }
}

fn sign(finding: &Finding, now: Now) -> Sign {
    let report = Report {
        places: finding.places(),
        cause: finding.cause.clone(),
        remedy: finding.remedy.clone(),
    };
    Sign {
        time: now.wall,
        evidence: Evidence::Finding(report),
        way: Way::default(),
    }
}
