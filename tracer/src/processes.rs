//! Who holds a listening socket: processes, their units and containers, from /proc; what
//! containers are called, from files of their runtimes.
#![forbid(unsafe_code)]

#[cfg(test)]
mod bad_input;
mod budget;
mod cgroup;
mod children;
mod containers;
mod descriptors;
mod ends;
mod held;
mod kin;
mod proc;
mod round;
mod scan;
mod scans;
mod sight;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{clock::monotonic_ns, event::Owner};
use children::Children;
use containers::Containers;
use descriptors::Descriptors;
use ends::Ends;
use held::{Held, MOST_LEFT};
use proc::Stat;
use round::Round;
use scan::look_into;
use scans::Scans;
use walk::Found;

pub(crate) use budget::Budget;
pub use descriptors::Holders;
pub use ends::{Exits, Left};
pub use kin::{kin, relation};
pub use round::CHECK;
pub use sight::{blindness, in_initial_namespace, more_rights};

/// Most listeners whose owners are kept; past that the cache starts afresh, which
/// costs a scan.
const MOST_KEPT: usize = 16_384;
/// What is known of who holds a socket may be so old before all processes are looked at anew: by a
/// walk over `/proc`,
const WALKED_AGE: Duration = Duration::from_secs(30);
/// or where the kernel tells, which takes it some milliseconds for 100,000 descriptors.
const TOLD_AGE: Duration = Duration::from_secs(5);
/// A socket that nobody was found to hold is looked for again after this time, then after twice
/// as long, and so on: it may have been on its way between two processes.
const NOBODY: Duration = Duration::from_secs(1);
/// Whether it is a thread of the kernel's own, which holds nothing.
pub(crate) fn is_kernel_thread(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.is_kernel_thread())
}

/// What became of a process that the kernel told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It holds the socket.
    Holds(Box<Owner>),
    /// It lives, under this name, and does not hold the socket.
    Lives(String),
    /// It has ended.
    Ended,
}

/// Owners by the inode of the socket, found by scanning `/proc/*/fd` as a whole: one
/// scan serves all listeners. Between scans those found are looked at alone.
pub struct Processes {
    held: HashMap<u64, Held>,
    /// Sockets that the next scan is to look for.
    expected: HashSet<u64>,
    scans: Scans,
    /// For looking at one process. What scans cost must not blind the looks.
    looks: Budget,
    children: Children,
    /// What containers are called that owners run in.
    containers: Containers,
    /// `/proc` is of the initial pid namespace.
    initial: bool,
    ends: Ends,
    descriptors: Descriptors,
    round: Round,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            held: HashMap::new(),
            expected: HashSet::new(),
            scans: Scans::default(),
            looks: Budget::default(),
            children: Children::default(),
            containers: Containers::default(),
            initial: in_initial_namespace(),
            ends: Ends::default(),
            descriptors: Descriptors::default(),
            round: Round::new(),
        }
    }
}

impl Processes {
    /// Who asks has SYNs that wait.
    #[must_use]
    pub fn hurried() -> Self {
        Self {
            scans: Scans::hurried(),
            ..Self::default()
        }
    }

    /// How old what is known may be before it is looked up anew.
    #[must_use]
    pub fn oldest(&self) -> Duration {
        if self.descriptors.are_told() {
            TOLD_AGE
        } else {
            WALKED_AGE
        }
    }

    /// Processes that hold the socket. Scans /proc when the socket is new or what is
    /// known is older than `oldest`, unless that took too long of late.
    /// Empty when nobody was found.
    pub fn owners(&mut self, inode: u64, oldest: Duration) -> Arc<[Owner]> {
        if self.is_due(inode, oldest) && self.scans.allows() {
            self.scan(&[inode]);
        }
        self.known(inode)
    }

