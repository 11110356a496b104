//! The health of reuseport groups: is each member given its share, do members come and go
//! and take SYNs with them, do connections die with a listener. Pure.

use rustc_hash::FxHashMap;

use super::{Limit, rules::Bound};
use crate::event::{GroupAddress, GroupHealth, ListenerId, MemberHealth, SCHEMA};

/// A member is said to be out of balance this many standard deviations from its fair
/// share: by chance that happens to about one member in 16,000.
const DEVIATIONS: f64 = 4.0;
/// Fewer SYNs than this expected say nothing.
const LEAST_EXPECTED: f64 = 20.0;
/// A member that lived shorter than this was hardly meant to.
const SHORT_NS: u64 = 10_000_000_000;
/// Most closed members kept of one group; past that only their sums are.
const MOST_LEFT: usize = 1024;
/// Most groups and listeners watched at once; past that those that nothing happened to for the
/// longest time are forgotten, which [`Health::limit`] counts.
const MOST_GROUPS: usize = 16_384;
/// So many at once: to look for them costs little for each.
const FORGOTTEN: usize = MOST_GROUPS / 16;

/// All groups, and the listeners that are none.
#[derive(Debug, Default)]
pub struct Health {
    groups: FxHashMap<(Bound, u32), Group>,
    /// How often something happened to one of them.
    seen: u64,
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Group {
    /// [`Health::seen`] when something happened to it last.
    seen: u64,
    /// A SYN was given to a member as such.
    grouped: bool,
    /// Sums over the SYNs so far: what each member should have got, and its variance.
    sums: Sums,
    members: FxHashMap<u64, Member>,
    left: Vec<Member>,
    syns: u64,
    destroyed: u64,
}

/// Of a SYN that the hash gave to one of n: 1/n, and 1/n * (1 - 1/n).
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    share: f64,
    variance: f64,
}

#[derive(Clone, Debug, Default)]
struct Member {
    id: u64,
    syns: u64,
    /// The group's sums when it joined.
    joined: Sums,
    /// And when it left.
    left: Option<Sums>,
    opened_ns: Option<u64>,
    closed_ns: Option<u64>,
    destroyed: u64,
}

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
}

impl Health {
    /// It listens; `opened_ns` is known unless it was there before.
    pub fn opened(&mut self, socket: &Socket, opened_ns: Option<u64>) {
        let group = self.group(socket);
        let joined = group.sums;
        let member = group.members.entry(socket.inode).or_insert(Member {
            joined,
            ..Member::default()
        });
        member.id = socket.id.max(member.id);
        member.opened_ns = opened_ns.or(member.opened_ns);
    }

    /// It closed, with so many connections that nobody had accepted.
    pub fn closed(&mut self, socket: &Socket, closed_ns: u64, waiting: u32) {
        let group = self.group(socket);
        group.destroyed += u64::from(waiting);
        if let Some(mut member) = group.members.remove(&socket.inode) {
            member.left = Some(group.sums);
            member.closed_ns = Some(closed_ns);
            member.destroyed = waiting.into();
            if group.left.len() < MOST_LEFT {
                group.left.push(member);
            }
        }
        // Nothing will be told of it: hosts open and close listeners all day.
        if group.members.is_empty() && !group.is_told() {
            self.groups.remove(&(socket.bound, socket.uid));
        }
    }

