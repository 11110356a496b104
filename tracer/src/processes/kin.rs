//! What tells whether processes belong together: parents, starts, who was left behind.

use std::collections::HashMap;

use super::proc::Stat;
use crate::kin::{Kin, Relation};

/// Most ancestors that are looked at.
const MOST_ANCESTORS: usize = 64;

/// Parents and start of a process; `None` when it is gone.
#[must_use]
pub fn relation(pid: u32) -> Option<Relation> {
    let own = Stat::of(pid)?;
    let mut ancestors = Vec::new();
    let mut parent = own.parent;
    while parent > 1 && ancestors.len() < MOST_ANCESTORS {
        ancestors.push(parent);
        parent = Stat::of(parent).map_or(0, |stat| stat.parent);
    }
    Some(Relation {
        ancestors,
        started: own.starttime,
    })
}

/// Whether a process was left behind: its parent has ended, and so has the leader of its
/// session, which a daemon is itself.
fn is_orphan(pid: u32) -> bool {
    let Some(own) = Stat::of(pid) else {
        return false;
    };
    own.parent == 1 && own.session != pid && own.session != 0 && Stat::of(own.session).is_none()
}

/// What is known of processes beside what they hold.
#[must_use]
pub fn kin(pids: impl IntoIterator<Item = u32>) -> Kin {
    let known = pids
        .into_iter()
        .filter_map(|pid| Some((pid, relation(pid)?)));
    let relations: HashMap<u32, Relation> = known.collect();
    let orphans = relations.keys().copied().filter(|&pid| is_orphan(pid));
    Kin {
        orphans: orphans.collect(),
        relations,
    }
}