    /// As [`Processes::owners`], without those that have ended since.
    pub fn living(&mut self, inode: u64, oldest: Duration) -> Arc<[Owner]> {
        let before = self.owners(inode, oldest);
        if !self.looks.allows() {
            return before;
        }
        let living = self.check(inode);
        // Another holds it, or it is gone.
        if living.is_empty() && !before.is_empty() && self.scans.allows() {
            self.scan(&[inode]);
        }
        self.known(inode)
    }

    /// Looks anew who holds the socket, unless that was done just now.
    pub fn look_again(&mut self, inode: u64) {
        let fresh = |ended: Instant| ended.elapsed() < CHECK;
        if inode != 0 && !self.scans.ended.is_some_and(fresh) && self.scans.allows() {
            self.scan(&[inode]);
        }
    }

    /// Looks at all processes, to see how far that goes.
    pub fn look(&mut self) {
        self.scan_whole(&[]);
    }

    /// Processes that were found to hold the socket, without looking again.
    #[must_use]
    pub fn known(&self, inode: u64) -> Arc<[Owner]> {
        let held = self.held.get(&inode);
        held.map_or_else(|| Arc::from([]), |held| held.owners.clone())
    }

    /// Has this tell when holders end. In a container it cannot: the kernel tells other numbers
    /// than `/proc`.
    pub fn told_by(&mut self, exits: Box<dyn Exits>) {
        if self.initial {
            self.ends.told_by(exits);
        }
    }

    /// Has this tell who holds what. In a container it cannot, as with [`Processes::told_by`].
    pub fn shown_by(&mut self, holders: Box<dyn Holders>) {
        if self.initial {
            self.descriptors.told_by(holders);
        }
    }

    /// Processes that held the socket until they ended or closed it. When a SYN came before that
    /// was found out, they may have held it still.
    pub fn left(&mut self, inode: u64) -> Vec<Left> {
        let Some(held) = self.held.get_mut(&inode) else {
            return Vec::new();
        };
        for one in &mut held.left {
            one.owner.released = self.round.lives(&one.owner);
            one.owner.ended = !one.owner.released;
        }
        self.ends.follow(&held.owners, &mut held.left);
        held.left.clone()
    }

    /// Looks out for the ends of those who hold the socket, and finds out when those ended who
    /// left it.
    fn follow(&mut self, inode: u64) {
        if let Some(held) = self.held.get_mut(&inode) {
            self.ends.follow(&held.owners, &mut held.left);
        }
    }

    /// Since when (`CLOCK_MONOTONIC` ns) looks at all processes find nobody who holds the socket.
    #[must_use]
    pub fn nobody_since(&self, inode: u64) -> Option<u64> {
        let held = self.held.get(&inode)?;
        (held.nobody > 0).then_some(held.nobody_ns)
    }

    /// A process took a connection from the socket, and ended or closed it before anybody looked
    /// at it.
    pub fn held_and_left(&mut self, inode: u64, pid: u32, comm: &str, lives: bool) {
        let Some(held) = self.held.get_mut(&inode) else {
            return;
        };
        if held.left.len() < MOST_LEFT && held.left.iter().all(|one| one.owner.pid != pid) {
            let living = lives
                .then(|| proc::describe(pid, &Stat::of(pid)?, &mut self.containers))
                .flatten();
            let ended = || Owner {
                pid,
                comm: comm.to_owned(),
                ..Owner::default()
            };
            held.left.push(Left {
                owner: living.unwrap_or_else(ended),
                ns: monotonic_ns(),
                is_exact: false,
            });
        }
    }

    /// Holders that do not have the socket any more leave.
    pub fn let_go(&mut self, inode: u64) {
        if !self.looks.allows() {
            return;
        }
        let started = Instant::now();
        if let Some(held) = self.held.get_mut(&inode)
            && held.confirmed.is_none_or(|at| at.elapsed() >= CHECK)
        {
            held.confirmed = Some(started);
            let owners = held.owners.iter();
            let owners: Vec<Owner> = owners
                .filter(|owner| self.descriptors.hold(owner.pid, inode))
                .cloned()
                .collect();
            held.replace(owners);
        }
        self.looks.charge(started.elapsed());
    }

