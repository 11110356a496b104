//! Over a window: whatever comes and goes, however time passes, members starve that are given
//! nothing, and no others.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::judge::health::shares::LEAST_FAIR;

const SECOND: u64 = 1_000_000_000;

/// What the kernel would do with the sockets of one group.
struct Kernel {
    health: Health,
    now_ns: u64,
    /// Members, with SYNs that were counted and not read; `None`: the next one has a record.
    members: BTreeMap<u64, Option<u64>>,
    /// Who is a member, and never chosen.
    deaf: Option<u64>,
    /// Whether SYNs are counted, or each has a record.
    counts: bool,
    next: u64,
    random: u64,
    /// Who starved at which look.
    starved: Vec<u64>,
    looks: u64,
    even: u64,
    gone: u64,
}

impl Kernel {
    fn new(members: u64, counts: bool, seed: u64) -> Self {
        let mut health = Health::default();
        health.over_a_window();
        if counts {
            health.expect_counts();
        }
        let mut kernel = Self {
            health,
            now_ns: SECOND,
            members: BTreeMap::new(),
            deaf: None,
            counts,
            next: 1,
            random: seed | 1,
            starved: Vec::new(),
            looks: 0,
            even: 0,
            gone: 0,
        };
        kernel.health.pass(kernel.now_ns);
        for _ in 0..members {
            kernel.open();
        }
        kernel
    }

    /// xorshift64*
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    fn open(&mut self) {
        self.health.opened(&socket(self.next), Some(self.now_ns));
        self.members.insert(self.next, None);
        self.next += 1;
        self.changed();
    }

    fn close(&mut self) {
        let nth = self.random(self.members.len().max(1) as u64) as usize;
        let Some(inode) = self.members.keys().nth(nth).copied() else {
            return;
        };
        if self.deaf == Some(inode) {
            return;
        }
        let counted = self.members.remove(&inode).flatten();
        self.health.closed(&socket(inode), self.now_ns, 0);
        self.changed();
        self.health.counted(inode, counted.unwrap_or_default());
    }

    /// Of each listener at the port the next SYN has a record; counts go on from where they are.
    fn changed(&mut self) {
        let Self {
            health, members, ..
        } = self;
        for (&inode, counted) in members.iter_mut() {
            if let Some(counted) = counted.take() {
                health.counted(inode, counted);
            }
        }
    }

    fn syns(&mut self, number: u64) {
        let fed: Vec<u64> = self.members.keys().copied().collect();
        let fed: Vec<u64> = fed
            .into_iter()
            .filter(|inode| self.deaf != Some(*inode))
            .collect();
        if fed.is_empty() {
            return;
        }
        let size = u16::try_from(self.members.len()).expect("few");
        for _ in 0..number {
            let inode = fed[self.random(fed.len() as u64) as usize];
            match self.members.get_mut(&inode) {
                Some(Some(counted)) => *counted += 1,
                next => {
                    self.health.syn(&socket(inode), size, true);
                    if let (true, Some(next)) = (self.counts, next) {
                        *next = Some(0);
                    }
                }
            }
        }
    }

    fn read(&mut self) {
        self.changed();
        self.health.read();
    }

    /// Time goes by, with a batch at its end.
    fn sleep(&mut self, seconds: u64) {
        self.now_ns += seconds * SECOND;
        self.read();
        self.health.pass(self.now_ns);
        if self.health.due().is_none() {
            return;
        }
        self.looks += 1;
        for look in self.health.look() {
            match look.shares {
                Shares::Even => self.even += 1,
                Shares::Gone => self.gone += 1,
                Shares::Starved(starved) => {
                    self.starved
                        .extend(starved.starved.iter().map(|share| share.inode));
                }
            }
        }
        self.health.roll();
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Syns(u64),
    Sleep(u64),
    Open,
    Close,
    Read,
    /// The clock says an earlier time: that changes nothing.
    Back,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_000_u64).prop_map(Step::Syns),
        1 => (5_000..10_000_u64).prop_map(Step::Syns),
        6 => (1..90_u64).prop_map(Step::Sleep),
        1 => (600..90_000_u64).prop_map(Step::Sleep),
        1 => Just(Step::Open),
        1 => Just(Step::Close),
        2 => Just(Step::Read),
        1 => Just(Step::Back),
    ]
}

