//! One group of listeners that are bound alike, or a listener alone: what each was given, and
//! what it should have been given.

use sockpick_ebpf::abi::Listener;

use super::{
    members::Members,
    shares::{self, Share, Shares},
    window::{Marks, PARTS, WINDOW_NS},
};
use crate::{
    event::{GroupAddress, GroupHealth, ListenerId, MemberHealth, SCHEMA},
    judge::{self, rules::Bound},
};

/// What names a socket here: who it is bound as, and its inode.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// Where it is bound.
    pub bound: Bound,
    /// Owner of the socket: members of one group have one.
    pub uid: u32,
    /// Inode number in sockfs.
    pub inode: u64,
    /// `listener.id`; 0 while it is not known.
    pub id: u64,
    /// It has `SO_INCOMING_CPU`, by which the kernel prefers it.
    pub by_cpu: bool,
}

impl From<&Listener> for Socket {
    fn from(listener: &Listener) -> Self {
        Self {
            bound: judge::bound(listener),
            uid: listener.uid,
            inode: listener.inode,
            id: listener.stamp,
            by_cpu: listener.incoming_cpu >= 0,
        }
    }
}

/// A member is said to be out of balance this many standard deviations from its fair
/// share: by chance that happens to about one member in 16,000.
const DEVIATIONS: f64 = 4.0;
/// Fewer SYNs than this expected say nothing.
const LEAST_EXPECTED: f64 = 20.0;
/// A member that lived shorter than this was hardly meant to.
const SHORT_NS: u64 = 10_000_000_000;
/// Most closed members kept of one group; past that only their sums are.
const MOST_LEFT: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Group {
    /// When something happened to it last, in order of what happens.
    pub(super) seen: u64,
    /// At which read of the counters somebody came or went last.
    pub(super) changed: u64,
    /// There was no room for all of its members.
    pub(super) is_partial: bool,
    /// A member was starved when it was looked at last.
    pub(super) is_starving: bool,
    pub(super) members: Members<Member>,
    /// A SYN was given to a member as such.
    grouped: bool,
    /// Until what was not chosen by the hash is out of the window: so many parts.
    chosen: usize,
    sums: Sums,
    left: Vec<Member>,
    /// What its sums were.
    marks: Marks<Sums>,
}

/// Sums over the SYNs so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// What each member should have got, and its variance: of a SYN that the hash gave to one of
    /// n, 1/n and 1/n * (1 - 1/n).
    share: f64,
    variance: f64,
    syns: u64,
    destroyed: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Member {
    id: u64,
    by_cpu: bool,
    pub(super) opened_ns: Option<u64>,
    syns: u64,
    /// The group's sums when it joined, unless they were none.
    joined: Option<Box<Sums>>,
    left: Option<Box<Leave>>,
    /// What it had been given.
    marks: Marks<u64>,
}

/// How a member left.
#[derive(Clone, Copy, Debug)]
struct Leave {
    /// The group's sums then.
    sums: Sums,
    closed_ns: u64,
    destroyed: u64,
}

/// SYNs of one kind that a member was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) syns: u64,
    /// Members that it was one of.
    pub(super) size: u16,
    /// By chance, not by a program.
    pub(super) by_hash: bool,
}

impl Group {
    /// A member that is there from now on, or was all the time.
    pub(super) fn join(&mut self, inode: u64, from_the_start: bool) {
        let member = Member {
            joined: (self.is_told() && !from_the_start).then(|| Box::new(self.sums)),
            ..Member::default()
        };
        self.members.insert(inode, member);
    }

    /// A member was given some SYNs; whether it is one.
    #[inline]
    pub(super) fn give(&mut self, to: &Socket, given: Given) -> bool {
        let Some(member) = self.members.get_mut(to.inode) else {
            return false;
        };
        member.id = to.id;
        member.by_cpu = to.by_cpu;
        member.syns += given.syns;
        self.count(given);
        true
    }

    /// And this one some more, if it still is one.
    pub(super) fn give_again(&mut self, inode: u64, given: Given) {
        if let Some(member) = self.members.get_mut(inode) {
            member.syns += given.syns;
            self.count(given);
        }
    }

    /// Some SYNs were given to one of its members.
    #[inline]
    pub(super) fn count(&mut self, given: Given) {
        let Given {
            syns,
            size,
            by_hash,
        } = given;
        self.grouped = true;
        self.sums.syns += syns;
        if !by_hash {
            self.chosen = PARTS + 1;
        } else if size > 0 {
            self.sums.fair(size, syns);
        }
    }

