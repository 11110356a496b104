//! Groups whose members starve: an alert each, if `on` names them. They count no SYN: the hash
//! gives each member its share, so what is wrong shows in many SYNs and in none alone.

use std::collections::BTreeMap;

use super::{
    active::Alerts,
    alert::{Evidence, GroupPlace, Identity, Now, Resolution},
    life::{Sign, Way},
};
use crate::pipeline::{GroupBalance, Is, Starvation};

impl Alerts {
    /// Takes what a look at the groups found. Those that it says nothing of are left as they are:
    /// their alerts end by quiet.
    pub fn balance(&mut self, groups: &[GroupBalance], now: Now) {
        if !self.rules.on_groups {
            return;
        }
        let starving: BTreeMap<Identity, &Starvation> = groups.iter().filter_map(starved).collect();
        // Groups of two users may be bound alike.
        let others = groups.iter().map(identity);
        self.fed(others.filter(|group| !starving.contains_key(group)), now);
        for (identity, starvation) in starving {
            self.starved(identity, starvation, now);
        }
    }

    /// Nobody starves there.
    fn fed(&mut self, groups: impl Iterator<Item = Identity>, now: Now) {
        for identity in groups {
            if let Some(firing) = self.firing.get_mut(&identity)
                && firing.ending.is_none()
            {
                firing.end_at(now.ktime_ns, Resolution::Recovered);
            }
        }
        self.end_due(now);
    }

    fn starved(&mut self, identity: Identity, starvation: &Starvation, now: Now) {
        if self.firing.contains_key(&identity) || self.has_room() {
            let sign = Sign {
                time: now.wall,
                evidence: Evidence::Group(starvation.clone()),
                way: Way::default(),
            };
            self.shown(identity, sign, now);
        } else {
            self.without_room(&identity);
        }
    }
}

fn starved(group: &GroupBalance) -> Option<(Identity, &Starvation)> {
    match &group.is {
        Is::Starved(starvation) => Some((identity(group), starvation)),
        Is::Even | Is::Gone => None,
    }
}

fn identity(group: &GroupBalance) -> Identity {
    Identity::Group(GroupPlace {
        netns: group.netns.clone(),
        listener: group.listener.clone(),
    })
}
