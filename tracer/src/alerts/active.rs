//! All alerts: which last, which are over, and what is to be told of them.

use std::{collections::BTreeMap, vec::Drain};

use super::{
    alert::{Alert, Identity, Notice, Now, Occasion, Resolution, Situation},
    life::{Firing, Over, Rules, Sign},
    recovery::{self, Right, Shown},
    totals::Totals,
};
use crate::{event::Event, settings::AlertSettings};

/// The alerts of this host.
///
/// Every SYN's event goes in with the time; what is to be told comes out of [`Alerts::notices`].
/// Between events, [`Alerts::timeout`] is due at [`Alerts::next_timeout`].
#[derive(Clone, Debug)]
pub struct Alerts {
    pub(super) rules: Rules,
    /// At most `max_active`, and those of [`Identity::BESIDE`]; more only if there were before it
    /// was lowered, by a reload or a restart.
    pub(super) firing: BTreeMap<Identity, Firing>,
    /// Told for a while that they are over; at most `max_active` and those of
    /// [`Identity::BESIDE`].
    pub(super) over: BTreeMap<Identity, Over>,
    notices: Vec<Notice>,
    totals: Totals,
    suppressed: u64,
    pub(super) generation: u64,
}

impl Alerts {
    /// None yet.
    #[must_use]
    pub fn new(settings: &AlertSettings) -> Self {
        Self {
            rules: Rules::new(settings),
            firing: BTreeMap::new(),
            over: BTreeMap::new(),
            notices: Vec::new(),
            totals: Totals::default(),
            suppressed: 0,
            generation: 0,
        }
    }

    /// Takes the event of a SYN, or of a connection that was handed over.
    pub fn take(&mut self, event: &Event, now: Now) {
        if self.rules.is_alert(event.verdict, event.reason) {
            self.wrong(event, now);
        }
        // What is an alert itself may still be the right SYN of another: a service that moved.
        if !self.firing.is_empty()
            && let Some(listener) = recovery::taken(event)
        {
            let port = event.destination.port;
            if self.ports().any(|other| other == port) {
                self.right(&Right::new(event, listener), now);
            }
        }
    }

    fn wrong(&mut self, event: &Event, now: Now) {
        let situation = Situation::of(event);
        self.totals.count(&situation);
        let identity = Identity::Syns(situation);
        if self.firing.contains_key(&identity) || self.has_room() {
            self.shown(identity, Sign::of(event), now);
        } else {
            self.suppress(&identity, event, now);
        }
    }

    /// It is so now: it begins, or goes on.
    pub(super) fn shown(&mut self, identity: Identity, sign: Sign, now: Now) {
        match self.firing.get_mut(&identity) {
            Some(firing) => firing.again(sign, now),
            None => self.begin(identity, sign, now),
        }
    }

    fn begin(&mut self, identity: Identity, sign: Sign, now: Now) {
        self.generation += 1;
        self.over.remove(&identity);
        let firing = Firing::new(identity.clone(), sign, now);
        let notice = self.rules.notice(Occasion::Began, &firing.alert, now);
        self.notices.push(notice);
        self.firing.insert(identity, firing);
    }

    /// There are too many: one alert counts what the others would have.
    fn suppress(&mut self, identity: &Identity, event: &Event, now: Now) {
        self.without_room(identity);
        self.shown(Identity::Overflow, Sign::of(event), now);
    }

    /// It is so, and has no alert.
    pub(super) fn without_room(&mut self, identity: &Identity) {
        self.suppressed = self.suppressed.saturating_add(1);
        // It is not over any more.
        if self.over.remove(identity).is_some() {
            self.generation += 1;
        }
    }

    pub(super) fn has_room(&self) -> bool {
        let beside = Identity::BESIDE.iter();
        let beside = beside.filter(|identity| self.firing.contains_key(identity));
        self.firing.len() - beside.count() < self.rules.max_active
    }

    fn right(&mut self, right: &Right<'_>, now: Now) {
        let mut is_over = false;
        for firing in self.firing.values_mut() {
            if firing.ending.is_some() {
                continue;
            }
            match right.shows(firing) {
                Some(Shown::Over) => firing.end_at(now.ktime_ns, Resolution::Recovered),
                Some(Shown::Perhaps) => firing.end_after_a_while(Resolution::Recovered),
                None => continue,
            }
            is_over |= firing.end(&self.rules).due_ns <= now.ktime_ns;
        }
        if is_over {
            self.end_due(now);
        }
    }