    /// A member closed, with so many connections that nobody had accepted.
    pub(super) fn leave(&mut self, inode: u64, closed_ns: u64, waiting: u32) {
        self.sums.destroyed += u64::from(waiting);
        let Some(mut member) = self.members.remove(inode) else {
            return;
        };
        member.left = Some(Box::new(Leave {
            sums: self.sums,
            closed_ns,
            destroyed: waiting.into(),
        }));
        if self.left.len() < MOST_LEFT {
            self.left.push(member);
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.grouped || self.sums.destroyed > 0
    }

    /// So many parts of the window begin. Whoever was silent for all of it begins anew.
    pub(super) fn roll(&mut self, parts: usize, now_ns: u64) {
        if !self.is_told() {
            return;
        }
        self.chosen = self.chosen.saturating_sub(parts);
        self.marks.mark(self.sums, parts);
        for member in self.members.values_mut().chain(&mut self.left) {
            member.marks.mark(member.syns, parts);
        }
        let is_old = |closed_ns: u64| closed_ns.saturating_add(WINDOW_NS) <= now_ns;
        self.left
            .retain(|member| !member.closed_ns().is_some_and(is_old));
        let before = self.marks.before();
        let is_silent = (before.syns, before.destroyed) == (self.sums.syns, self.sums.destroyed);
        if is_silent && self.left.is_empty() {
            self.rest();
        }
    }

    /// Nothing is to be told of it: as if it had just begun.
    fn rest(&mut self) {
        self.grouped = false;
        self.chosen = 0;
        self.is_starving = false;
        self.sums = Sums::default();
        self.marks = Marks::default();
        for member in self.members.values_mut() {
            *member = Member {
                id: member.id,
                by_cpu: member.by_cpu,
                opened_ns: member.opened_ns,
                ..Member::default()
            };
        }
    }

    /// How its SYNs were shared out; `None`: there is nothing to say of it, as too few came, not
    /// all members are known, or it is not chance that shares them out.
    pub(super) fn shares(&self) -> Option<Shares> {
        if self.is_starving && self.members.is_empty() {
            return Some(Shares::Gone);
        }
        let is_chance = self.chosen == 0 && !self.members.iter().any(|(_, member)| member.by_cpu);
        if !self.grouped || self.is_partial || !is_chance {
            return None;
        }
        let since = self.marks.before();
        let members = self.members.iter();
        let shares = members.map(|(inode, member)| member.share(inode, since, self.sums));
        shares::judge(shares.collect(), self.sums.syns - since.syns)
    }

    pub(super) fn report(&self, bound: &Bound) -> GroupHealth {
        let since = self.marks.before();
        let left = self.left.iter().map(|member| (0, member));
        let members = self.members.iter();
        let mut members: Vec<MemberHealth> = members
            .chain(left)
            .map(|(inode, member)| member.report(inode, since, self.sums))
            .collect();
        members.sort_by_key(|member| (member.closed_ns, member.opened_ns, member.id));
        GroupHealth {
            schema: SCHEMA,
            health: "reuseport",
            netns: bound.netns,
            listener: GroupAddress {
                address: bound.shown_address(),
                port: bound.port,
                device: bound.device,
                device_name: None,
            },
            syns: self.sums.syns - since.syns,
            destroyed: self.sums.destroyed - since.destroyed,
            members: if self.grouped { members } else { Vec::new() },
        }
    }
}

impl Sums {
    /// So many SYNs were given to one of n by chance.
    fn fair(&mut self, size: u16, syns: u64) {
        let share = 1.0 / f64::from(size);
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let syns = syns as f64;
        self.share += share * syns;
        self.variance += share * (1.0 - share) * syns;
    }
}

impl Member {
    /// It is this socket.
    pub(super) fn is(&mut self, socket: &Socket) {
        self.id = socket.id.max(self.id);
        self.by_cpu = socket.by_cpu;
    }

    fn closed_ns(&self) -> Option<u64> {
        self.left.as_ref().map(|left| left.closed_ns)
    }

    /// What it was given since, and what it should have been, as a share and its variance.
    fn given(&self, since: Sums, now: Sums) -> (u64, f64, f64) {
        let joined = self.joined.as_deref().copied().unwrap_or_default();
        let until = self.left.as_ref().map_or(now, |left| left.sums);
        let share = until.share - joined.share.max(since.share);
        let variance = until.variance - joined.variance.max(since.variance);
        let syns = self.syns - self.marks.before();
        (syns, share.max(0.0), variance.max(0.0))
    }

    fn share(&self, inode: u64, since: Sums, now: Sums) -> Share {
        let (syns, fair, _) = self.given(since, now);
        Share { inode, syns, fair }
    }

    fn report(&self, inode: u64, since: Sums, now: Sums) -> MemberHealth {
        let (syns, fair, variance) = self.given(since, now);
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let off = (syns as f64 - fair).abs();
        let lived = self.opened_ns.zip(self.closed_ns());
        MemberHealth {
            id: (self.id != 0).then_some(ListenerId(self.id)),
            inode: (inode != 0).then_some(inode),
            syns,
            fair: (fair * 10.0).round() / 10.0,
            unbalanced: fair >= LEAST_EXPECTED && off > DEVIATIONS * variance.sqrt(),
            short_lived: syns > 0
                && lived.is_some_and(|(opened, closed)| closed.saturating_sub(opened) < SHORT_NS),
            opened_ns: self.opened_ns,
            closed_ns: self.closed_ns(),
            destroyed: self.left.as_ref().map_or(0, |left| left.destroyed),
        }
    }
}
