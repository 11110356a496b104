//! Listeners as they are told: one by one, in the order in which the kernel meets them.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use serde::Serialize;

use super::Survey;
use crate::{
    event::{Family, Netns, Owner, Queue},
    judge::rules::Algorithm,
    listeners::chain,
};

/// Version of the JSON output.
const SCHEMA: u32 = 1;

/// A listening socket, as it is told.
#[derive(Serialize)]
pub(crate) struct Entry {
    schema: u32,
    pub(super) netns: Arc<Netns>,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    family: Family,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) v6only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<u64>,
    pub(super) uid: u32,
    pub(super) queue: Option<Queue>,
    /// Absent for a socket that stands alone, of which a group cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reuseport: Option<InGroup>,
    pub(super) owners: Arc<[Owner]>,
    /// No process holds it, and every process could be looked into.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) in_kernel: bool,
}

/// The group that a socket is in.
#[derive(Clone, Copy, Serialize)]
pub(super) struct InGroup {
    /// Number of the group within this output.
    pub(super) group: usize,
    pub(super) size: usize,
    /// Place of the socket among the group's in the chain, from 0: not its member index.
    pub(super) chain: usize,
}

/// All listeners of the survey, those of `own_netns` first.
pub(crate) fn all(survey: &mut Survey, algorithm: Algorithm, own_netns: u32) -> Vec<Entry> {
    let order = chain::order(&survey.listeners, algorithm, own_netns);
    let groups = in_groups(&chain::groups(&survey.listeners), &order);
    order
        .into_iter()
        .map(|index| entry(survey, index, groups.get(&index).copied()))
        .collect()
}

/// Groups of more than one, numbered as they are met.
fn in_groups(groups: &[Vec<usize>], order: &[usize]) -> HashMap<usize, InGroup> {
    let mut of: HashMap<usize, (usize, InGroup)> = HashMap::new();
    for (key, members) in groups.iter().enumerate() {
        for (chain, &index) in members.iter().enumerate() {
            let group = InGroup {
                group: 0,
                size: members.len(),
                chain,
            };
            of.insert(index, (key, group));
        }
    }
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    let mut found = HashMap::new();
    for &index in order {
        if let Some(&(key, group)) = of.get(&index).filter(|(_, group)| group.size > 1) {
            let next = numbers.len() + 1;
            let group = InGroup {
                group: *numbers.entry(key).or_insert(next),
                ..group
            };
            found.insert(index, group);
        }
    }
    found
}

fn entry(survey: &mut Survey, index: usize, reuseport: Option<InGroup>) -> Entry {
    let listener = survey.listeners[index].clone();
    let bound = listener.bound;
    Entry {
        schema: SCHEMA,
        netns: survey.netns(bound.netns),
        address: bound.shown_address(),
        port: bound.port,
        family: bound.family,
        device: survey.device(&bound),
        v6only: listener.complete.then_some(bound.v6only),
        inode: (listener.inode != 0).then_some(listener.inode),
        cookie: (listener.cookie != 0).then_some(listener.cookie),
        uid: listener.uid,
        queue: listener.complete.then_some(listener.queue),
        reuseport,
        owners: survey.owners(listener.inode),
        in_kernel: survey.in_kernel(&listener),
    }
}
