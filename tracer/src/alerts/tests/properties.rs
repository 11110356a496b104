//! Whatever comes and whenever: alerts have a life each, and the counts add up.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::Event;
use life::{OVER_FOR_NS, SHORTEST_NS};
use made::found;
use state::State as Saved;

const MOST: usize = 3;

/// Something that happens; tenants are known by the end of their address.
#[derive(Clone, Copy, Debug)]
enum Step {
    Gap(u8),
    ByCpu(u8),
    Refused(u8),
    Right(u8),
    /// A self-check fails.
    Blind,
    /// One passes.
    Sees,
    /// It cannot trace.
    Untraced,
    /// A look finds so many things.
    Look(u8),
    /// So many seconds, with time-outs when they are due.
    Pass(u64),
    /// So many seconds, and nobody looked.
    Sleep(u64),
    /// The wall clock is set by so many seconds.
    Set(i64),
    Restart,
    /// Refused ones are alerts, or are not.
    Settings(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let tenant = 1u8..7;
    prop_oneof![
        6 => tenant.clone().prop_map(Step::Gap),
        2 => tenant.clone().prop_map(Step::ByCpu),
        2 => tenant.clone().prop_map(Step::Refused),
        3 => tenant.prop_map(Step::Right),
        1 => Just(Step::Blind),
        1 => Just(Step::Sees),
        1 => Just(Step::Untraced),
        2 => (0u8..5).prop_map(Step::Look),
        6 => (0u64..400).prop_map(Step::Pass),
        1 => (0u64..2000).prop_map(Step::Sleep),
        1 => (-4_000_000i64..4_000_000).prop_map(Step::Set),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Settings),
    ]
}

fn settings(refused: bool) -> AlertSettings {
    let mut settings = AlertSettings {
        max_active: MOST,
        ..AlertSettings::default()
    };
    if refused {
        settings.on.push(Kind::verdict(Verdict::Refused));
    }
    settings
}

/// What is known of an alert by its notices.
#[derive(Clone, Copy, Debug)]
enum Known {
    Lasts { since_ns: u64 },
    Over { until_ns: u64 },
}

/// What a notice decides: all of it but the times that are told.
type Decision = (u64, Occasion, Identity, u64);

struct World {
    alerts: Alerts,
    settings: AlertSettings,
    ktime_ns: u64,
    set_ns: i64,
    known: BTreeMap<Identity, Known>,
    decisions: Vec<Decision>,
    /// SYNs that alerted, since the start and since the restart.
    alerted: (u64, u64),
    /// SYNs of alerts that are over.
    settled: u64,
    suppressed: u64,
}

impl World {
    fn new() -> Self {
        Self {
            alerts: Alerts::new(&settings(false)),
            settings: settings(false),
            ktime_ns: MINUTE,
            set_ns: 0,
            known: BTreeMap::new(),
            decisions: Vec::new(),
            alerted: (0, 0),
            settled: 0,
            suppressed: 0,
        }
    }

    fn now(&self) -> Now {
        let now = at(self.ktime_ns);
        Now {
            wall: Time(now.wall.0 + self.set_ns),
            ..now
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::Gap(last) => self.wrong(&gap(last, now)),
            Step::ByCpu(last) => {
                self.wrong(&wrong(last, Verdict::Misdirected, Reason::CpuAffinity, now));
            }
            Step::Refused(last) => {
                self.wrong(&wrong(last, Verdict::Refused, Reason::OtherFamily, now));
            }
            Step::Right(last) => self.alerts.take(&right(last, now), now),
            Step::Blind => self.alerts.sight(Sight::Blind("why".into()), now),
            Step::Sees => self.alerts.sight(Sight::Sees, now),
            Step::Untraced => self.alerts.sight(Sight::Untraced("why".into()), now),
            Step::Look(number) => self.look_at(number),
            Step::Pass(seconds) => self.pass(seconds),
            Step::Sleep(seconds) => {
                self.ktime_ns += seconds * SECOND;
                self.timeout();
            }
            Step::Set(seconds) => self.set_ns += seconds * 1_000_000_000,
            Step::Restart => self.restart(),
            Step::Settings(refused) => {
                self.settings = settings(refused);
                self.alerts.reconfigure(&self.settings, now);
            }
        }
        self.listen();
        self.look();
    }

    fn wrong(&mut self, event: &Event) {
        let is_alert = self
            .settings
            .on
            .iter()
            .any(|kind| kind.is(event.verdict, event.reason));
        self.alerted.0 += u64::from(is_alert);
        self.alerted.1 += u64::from(is_alert);
        let suppressed = self.alerts.suppressed();
        self.alerts.take(event, self.now());
        if self.alerts.suppressed() > suppressed {
            // It is not over, and has no alert: nothing more is told of it.
            self.suppressed += 1;
            let lasts = self.known.remove(&Identity::Syns(Situation::of(event)));
            assert!(
                !matches!(lasts, Some(Known::Lasts { .. })),
                "it had an alert"
            );
        }
    }

    fn look_at(&mut self, number: u8) {
        let findings: Vec<_> = (0..number).map(|id| found(&id.to_string())).collect();
        let lasting: Vec<Identity> = self.alerts.firing.keys().cloned().collect();
        let without_room = self.alerts.found(&findings, self.now());
        let suppressed = self.alerts.suppressed();
        for finding in &findings {
            let identity = Identity::Finding(Found::of(finding));
            let is_there = self.alerts.firing.contains_key(&identity);
            if !is_there {
                assert!(!lasting.contains(&identity), "it had an alert");
                self.known.remove(&identity);
            }
        }
        assert!(without_room <= suppressed);
    }

