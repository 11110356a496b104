//! The life of one alert: when it is told again, and when it is over.

use std::time::Duration;

use super::alert::{Alert, Evidence, Identity, Notice, Now, Occasion, Resolution, Sample, State};
use crate::{
    event::{Event, Reason, Time, Verdict},
    judge::health::WINDOW_NS,
    settings::{AlertSettings, feed::Kind},
};

/// No alert ends sooner after it began: receivers wait before they tell of a new one, and one
/// that ended meanwhile would reach nobody.
pub const SHORTEST: Duration = Duration::from_mins(2);
/// How long it is told of an alert that it is over, for who did not hear it at once.
const OVER_FOR: Duration = Duration::from_mins(15);
/// How many times `resend` a notice holds: a few may be lost on the way.
const HOLDS: u64 = 4;

pub(super) const SHORTEST_NS: u64 = nanos(SHORTEST);
pub(super) const OVER_FOR_NS: u64 = nanos(OVER_FOR);

const fn nanos(duration: Duration) -> u64 {
    let ns = duration.as_nanos();
    // What is longer than five centuries does not come to an end.
    if ns > u64::MAX as u128 {
        u64::MAX
    } else {
        ns as u64
    }
}

/// What alerts go by.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    on: Vec<Kind>,
    pub(super) on_groups: bool,
    pub(super) resend_ns: u64,
    pub(super) quiet_ns: u64,
    pub(super) max_active: usize,
}

impl Rules {
    pub(super) fn new(settings: &AlertSettings) -> Self {
        Self {
            on: settings.on.clone(),
            on_groups: settings.on_groups,
            resend_ns: nanos(settings.resend),
            quiet_ns: nanos(settings.quiet),
            max_active: settings.max_active,
        }
    }

    pub(super) fn is_alert(&self, verdict: Verdict, reason: Option<Reason>) -> bool {
        self.on.iter().any(|kind| kind.is(verdict, reason))
    }

    /// Whether it is an alert; `None`: `on` has no say in it.
    pub(super) fn allow(&self, identity: &Identity) -> Option<bool> {
        match identity {
            Identity::Syns(situation) => Some(self.is_alert(situation.verdict, situation.reason)),
            Identity::Group(_) => Some(self.on_groups),
            Identity::Overflow | Identity::Blind | Identity::Untraced | Identity::Finding(_) => {
                None
            }
        }
    }

    pub(super) fn notice(&self, occasion: Occasion, alert: &Alert, now: Now) -> Notice {
        Notice {
            occasion,
            alert: alert.clone(),
            at: now.wall,
            valid_ns: self.resend_ns.saturating_mul(HOLDS),
        }
    }
}

/// Which way the last SYN came: not every SYN for a destination need go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) cpu: u32,
    pub(super) ifindex: u32,
}

impl Way {
    pub(super) fn of(event: &Event) -> Self {
        Self {
            cpu: event.cpu,
            ifindex: event.ifindex,
        }
    }
}

/// What an alert is taken from: a SYN, or something else that shows it.
#[derive(Clone, Debug)]
pub(super) struct Sign {
    pub(super) time: Time,
    pub(super) evidence: Evidence,
    pub(super) way: Way,
}

impl Sign {
    pub(super) fn of(event: &Event) -> Self {
        Self {
            time: event.time,
            evidence: Evidence::Syn(Sample::of(event)),
            way: Way::of(event),
        }
    }
}

/// When an alert will be over, if nothing comes in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) due_ns: u64,
    pub(super) why: Resolution,
}

/// An alert that lasts.
#[derive(Clone, Debug)]
pub(super) struct Firing {
    pub(super) alert: Alert,
    pub(super) way: Way,
    /// When it began, or was restored.
    pub(super) began_ns: u64,
    /// When the last SYN was taken.
    pub(super) last_ns: u64,
    /// When it was told last.
    pub(super) told: Now,
    pub(super) ending: Option<Ending>,
}

impl Firing {
    pub(super) fn new(identity: Identity, sign: Sign, now: Now) -> Self {
        let alert = Alert {
            identity,
            since: sign.time,
            last: sign.time,
            count: 1,
            evidence: sign.evidence,
            state: State::Firing,
        };
        Self {
            alert,
            way: sign.way,
            began_ns: now.ktime_ns,
            last_ns: now.ktime_ns,
            told: now,
            ending: None,
        }
    }

    /// Port that its SYNs are sent to.
    pub(super) fn port(&self) -> Option<u16> {
        self.alert.sample().map(|sample| sample.destination.port)
    }

    /// One more: it is not over, whatever looked like it.
    pub(super) fn again(&mut self, sign: Sign, now: Now) {
        self.alert.last = sign.time;
        self.alert.count = self.alert.count.saturating_add(1);
        self.alert.evidence = sign.evidence;
        self.way = sign.way;
        self.last_ns = now.ktime_ns;
        self.ending = None;
    }

    /// It ends at the time, but not before its shortest life.
    pub(super) fn end_at(&mut self, at_ns: u64, why: Resolution) {
        let due_ns = at_ns.max(self.began_ns.saturating_add(SHORTEST_NS));
        self.ending = Some(Ending { due_ns, why });
    }

    /// As [`Firing::end_at`], if no SYN comes for a while either.
    pub(super) fn end_after_a_while(&mut self, why: Resolution) {
        self.end_at(self.last_ns.saturating_add(SHORTEST_NS), why);
    }

    /// When it will be over if nothing comes, and why.
    pub(super) fn end(&self, rules: &Rules) -> Ending {
        let shortest_ns = self.began_ns.saturating_add(SHORTEST_NS);
        let quiet_ns = match self.alert.evidence {
            Evidence::Syn(_) => self.last_ns.saturating_add(rules.quiet_ns),
            // Looks are rarer than `quiet` may be short.
            Evidence::Group(_) => {
                let quiet_ns = rules.quiet_ns.max(WINDOW_NS);
                self.last_ns.saturating_add(quiet_ns)
            }
            // That nothing is heard of it is no sign that it is over.
            Evidence::Check(_) | Evidence::Finding(_) => u64::MAX,
        };
        let quiet = Ending {
            due_ns: quiet_ns.max(shortest_ns),
            why: Resolution::Quiet,
        };
        let ending = self.ending.filter(|ending| ending.due_ns <= quiet.due_ns);
        ending.unwrap_or(quiet)
    }

    pub(super) fn again_ns(&self, rules: &Rules) -> u64 {
        self.told.ktime_ns.saturating_add(rules.resend_ns)
    }

    /// It is over.
    pub(super) fn over(self, why: Resolution, now: Now) -> Over {
        let alert = Alert {
            state: State::Resolved { at: now.wall, why },
            ..self.alert
        };
        Over {
            alert,
            until_ns: now.ktime_ns.saturating_add(OVER_FOR_NS),
            told: now,
        }
    }
}

/// An alert that is over, and is told for a while.
#[derive(Clone, Debug)]
pub(super) struct Over {
    pub(super) alert: Alert,
    /// When it is forgotten.
    pub(super) until_ns: u64,
    /// When it was told last.
    pub(super) told: Now,
}

impl Over {
    pub(super) fn again_ns(&self, rules: &Rules) -> u64 {
        self.told.ktime_ns.saturating_add(rules.resend_ns)
    }
}