    /// When [`Alerts::timeout`] is due, by `CLOCK_MONOTONIC` in nanoseconds; `None`: nothing waits.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        let rules = &self.rules;
        let firing = self.firing.values();
        let firing = firing.map(|one| one.again_ns(rules).min(one.end(rules).due_ns));
        let over = self.over.values();
        let over = over.map(|one| one.again_ns(rules).min(one.until_ns));
        firing.chain(over).min()
    }

    /// Does what is due: alerts end, are told again or are forgotten.
    pub fn timeout(&mut self, now: Now) {
        self.end_due(now);
        for firing in self.firing.values_mut() {
            if firing.again_ns(&self.rules) <= now.ktime_ns {
                firing.told = now;
                self.generation += 1;
                let notice = self.rules.notice(Occasion::Lasts, &firing.alert, now);
                self.notices.push(notice);
            }
        }
        let before = self.over.len();
        self.over.retain(|_, over| over.until_ns > now.ktime_ns);
        self.generation += (before - self.over.len()) as u64;
        for over in self.over.values_mut() {
            if over.again_ns(&self.rules) <= now.ktime_ns {
                over.told = now;
                self.generation += 1;
                let notice = self.rules.notice(Occasion::OverStill, &over.alert, now);
                self.notices.push(notice);
            }
        }
    }

    pub(super) fn end_due(&mut self, now: Now) {
        // The end of one may be the overflow's.
        while self.end_some(now) {
            self.make_room();
        }
    }

    /// Whether any ended.
    fn end_some(&mut self, now: Now) -> bool {
        let rules = &self.rules;
        let ends = |firing: &mut Firing| firing.end(rules).due_ns <= now.ktime_ns;
        let ended = self.firing.extract_if(.., |_, firing| ends(firing));
        let ended: Vec<(Identity, Firing)> = ended.collect();
        let any = !ended.is_empty();
        for (identity, firing) in ended {
            let why = firing.end(&self.rules).why;
            self.conclude(identity, firing.over(why, now), now);
        }
        any
    }

    fn conclude(&mut self, identity: Identity, over: Over, now: Now) {
        self.generation += 1;
        let notice = self.rules.notice(Occasion::Ended, &over.alert, now);
        self.notices.push(notice);
        self.over.insert(identity, over);
        if self.over.len() > self.most_over() {
            let first = self.over.iter().min_by_key(|(_, over)| over.until_ns);
            if let Some(identity) = first.map(|(identity, _)| identity.clone()) {
                self.over.remove(&identity);
            }
        }
    }

    /// How many are told to be over at most.
    pub(super) fn most_over(&self) -> usize {
        let beside = Identity::BESIDE.len();
        self.rules.max_active.saturating_add(beside)
    }

    /// Where there is room again, the overflow ends if it takes nothing for a while.
    fn make_room(&mut self) {
        if self.has_room()
            && let Some(overflow) = self.firing.get_mut(&Identity::Overflow)
        {
            overflow.end_after_a_while(Resolution::Recovered);
        }
    }

    /// Goes on by new settings. What is no alert by them ends; what was begun goes on, even if
    /// there are more than are allowed now.
    pub fn reconfigure(&mut self, settings: &AlertSettings, now: Now) {
        self.rules = Rules::new(settings);
        self.by_rules(now);
        self.timeout(now);
    }

    /// What is no alert by the rules is to end; what is one again is not.
    pub(super) fn by_rules(&mut self, now: Now) {
        for (identity, firing) in &mut self.firing {
            let Some(is_alert) = self.rules.allow(identity) else {
                continue;
            };
            let ends = firing.ending.map(|ending| ending.why);
            match (is_alert, ends) {
                (true, Some(Resolution::Reconfigured)) => firing.ending = None,
                (false, None) => firing.end_at(now.ktime_ns, Resolution::Reconfigured),
                _ => {}
            }
        }
        self.make_room();
    }

    /// What is to be told, in this order. To be taken after every call that has the time.
    pub fn notices(&mut self) -> Drain<'_, Notice> {
        self.notices.drain(..)
    }

    /// Those that last, that of the overflow among them.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.firing.values().map(|firing| &firing.alert)
    }

    /// How many last, that of the overflow among them.
    #[must_use]
    pub fn active(&self) -> usize {
        self.firing.len()
    }

    /// Ports that SYNs are sent to that those alerts cover: some more than once.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.firing.values().filter_map(Firing::port)
    }

    /// SYNs since the start that belong to no alert but the overflow's, and findings that a look
    /// had no room for. How many alerts they would have been is not known: to know it, each would
    /// have to be remembered.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// SYNs since the start that alerted.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Another number than before: something happened that the state file should have. SYNs
    /// alone are nothing such; their number is written with what else is.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