    fn pass(&mut self, seconds: u64) {
        let end_ns = self.ktime_ns + seconds * SECOND;
        while let Some(due_ns) = self
            .alerts
            .next_timeout()
            .filter(|&due_ns| due_ns <= end_ns)
        {
            self.ktime_ns = self.ktime_ns.max(due_ns);
            self.timeout();
            self.listen();
        }
        self.ktime_ns = end_ns;
    }

    fn timeout(&mut self) {
        self.alerts.timeout(self.now());
        let next_ns = self.alerts.next_timeout();
        assert!(
            next_ns.is_none_or(|next_ns| next_ns > self.ktime_ns),
            "it is still due"
        );
    }

    /// Not a word is lost by being killed: what was to be told was told.
    fn restart(&mut self) {
        let text = self.alerts.save().to_text();
        let state = Saved::from_text(&text).expect("as it was written");
        self.alerts = Alerts::restore(&self.settings, state, self.now());
        self.alerted.1 = 0;
        let now_ns = self.ktime_ns;
        for known in self.known.values_mut() {
            match known {
                Known::Lasts { since_ns } => *since_ns = now_ns,
                Known::Over { until_ns } => *until_ns = now_ns + OVER_FOR_NS,
            }
        }
    }

    fn listen(&mut self) {
        let now_ns = self.ktime_ns;
        let notices: Vec<Notice> = self.alerts.notices().collect();
        for Notice {
            occasion, alert, ..
        } in notices
        {
            let identity = alert.identity.clone();
            let known = self.known.get(&identity).copied();
            let next = match (occasion, known) {
                (Occasion::Began, None | Some(Known::Over { .. })) => {
                    Known::Lasts { since_ns: now_ns }
                }
                (Occasion::Lasts, Some(lasts @ Known::Lasts { .. })) => lasts,
                (Occasion::Ended, Some(Known::Lasts { since_ns })) => {
                    assert!(now_ns >= since_ns + SHORTEST_NS, "too soon");
                    if is_of_syns(&alert.identity) {
                        self.settled += alert.count;
                    }
                    Known::Over {
                        until_ns: now_ns + OVER_FOR_NS,
                    }
                }
                (Occasion::OverStill, Some(over @ Known::Over { until_ns })) => {
                    assert!(now_ns < until_ns, "it was forgotten");
                    over
                }
                (occasion, known) => panic!("{occasion:?} of one that is {known:?}"),
            };
            let lasts = matches!(next, Known::Lasts { .. });
            assert_eq!(alert.state == State::Firing, lasts);
            self.decisions
                .push((now_ns, occasion, identity.clone(), alert.count));
            self.known.insert(identity, next);
        }
    }

    fn look(&self) {
        let alerts = &self.alerts;
        assert!(alerts.active() <= MOST + 3 && alerts.over.len() <= MOST + 3);
        let of_syns = alerts.alerts().filter(|a| is_of_syns(&a.identity));
        let lasting: u64 = of_syns.map(|alert| alert.count).sum();
        assert_eq!(
            lasting + self.settled,
            self.alerted.0,
            "SYNs are in one alert each"
        );
        assert_eq!(alerts.totals().sum(), self.alerted.1);
        let known = self.known.values();
        let known = known.filter(|known| matches!(known, Known::Lasts { .. }));
        assert_eq!(known.count(), alerts.active());
    }

    /// Nothing more comes.
    fn end(mut self) -> Vec<Decision> {
        self.step(Step::Sees);
        self.step(Step::Look(0));
        self.step(Step::Pass(7200));
        assert_eq!(self.alerts.next_timeout(), None);
        assert_eq!(self.alerts.active(), 0);
        assert_eq!(self.settled, self.alerted.0);
        let overflowed = self.decisions.iter().filter(|(_, occasion, identity, _)| {
            *occasion == Occasion::Ended && *identity == Identity::Overflow
        });
        let overflowed: u64 = overflowed.map(|(.., count)| count).sum();
        assert_eq!(overflowed, self.suppressed);
        self.decisions
    }
}

fn is_of_syns(identity: &Identity) -> bool {
    matches!(identity, Identity::Syns(_) | Identity::Overflow)
}

fn play(steps: impl IntoIterator<Item = Step>) -> Vec<Decision> {
    let mut world = World::new();
    for step in steps {
        world.step(step);
    }
    world.end()
}

proptest! {
    #[test]
    fn every_alert_has_one_life_at_a_time_and_every_syn_one_alert(
        steps in prop::collection::vec(step(), 0..150),
    ) {
        play(steps);
    }

    #[test]
    fn a_clock_that_is_set_decides_nothing(steps in prop::collection::vec(step(), 0..100)) {
        // What a restart makes of it is for the tests of that.
        let steps = steps.iter().copied().filter(|step| !matches!(step, Step::Restart));
        let unset = steps.clone().filter(|step| !matches!(step, Step::Set(_)));
        prop_assert_eq!(play(steps), play(unset));
    }

    #[test]
    fn no_text_is_too_much(text in ".{0,200}", version in 0u32..4) {
        prop_assert!(Saved::from_text(&text).is_err());
        let sum = crc32fast::hash(text.as_bytes());
        // With the right head it is up to JSON; nothing panics.
        let _ = Saved::from_text(&format!("sockpick-alerts {version} {sum:08x}\n{text}\n"));
    }
}