impl Kernel {
    fn step(&mut self, step: Step) {
        match step {
            Step::Syns(number) => self.syns(number),
            Step::Sleep(seconds) => self.sleep(seconds),
            Step::Open => self.open(),
            Step::Close => self.close(),
            Step::Read => self.read(),
            Step::Back => self.health.pass(self.now_ns / 2),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Some 10^5 SYNs that a fair hash shares out, in bursts and silence, while members come and
    /// go: nobody is said to starve.
    #[test]
    fn no_member_starves_by_a_fair_hash(
        members in 1..20_u64,
        counts in any::<bool>(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 60..160),
    ) {
        let mut kernel = Kernel::new(members, counts, seed);
        for step in steps {
            kernel.step(step);
        }
        prop_assert_eq!(kernel.starved, Vec::<u64>::new());
        prop_assert_eq!(kernel.gone, 0);
    }

    /// After months in balance a member is given nothing: it is told within the window, it alone,
    /// and no more once it has its share again.
    #[test]
    fn a_member_that_is_given_nothing_starves(
        members in 2..20_u64,
        counts in any::<bool>(),
        seed in any::<u64>(),
        deaf in any::<prop::sample::Index>(),
        rate in 1..20_u64,
        seconds in 5..70_u64,
    ) {
        let mut kernel = Kernel::new(members, counts, seed);
        let batch = rate * members;
        let batches = 700 / seconds;
        for _ in 0..40 {
            kernel.syns(500);
            kernel.sleep(86_400);
        }
        for _ in 0..batches {
            kernel.syns(batch);
            kernel.sleep(seconds);
        }
        prop_assert_eq!(&kernel.starved, &Vec::<u64>::new());
        let deaf = 1 + deaf.index(members as usize) as u64;
        kernel.deaf = Some(deaf);
        for _ in 0..batches {
            kernel.syns(batch);
            kernel.sleep(seconds);
        }
        // A part may be still to come, and of what is counted some is not said anything of.
        let fair = u32::try_from(rate * (600 / seconds).saturating_sub(2));
        let fair = f64::from(fair.expect("few"));
        if fair > 1.1 * LEAST_FAIR {
            prop_assert!(kernel.starved.contains(&deaf), "{} SYNs were fair", fair);
        }
        prop_assert!(kernel.starved.iter().all(|&inode| inode == deaf));
        kernel.deaf = None;
        for _ in 0..2 * batches {
            kernel.syns(batch);
            kernel.sleep(seconds);
        }
        let before = (kernel.starved.len(), kernel.even);
        for _ in 0..batches {
            kernel.syns(batch);
            kernel.sleep(seconds);
        }
        prop_assert_eq!(kernel.starved.len(), before.0, "it is not starved any more");
        if fair > 2.0 * LEAST_FAIR {
            prop_assert!(kernel.even > before.1);
        }
    }

    /// What is told over the window is what a log of it says.
    #[test]
    fn the_window_has_what_happened_in_it(
        steps in prop::collection::vec((0..4_u64, 1..6_u64, 1..8_u16, 0..150_u64), 0..120),
    ) {
        let mut health = Health::default();
        health.over_a_window();
        health.pass(0);
        let (mut part, mut now_ns) = (0, 0);
        let mut log: Vec<(u64, u64, u16)> = Vec::new();
        // Since which place in the log a member is there.
        let mut since: BTreeMap<u64, usize> = BTreeMap::new();
        for (what, inode, size, seconds) in steps {
            match what {
                0 => {
                    health.opened(&socket(inode), None);
                    since.entry(inode).or_insert(log.len());
                }
                1 => {
                    now_ns += seconds * SECOND;
                    health.pass(now_ns);
                    part = now_ns / PART_NS;
                    health.roll();
                }
                _ if since.contains_key(&inode) => {
                    health.syn(&socket(inode), size, true);
                    log.push((part, inode, size));
                }
                _ => {}
            }
            let first = log.partition_point(|(of, ..)| of + PARTS as u64 <= part);
            let told = health.report();
            prop_assert_eq!(told.iter().map(|group| group.syns).sum::<u64>(), (log.len() - first) as u64);
            for member in told.iter().flat_map(|group| &group.members) {
                let inode = member.inode.expect("none closes");
                let mine = &log[first..];
                let syns = mine.iter().filter(|(_, to, _)| *to == inode).count();
                prop_assert_eq!(member.syns, syns as u64);
                let there = log.get(first.max(since[&inode])..).unwrap_or_default();
                let fair: f64 = there.iter().map(|(.., size)| 1.0 / f64::from(*size)).sum();
                prop_assert!((member.fair - fair).abs() < 0.06, "{} {}", member.fair, fair);
            }
        }
    }
}

fn look(health: &mut Health, now_ns: &mut u64) -> Vec<Shares> {
    *now_ns += PART_NS;
    health.pass(*now_ns);
    let looks = health.look();
    health.roll();
    looks.into_iter().map(|look| look.shares).collect()
}

fn group(members: u64) -> (Health, u64) {
    let mut health = Health::default();
    health.over_a_window();
    health.pass(0);
    for inode in 1..=members {
        health.opened(&socket(inode), None);
    }
    (health, 0)
}

#[test]
fn what_is_chosen_on_purpose_starves_nobody() {
    let (mut health, mut now_ns) = group(2);
    for _ in 0..500 {
        health.syn(&socket(1), 2, false);
    }
    assert_eq!(look(&mut health, &mut now_ns), []);
    // The program is gone: what it chose is out of the window after ten minutes.
    for number in 0..PARTS {
        for _ in 0..500 {
            health.syn(&socket(1), 2, true);
        }
        assert_eq!(look(&mut health, &mut now_ns), [], "minute {number}");
    }
    for _ in 0..500 {
        health.syn(&socket(1), 2, true);
    }
    let looks = look(&mut health, &mut now_ns);
    assert!(matches!(looks[..], [Shares::Starved(_)]), "{looks:?}");

    let (mut health, mut now_ns) = group(2);
    let by_cpu = Socket {
        by_cpu: true,
        ..socket(1)
    };
    for _ in 0..500 {
        health.syn(&by_cpu, 2, true);
    }
    assert_eq!(look(&mut health, &mut now_ns), []);
}

#[test]
fn who_closes_does_not_starve_and_the_last_to_close_is_told() {
    let (mut health, mut now_ns) = group(3);
    let feed = |health: &mut Health| {
        for number in 0..500 {
            health.syn(&socket(1 + number % 2), 3, true);
        }
    };
    feed(&mut health);
    let looks = look(&mut health, &mut now_ns);
    let [Shares::Starved(starved)] = &looks[..] else {
        panic!("{looks:?}");
    };
    assert_eq!(starved.starved.len(), 1);
    assert_eq!((starved.starved[0].inode, starved.starved[0].syns), (3, 0));
    assert_eq!(
        (starved.members, starved.syns, starved.most.syns),
        (3, 500, 250)
    );
    for inode in 1..=3 {
        health.closed(&socket(inode), now_ns, 0);
    }
    assert_eq!(look(&mut health, &mut now_ns), [Shares::Gone]);
    assert_eq!(look(&mut health, &mut now_ns), [], "told once");
    for _ in 0..=PARTS {
        look(&mut health, &mut now_ns);
    }
    assert_eq!((health.groups.len(), health.members), (0, 0));
}

#[test]
fn who_is_not_listed_is_no_member() {
    let (mut health, mut now_ns) = group(3);
    for number in 0..500 {
        health.syn(&socket(1 + number % 2), 2, true);
    }
    health.retain(|_, inode| inode != 3);
    assert_eq!(look(&mut health, &mut now_ns), [Shares::Even]);
    assert_eq!(health.members, 2);
}

#[test]
fn of_counts_from_before_and_after_a_change_nothing_is_said() {
    let (mut health, _) = group(1);
    health.expect_counts();
    health.syn(&socket(1), 1, true);
    health.read();
    health.counted(1, 1_000);
    assert_eq!(health.report()[0].syns, 1_001);
    health.opened(&socket(2), None);
    // Nearly all of them came before it.
    health.counted(1, 1_000);
    health.read();
    assert_eq!(health.report()[0].syns, 1_001);
    health.syn(&socket(1), 2, true);
    health.counted(1, 9);
    health.counted(2, 9);
    assert_eq!(health.report()[0].syns, 1_011, "the second was never met");
}

#[test]
fn there_are_as_many_members_as_there_is_room_for() {
    let (mut health, _) = group(0);
    let most = MOST_MEMBERS as u64;
    for inode in 1..=most + 5 {
        health.opened(&socket(inode), None);
    }
    assert_eq!(health.members, MOST_MEMBERS);
    assert_eq!(health.limit().beyond, 5);
    health.syn(&socket(most + 5), 9, true);
    assert_eq!(health.report()[0].syns, 1, "in the sums it is");
    // Nothing is said of a group that not all is known of.
    for _ in 0..1_000 {
        health.syn(&socket(1), 2, true);
    }
    assert_eq!(health.look(), []);
}
