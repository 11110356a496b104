//! The health of reuseport groups: is each member given its share, do members come and go
//! and take SYNs with them, do connections die with a listener. Pure.
//!
//! Of a session it is told all in all. A daemon runs for months, in which what went wrong an hour
//! ago would not show: there it is told over the last minutes ([`Health::over_a_window`]).

mod group;
mod members;
pub mod shares;
mod window;

use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::MAX_LISTENERS;

use super::{Limit, rules::Bound};
use crate::event::GroupHealth;
pub use group::Socket;
use group::{Given, Group, Member};
use shares::Shares;
use window::Window;
pub use window::{PART_NS, PARTS, WINDOW_NS};

/// Most groups and listeners watched at once; past that those that nothing happened to for the
/// longest time are forgotten, which [`Health::limit`] counts.
const MOST_GROUPS: usize = 16_384;
/// So many at once: to look for them costs little for each.
const FORGOTTEN: usize = MOST_GROUPS / 16;
/// Most members of all groups together over a window: a daemon's memory is bounded. Of a group
/// that has more only sums are told.
const MOST_MEMBERS: usize = 65_536;

/// All groups, and the listeners that are none.
#[derive(Debug)]
pub struct Health {
    groups: FxHashMap<(Bound, u32), Group>,
    /// Members of all of them.
    members: usize,
    /// How often something happened to one of them.
    seen: u64,
    /// Groups that were forgotten, and members that there was no room for.
    forgotten: u64,
    /// `None`: all in all.
    window: Option<Window>,
    /// Members whose SYNs are counted, by `listener.id`: as they were given the last one with a
    /// record. `None`: there is a record of each.
    counted: Option<FxHashMap<u64, Met>>,
    /// Which read of the counters is to come.
    reads: u64,
}

#[derive(Clone, Copy, Debug)]
struct Met {
    key: (Bound, u32),
    inode: u64,
    size: u16,
    by_hash: bool,
}

/// How a group's SYNs were shared out.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Where its members are bound.
    pub bound: Bound,
    /// How.
    pub shares: Shares,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            groups: FxHashMap::default(),
            members: 0,
            seen: 0,
            forgotten: 0,
            window: None,
            counted: None,
            reads: 1,
        }
    }
}

impl Health {
    /// From now on it is told over a window.
    pub fn over_a_window(&mut self) {
        self.window.get_or_insert_default();
    }

    /// From now on SYNs may be counted that have no record.
    pub fn expect_counts(&mut self) {
        self.counted.get_or_insert_default();
    }

    /// It listens; `opened_ns` is known unless it was there before.
    pub fn opened(&mut self, socket: &Socket, opened_ns: Option<u64>) {
        let reads = self.reads;
        self.group(socket).changed = reads;
        if let Some(member) = self.join(socket, false) {
            member.is(socket);
            member.opened_ns = opened_ns.or(member.opened_ns);
        }
    }

    /// It closed, with so many connections that nobody had accepted.
    pub fn closed(&mut self, socket: &Socket, closed_ns: u64, waiting: u32) {
        self.uncount(socket.id);
        let reads = self.reads;
        let group = self.group(socket);
        group.changed = reads;
        let before = group.members.len();
        group.leave(socket.inode, closed_ns, waiting);
        let left = before - group.members.len();
        // Nothing will be told of it: hosts open and close listeners all day.
        let is_done = group.members.is_empty() && !group.is_told();
        self.members -= left;
        if is_done {
            self.groups.remove(&(socket.bound, socket.uid));
        }
    }

    /// No SYN will be counted any more for the listener with this `listener.id`.
    pub fn uncount(&mut self, id: u64) {
        if let Some(counted) = &mut self.counted {
            counted.remove(&id);
        }
    }

    /// Owners of the sockets that listen, by where they are bound and their inode number.
    #[must_use]
    pub fn uids(&self) -> FxHashMap<(Bound, u64), u32> {
        let groups = self.groups.iter();
        groups
            .flat_map(|((bound, uid), group)| {
                let members = group.members.iter();
                members.map(|(inode, _)| ((*bound, inode), *uid))
            })
            .collect()
    }

    /// Groups and listeners that are watched; beyond are those forgotten for others.
    #[must_use]
    pub fn limit(&self) -> Limit {
        Limit {
            holds: self.groups.len(),
            most: MOST_GROUPS,
            beyond: self.forgotten,
        }
    }

    /// It was given a SYN as one of `size` members; `by_hash`: by chance, not by a program.
    pub fn syn(&mut self, socket: &Socket, size: u16, by_hash: bool) {
        let given = Given {
            syns: 1,
            size,
            by_hash,
        };
        if !self.group(socket).give(socket, given) {
            // Whoever was not seen to open was there all the session; over a window that would
            // make it starve.
            self.join(socket, self.window.is_none());
            let group = self.group(socket);
            if !group.give(socket, given) {
                group.count(given);
            }
        }
        self.meet(socket, size, by_hash);
    }

