//! The scene that findings are made from.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{Survey, choosers};
use crate::{
    audit::{self, Group, Held, Member, Scene},
    judge::rules::Algorithm,
    kin::Kin,
    listeners::{
        Listening, chain,
        connections::{Connection, connections},
    },
    processes,
};

/// Most connections whose holders are looked for; past that it is said how many were not.
const MOST_CONTESTED: usize = 4096;

/// Looks twice at the listeners and at the connections on their ports.
pub(crate) fn scene(survey: &mut Survey, watch: Duration, algorithm: Algorithm) -> Scene {
    let mut groups = groups(survey);
    // The waiting ones are in both looks; the queues are looked at between them.
    let queues = ports(&groups, |group| {
        group.members.iter().any(|member| member.queue.length > 0)
    });
    let before: HashSet<(u32, u64)> = dump(survey, &queues, &mut Vec::new())
        .into_iter()
        .filter(|connection| connection.inode == 0 && connection.cookie != 0)
        .map(|connection| (connection.netns, connection.cookie))
        .collect();
    // What waits in no queue now has not waited long enough at the second look.
    if !queues.is_empty() {
        thread::sleep(watch);
    }
    let later: HashMap<(u32, u64), Listening> = survey
        .again(&queues.keys().copied().collect())
        .into_iter()
        .map(|listener| ((listener.bound.netns, listener.inode), listener))
        .collect();
    for group in &mut groups {
        for member in &mut group.members {
            let key = (group.bound.netns, member.inode);
            member.later = later.get(&key).map(|listener| listener.queue);
        }
    }
    let mut shared = HashSet::new();
    let mut ports = ports(&groups, |group| {
        !shared.insert((group.bound.netns, group.bound.port))
    });
    for (netns, queues) in queues {
        ports.entry(netns).or_default().extend(queues);
    }
    let mut problems = Vec::new();
    let found = dump(survey, &ports, &mut problems);
    survey.remarks.extend(problems);
    let connections = held(survey, &groups, found, &before);
    let kin = kin(&groups, &connections);
    let choosers = choosers::of(&groups, survey);
    Scene {
        algorithm,
        groups,
        connections,
        kin,
        choosers,
        owners_complete: survey.sees_all_owners(),
        watched: watch,
    }
}

fn groups(survey: &mut Survey) -> Vec<Group> {
    let listeners = survey.listeners.clone();
    chain::groups(&listeners)
        .into_iter()
        .filter_map(|indices| {
            let first = &listeners[*indices.first()?];
            Some(Group {
                netns: survey.netns(first.bound.netns),
                bound: first.bound,
                device: survey.device(&first.bound),
                uid: first.uid,
                members: indices
                    .iter()
                    .map(|&place| member(survey, place, &listeners[place]))
                    .collect(),
            })
        })
        .collect()
}

fn member(survey: &mut Survey, place: usize, listener: &Listening) -> Member {
    Member {
        place,
        inode: listener.inode,
        queue: listener.queue,
        later: None,
        owners: survey.owners(listener.inode),
        complete: listener.complete,
    }
}

/// Ports of each namespace on which connections can tell something: of groups that are
/// wanted, as those with others on their port or with an accept queue that is not empty.
fn ports(groups: &[Group], mut wanted: impl FnMut(&Group) -> bool) -> BTreeMap<u32, BTreeSet<u16>> {
    let mut ports: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
    for group in groups.iter().filter(|group| wanted(group)) {
        let (netns, port) = (group.bound.netns, group.bound.port);
        ports.entry(netns).or_default().insert(port);
    }
    ports
}

fn dump(
    survey: &Survey,
    ports: &BTreeMap<u32, BTreeSet<u16>>,
    problems: &mut Vec<String>,
) -> Vec<Connection> {
    let mut found = Vec::new();
    for namespace in &survey.asked {
        let Some(ports) = ports.get(&namespace.inode) else {
            continue;
        };
        match connections(namespace, ports.clone()) {
            Ok(connections) => found.extend(connections),
            Err(error) => problems.push(format!(
                "the connections of network namespace {} were not looked at: {error:#}",
                namespace.inode
            )),
        }
    }
    found
}

fn held(
    survey: &mut Survey,
    groups: &[Group],
    found: Vec<Connection>,
    before: &HashSet<(u32, u64)>,
) -> Vec<Held> {
    let mut connections: Vec<Held> = found
        .into_iter()
        .map(|connection| Held {
            waits: connection.inode == 0 && before.contains(&(connection.netns, connection.cookie)),
            holders: Arc::from([]),
            connection,
        })
        .collect();
    let index = audit::Index::of(groups);
    let mut contested: Vec<usize> = (0..connections.len())
        .filter(|&place| {
            let held = &connections[place];
            held.connection.inode != 0 && audit::contested(groups, &index, held)
        })
        .collect();
    if contested.len() > MOST_CONTESTED {
        survey.remarks.push(format!(
            "of {} connections in question only {MOST_CONTESTED} were looked at; --port and \
             --netns narrow it down",
            contested.len()
        ));
        contested.truncate(MOST_CONTESTED);
    }
    let inodes = contested
        .iter()
        .map(|&index| connections[index].connection.inode);
    survey.processes.prepare(inodes);
    let mut unseen = 0;
    for index in contested {
        let held = &mut connections[index];
        held.holders = survey.owners(held.connection.inode);
        unseen += usize::from(held.holders.is_empty());
    }
    if unseen > 0 && !survey.sees_all_owners() {
        survey.remarks.push(format!(
            "who holds {unseen} of the connections in question is not visible to this user, so \
             they prove nothing; run it as root to see"
        ));
    }
    connections
}

fn kin(groups: &[Group], connections: &[Held]) -> Kin {
    let owners = groups.iter().flat_map(Group::owners);
    let holders = connections.iter().flat_map(|held| held.holders.to_vec());
    let pids: BTreeSet<u32> = owners.chain(holders).map(|owner| owner.pid).collect();
    processes::kin(pids)
}
