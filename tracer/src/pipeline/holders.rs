//! Whose the listeners of an account are, as the machine knows it at the end.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    account::{Account, Tally},
    enrich::Enricher,
};
use crate::{event::Owner, kin};

/// Whose listeners are.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    /// Who holds each, or held it when it closed, as it is to be shown; by `listener.id`.
    pub of: FxHashMap<u64, Arc<str>>,
    /// Groups whose members belong to processes that have nothing in common: `listener.id` of a
    /// member, and the processes as they are to be shown.
    pub mixed: Vec<(u64, String)>,
}

impl Holders {
    /// Asks.
    pub(super) fn of(account: &Account, enricher: &mut Enricher) -> Self {
        enricher.settle();
        let mixed = mixed(account, enricher);
        let tallies = account.listeners.iter();
        let of = tallies.map(|(&id, tally)| {
            let told = || enricher.told(&tally.listener).into();
            (id, tally.owner.clone().unwrap_or_else(told))
        });
        Self {
            of: of.collect(),
            mixed,
        }
    }
}

fn mixed(account: &Account, enricher: &mut Enricher) -> Vec<(u64, String)> {
    let mut groups: BTreeMap<u32, Vec<&Tally>> = BTreeMap::new();
    for tally in account.listeners.values() {
        if let Some(group) = tally.group
            && tally.listener.closed == 0
        {
            groups.entry(group.group).or_default().push(tally);
        }
    }
    groups.retain(|_, members| members.len() > 1);
    let groups = groups.values();
    groups
        .filter_map(|members| strangers(members, enricher))
        .collect()
}

fn strangers(members: &[&Tally], enricher: &mut Enricher) -> Option<(u64, String)> {
    let owners = members.iter();
    let owners: Vec<_> = owners
        .map(|tally| enricher.last_owners(&tally.listener))
        .collect();
    let owners: Vec<&[Owner]> = owners.iter().map(|owners| &**owners).collect();
    let all = owners.iter().copied().flatten();
    let pids: Vec<u32> = all.map(|one| one.pid).collect();
    let kin = enricher.kin(&pids);
    let sets = kin::sets(&owners, &kin);
    let first = members.first()?.listener.stamp;
    (sets.len() > 1).then(|| (first, kin::named(&sets, &kin)))
}