    /// Owners of the sockets that listen, by where they are bound and their inode number.
    #[must_use]
    pub fn uids(&self) -> FxHashMap<(Bound, u64), u32> {
        let groups = self.groups.iter();
        groups
            .flat_map(|((bound, uid), group)| {
                let inodes = group.members.keys();
                inodes.map(|inode| ((*bound, *inode), *uid))
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
        let group = self.group(socket);
        group.grouped = true;
        group.syns += 1;
        let member = group.members.entry(socket.inode).or_default();
        member.id = socket.id;
        member.syns += 1;
        if by_hash && size > 0 {
            let share = 1.0 / f64::from(size);
            group.sums.share += share;
            group.sums.variance += share * (1.0 - share);
        }
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

    /// Forgets the [`FORGOTTEN`] that nothing happened to for the longest time.
    fn forget(&mut self) {
        let mut seen: Vec<u64> = self.groups.values().map(|group| group.seen).collect();
        let (_, &mut last, _) = seen.select_nth_unstable(FORGOTTEN - 1);
        self.groups.retain(|_, group| group.seen > last);
        self.forgotten += FORGOTTEN as u64;
    }
}

impl Group {
    fn is_told(&self) -> bool {
        self.grouped || self.destroyed > 0
    }

    fn report(&self, bound: &Bound) -> GroupHealth {
        let members = self.members.iter().map(|(inode, member)| (*inode, member));
        let left = self.left.iter().map(|member| (0, member));
        let mut members: Vec<MemberHealth> = members
            .chain(left)
            .map(|(inode, member)| member.report(inode, self.sums))
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
            syns: self.syns,
            destroyed: self.destroyed,
            members: if self.grouped { members } else { Vec::new() },
        }
    }
}

impl Member {
    fn report(&self, inode: u64, now: Sums) -> MemberHealth {
        let until = self.left.unwrap_or(now);
        let fair = until.share - self.joined.share;
        let deviation = (until.variance - self.joined.variance).max(0.0).sqrt();
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let off = (self.syns as f64 - fair).abs();
        let lived = self.opened_ns.zip(self.closed_ns);
        MemberHealth {
            id: (self.id != 0).then_some(ListenerId(self.id)),
            inode: (inode != 0).then_some(inode),
            syns: self.syns,
            fair: (fair * 10.0).round() / 10.0,
            unbalanced: fair >= LEAST_EXPECTED && off > DEVIATIONS * deviation,
            short_lived: self.syns > 0
                && lived.is_some_and(|(opened, closed)| closed.saturating_sub(opened) < SHORT_NS),
            opened_ns: self.opened_ns,
            closed_ns: self.closed_ns,
            destroyed: self.destroyed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Family, judge::rules::ANY_MAPPED};

    fn socket(inode: u64) -> Socket {
        Socket {
            bound: Bound {
                netns: 1,
                address: ANY_MAPPED,
                port: 80,
                family: Family::Ipv4,
                device: 0,
                v6only: false,
            },
            uid: 0,
            inode,
            id: inode,
        }
    }

    fn members(health: &Health) -> Vec<MemberHealth> {
        let [group] = health.report().try_into().expect("one group");
        group.members
    }

    #[test]
    fn a_share_beyond_chance_is_flagged_and_one_within_is_not() {
        let mut health = Health::default();
        for inode in 1..=4 {
            health.opened(&socket(inode), None);
        }
        for number in 0..4_000 {
            // 1 gets 1,120, 2 gets 1,000 and a bit, 4 the least.
            let inode = match number % 100 {
                0..28 => 1,
                28..53 => 2,
                53..78 => 3,
                _ => 4,
            };
            health.syn(&socket(inode), 4, true);
        }
        let flags: Vec<bool> = members(&health).iter().map(|m| m.unbalanced).collect();
        assert_eq!(flags, [true, false, false, true]);
        let fair: f64 = members(&health).iter().map(|m| m.fair).sum();
        assert!((fair - 4_000.0).abs() < 1.0, "{fair}");
    }

    #[test]
    fn a_member_is_measured_by_the_time_it_was_there() {
        let mut health = Health::default();
        health.opened(&socket(1), None);
        for _ in 0..300 {
            health.syn(&socket(1), 1, true);
        }
        health.opened(&socket(2), Some(1));
        for number in 0..300 {
            health.syn(&socket(1 + number % 2), 2, true);
        }
        let all = members(&health);
        let fair: Vec<(u64, f64)> = all.iter().map(|m| (m.syns, m.fair)).collect();
        assert_eq!(fair, [(450, 450.0), (150, 150.0)]);
        assert!(all.iter().all(|member| !member.unbalanced));
    }

    #[test]
    fn what_happened_last_is_watched_however_much_came_before() {
        let mut health = Health::default();
        let at = |netns| Socket {
            bound: Bound {
                netns,
                ..socket(1).bound
            },
            ..socket(1)
        };
        let busy = at(0);
        let all = 3 * MOST_GROUPS as u32;
        for netns in 1..=all {
            health.syn(&busy, 1, true);
            health.opened(&at(netns), Some(1));
        }
        let Limit {
            holds,
            most,
            beyond,
        } = health.limit();
        assert!(holds <= most);
        assert_eq!(holds as u64 + beyond, u64::from(all) + 1);
        assert!(health.groups.contains_key(&(at(all).bound, 0)), "the last");
        assert_eq!(health.report()[0].syns, u64::from(all), "the busy one");
    }

    #[test]
    fn short_lives_and_destroyed_connections_are_told() {
        let mut health = Health::default();
        health.opened(&socket(1), None);
        health.opened(&socket(2), Some(5));
        health.syn(&socket(2), 2, true);
        health.closed(&socket(2), 2_000_000_005, 3);
        let all = members(&health);
        assert_eq!(all.iter().filter(|member| member.short_lived).count(), 1);
        assert_eq!(health.report()[0].destroyed, 3);
        // Whoever has nothing to tell leaves no trace.
        let mut quiet = Health::default();
        quiet.opened(&socket(1), Some(1));
        quiet.closed(&socket(1), 9, 0);
        assert!(quiet.groups.is_empty());
        // A listener without a group that took connections with it is told as well.
        let mut alone = Health::default();
        alone.opened(&socket(1), None);
        assert!(alone.report().is_empty());
        alone.closed(&socket(1), 9, 1);
        assert_eq!(alone.report()[0].destroyed, 1);
    }
}