    /// It was given so many SYNs that have no record, as it was given the last one with one. If
    /// somebody came or went since they were read last, nobody knows which of them were given
    /// before: then nothing is said of them.
    pub fn counted(&mut self, id: u64, syns: u64) {
        let met = self.counted.as_ref().and_then(|counted| counted.get(&id));
        let Some(met) = met.copied() else { return };
        let group = self.groups.get_mut(&met.key);
        if let Some(group) = group.filter(|group| group.changed != self.reads) {
            let given = Given {
                syns,
                size: met.size,
                by_hash: met.by_hash,
            };
            group.give_again(met.inode, given);
        }
    }

    /// All counters were read.
    pub fn read(&mut self) {
        self.reads += 1;
    }

    /// It is so late, on `CLOCK_MONOTONIC`.
    pub fn pass(&mut self, now_ns: u64) {
        if let Some(window) = &mut self.window {
            window.pass(now_ns);
        }
    }

    /// The time, if a part of the window ended: a [`Health::look`] is due, and to
    /// [`Health::roll`].
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        let window = self.window.as_ref()?;
        (window.due() > 0).then_some(window.now_ns())
    }

    /// How SYNs were shared out over the window, where there is something to say.
    #[must_use]
    pub fn look(&self) -> Vec<Look> {
        let look = |(key, group): (&(Bound, u32), &Group)| {
            let (bound, _) = *key;
            Some(Look {
                bound,
                shares: group.shares()?,
            })
        };
        self.groups.iter().filter_map(look).collect()
    }

    /// The window goes on.
    pub fn roll(&mut self) {
        let Some(window) = &mut self.window else {
            return;
        };
        let (parts, now_ns) = (window.take(), window.now_ns());
        for group in self.groups.values_mut() {
            group.is_starving = matches!(group.shares(), Some(Shares::Starved(_)));
            group.roll(parts, now_ns);
        }
        self.groups
            .retain(|_, group| group.is_told() || !group.members.is_empty());
    }

    /// Only these listen: the closing of others was not seen.
    pub fn retain(&mut self, listens: impl Fn(&Bound, u64) -> bool) {
        let reads = self.reads;
        for ((bound, _), group) in &mut self.groups {
            let before = group.members.len();
            group.members.retain(|inode| listens(bound, inode));
            if group.members.len() < before {
                group.changed = reads;
            }
        }
        self.recount();
    }

    /// What there is to say of each group, and of each listener that took connections with it.
    #[must_use]
    pub fn report(&self) -> Vec<GroupHealth> {
        let mut all: Vec<GroupHealth> = self
            .groups
            .iter()
            .filter(|(_, group)| group.is_told())
            .map(|((bound, _), group)| group.report(bound))
            .collect();
        all.sort_by_key(|health| (health.netns, health.listener.port, health.listener.address));
        all
    }

    fn group(&mut self, socket: &Socket) -> &mut Group {
        let key = (socket.bound, socket.uid);
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&key) {
            self.forget();
        }
        self.seen += 1;
        let group = self.groups.entry(key).or_default();
        group.seen = self.seen;
        group
    }

    /// A member of its group, if there is room. `from_the_start`: it was there all the time.
    fn join(&mut self, socket: &Socket, from_the_start: bool) -> Option<&mut Member> {
        let has_room = self.window.is_none() || self.members < MOST_MEMBERS;
        let group = self.groups.get_mut(&(socket.bound, socket.uid))?;
        if !group.members.contains(socket.inode) {
            if !has_room {
                group.is_partial = true;
                self.forgotten += 1;
                return None;
            }
            self.members += 1;
            group.join(socket.inode, from_the_start);
        }
        group.members.get_mut(socket.inode)
    }

    /// Where SYNs are counted, this is how the next ones without a record are given to it.
    fn meet(&mut self, socket: &Socket, size: u16, by_hash: bool) {
        if let Some(counted) = &mut self.counted
            && (counted.len() < MAX_LISTENERS as usize || counted.contains_key(&socket.id))
        {
            let met = Met {
                key: (socket.bound, socket.uid),
                inode: socket.inode,
                size,
                by_hash,
            };
            counted.insert(socket.id, met);
        }
    }

    /// Forgets the [`FORGOTTEN`] that nothing happened to for the longest time.
    fn forget(&mut self) {
        let mut seen: Vec<u64> = self.groups.values().map(|group| group.seen).collect();
        let (_, &mut last, _) = seen.select_nth_unstable(FORGOTTEN - 1);
        self.groups.retain(|_, group| group.seen > last);
        self.forgotten += FORGOTTEN as u64;
        self.recount();
    }

    fn recount(&mut self) {
        self.members = self.groups.values().map(|group| group.members.len()).sum();
    }
}

#[cfg(test)]
mod tests;