    /// What became of a process that took a connection from the socket, or opened it, at a time
    /// when it had started: a process that started later has only its number. `comm` is its or
    /// one of its threads' as the kernel told; `None` if there is no time to look.
    pub fn fate(&mut self, inode: u64, pid: u32, comm: &str, started_by: u64) -> Option<Fate> {
        let started = Instant::now();
        let is_it = |stat: &Stat| !stat.ended() && stat.starttime <= started_by;
        // Asked always: one read.
        let Some(stat) = Stat::of(pid).filter(is_it) else {
            return Some(Fate::Ended);
        };
        if !self.looks.allows() {
            return None;
        }
        let fate = self.fate_of(inode, pid, comm, &stat);
        if let Fate::Holds(owner) = &fate {
            self.join(inode, owner);
        }
        self.looks.charge(started.elapsed());
        Some(fate)
    }

    fn fate_of(&mut self, inode: u64, pid: u32, comm: &str, stat: &Stat) -> Fate {
        if self.descriptors.hold(pid, inode) {
            return proc::describe(pid, stat, &mut self.containers)
                .map_or(Fate::Ended, |owner| Fate::Holds(owner.into()));
        }
        // It may have the number of one that ended before anybody looked.
        if stat.comm != comm && !proc::has_thread(pid, comm) {
            return Fate::Ended;
        }
        Fate::Lives(stat.comm.clone())
    }

    /// Has the next scan look for the owners of this socket, so that one scan serves
    /// all listeners that a service opens at once.
    pub fn expect(&mut self, inode: u64) {
        if self.expected.len() < MOST_KEPT {
            self.expected.insert(inode);
        }
    }

    /// Forgets a socket that was closed: its inode number may be used again.
    pub fn forget(&mut self, inode: u64) {
        self.held.remove(&inode);
        self.expected.remove(&inode);
        if let Some(walk) = self.scans.walk() {
            walk.forget(inode);
        }
    }

    /// Scans for the sockets given, so that the first SYNs need not wait for it.
    pub fn prepare(&mut self, inodes: impl Iterator<Item = u64>) {
        let inodes: Vec<u64> = inodes.filter(|&inode| inode != 0).take(MOST_KEPT).collect();
        // A scan for nothing would only put off the first that is needed.
        if !inodes.is_empty() {
            self.scan_whole(&inodes);
        }
    }

