use std::net::Ipv4Addr;

use super::*;
use crate::event::MemberHealth;

mod window;

fn socket(inode: u64) -> Socket {
    Socket {
        bound: Bound::to(1, Ipv4Addr::UNSPECIFIED.into(), 80),
        uid: 0,
        inode,
        id: inode,
        by_cpu: false,
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