    /// How many processes the last scan was not allowed to look into: what they hold seems
    /// to have no owner. None of them with `CAP_SYS_PTRACE`.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.scans.hidden
    }

    /// Whether a process number that the kernel tells is the one in `/proc`.
    #[must_use]
    pub fn is_initial(&self) -> bool {
        self.initial
    }

    /// Whether the last scan saw what every process of the machine holds.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.initial && self.scans.hidden == 0
    }

    fn is_due(&self, inode: u64, oldest: Duration) -> bool {
        let Some(ended) = self.scans.ended else {
            return true;
        };
        let Some(held) = self.held.get(&inode).filter(|held| held.scanned) else {
            return true;
        };
        let oldest = match held.nobody {
            0 => oldest,
            times => oldest.min(NOBODY * (1 << times.min(10))),
        };
        ended.elapsed() > oldest
    }

    /// Those who have ended leave, who runs another program is described anew, and children that
    /// inherited the socket join.
    fn check(&mut self, inode: u64) -> Arc<[Owner]> {
        let started = Instant::now();
        let Some(held) = self.held.get(&inode) else {
            return Arc::from([]);
        };
        let owners = held.owners.clone();
        if held.seen.elapsed() < CHECK {
            return owners;
        }
        let mut now = Vec::with_capacity(owners.len());
        for owner in owners.iter() {
            let stat = self.round.stat(owner.pid);
            match stat.filter(|stat| Some(stat.starttime) == owner.starttime) {
                None => {}
                // Who was forked to serve one connection closes the listener a little later.
                Some(stat)
                    if stat.starttime >= self.scans.began
                        && !self.round.holds(owner.pid, inode, &mut self.descriptors) => {}
                Some(stat) if stat.comm == owner.comm => now.push(owner.clone()),
                Some(stat) => {
                    now.extend(proc::describe(owner.pid, &stat, &mut self.containers));
                }
            }
        }
        let parents: Vec<u32> = now.iter().map(|owner| owner.pid).collect();
        if let Some(held) = self.held.get_mut(&inode) {
            held.seen = started;
            held.replace(now);
        }
        for parent in parents {
            self.meet_children(parent);
        }
        self.looks.charge(started.elapsed());
        self.known(inode)
    }

    /// Children that were born since the last scan, with what they inherited.
    fn meet_children(&mut self, parent: u32) {
        for child in self.children.born(parent) {
            let stat = self.round.stat(child);
            if stat.is_none_or(|stat| stat.starttime < self.scans.began) {
                continue;
            }
            let seen = look_into(
                child,
                &mut self.descriptors,
                |inode| self.held.contains_key(&inode),
                &mut self.containers,
            );
            if let Ok(Some((owner, sockets))) = seen {
                for inode in sockets {
                    self.join(inode, &owner);
                }
            }
        }
    }

    /// A process holds the socket that was not known to.
    fn join(&mut self, inode: u64, owner: &Owner) {
        let held = self.held.entry(inode).or_insert_with(Held::new);
        let others = held.owners.iter().filter(|other| other.pid != owner.pid);
        held.owners = others.cloned().chain([owner.clone()]).collect();
        held.nobody = 0;
        if let Some(walk) = self.scans.walk() {
            walk.join(inode);
        }
        self.follow(inode);
    }

    /// One pass over all processes, for the sockets known and the new ones.
    fn scan(&mut self, new: &[u64]) {
        if self.scans.walk().is_some() {
            // It may know nothing of these: the next one does.
            self.expected.extend(new);
            let found = self.scans.poll(&mut self.containers);
            return self.take_in(found);
        }
        self.begin_scan(new);
        let found = self.scans.wait(&mut self.containers);
        self.take_in(found);
    }

    /// The same, to its end, however long it takes.
    fn scan_whole(&mut self, new: &[u64]) {
        let before = self.scans.finish(&mut self.containers);
        self.take_in(before);
        self.begin_scan(new);
        let found = self.scans.finish(&mut self.containers);
        self.take_in(found);
    }

    fn begin_scan(&mut self, new: &[u64]) {
        if self.held.len() >= MOST_KEPT {
            self.held.clear();
        }
        // That nobody holds it (a kernel's socket) is worth remembering, too.
        for &inode in new.iter().chain(&self.expected) {
            self.held.entry(inode).or_insert_with(Held::new);
        }
        self.expected.clear();
        let wanted = self.held.keys().copied().collect();
        let (descriptors, containers) = (&mut self.descriptors, &mut self.containers);
        let told = self.scans.begin(wanted, descriptors, containers);
        self.take_in(told);
    }

    /// Takes in who holds what, as of a look at all processes.
    fn take_in(&mut self, found: Option<Found>) {
        let Some(mut found) = found else {
            return;
        };
        // All that hold something were described just now.
        self.containers.forget_before(found.started);
        for &inode in &found.wanted {
            let Some(held) = self.held.get_mut(&inode) else {
                continue;
            };
            let mut owners = found.pass.found.remove(&inode).unwrap_or_default();
            // It took a while: some have gone since, others have come.
            owners.retain(|one| !held.has_left(one) || self.descriptors.hold(one.pid, inode));
            if found.joined.contains(&inode) {
                let others = held.owners.iter();
                let others = others.filter(|one| owners.iter().all(|other| other.pid != one.pid));
                let still = others.filter(|one| self.descriptors.hold(one.pid, inode));
                owners.extend(still.cloned().collect::<Vec<_>>());
            }
            held.looked_at(owners, found.started);
            self.follow(inode);
        }
        self.children.clear();
    }
}
