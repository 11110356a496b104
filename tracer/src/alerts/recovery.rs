//! Which SYN shows that an alert is over.
//!
//! A listener that was gone is back when it takes a SYN. Other causes concern some SYNs only (by
//! device, by CPU, by member of a group), while the expected listener takes the rest all the
//! time. There a right SYN shows something only if it came the same way as the wrong ones, and
//! nothing wrong has come for a while.

use super::{
    alert::Situation,
    life::{Firing, Way},
};
use crate::{
    event::{Event, Listener, Match, Reason, Verdict},
    words,
};

/// What a SYN shows of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is over.
    Over,
    /// It is over, if nothing wrong comes for a while.
    Perhaps,
}

/// A SYN that was right, as alerts look at it.
pub(super) struct Right<'a> {
    event: &'a Event,
    netns: String,
    /// Where its listener is bound.
    place: String,
    /// The listener that it is as good as.
    moved_from: Option<String>,
}

/// The listener that took the SYN, if that was right.
pub(super) fn taken(event: &Event) -> Option<&Listener> {
    let is_taken = !matches!(
        event.reason,
        Some(Reason::AcceptOverflow | Reason::NotTaken)
    );
    let is_right = matches!(event.verdict, Verdict::Ok | Verdict::Steered);
    event.listener.as_ref().filter(|_| is_right && is_taken)
}

impl<'a> Right<'a> {
    pub(super) fn new(event: &'a Event, listener: &Listener) -> Self {
        let expected = event.expected.as_deref();
        let moved = expected.filter(|_| event.reason == Some(Reason::Moved));
        Self {
            event,
            netns: words::namespace(&event.netns).into_owned(),
            place: words::bound(listener),
            moved_from: moved.and_then(super::identity::place),
        }
    }

    /// What it shows of the alert, if anything.
    pub(super) fn shows(&self, firing: &Firing) -> Option<Shown> {
        let situation = firing.alert.identity.situation()?;
        if situation.netns != self.netns {
            return None;
        }
        match (situation.verdict, situation.reason?) {
            (Verdict::Steered, _) => perhaps(self.is_alike(firing) && !self.is_steered()),
            (
                _,
                Reason::RestartGap
                | Reason::DualStack
                | Reason::LegacyOrder
                | Reason::DevOrder
                | Reason::NotListening,
            ) => self.has_place(firing, situation).then_some(Shown::Over),
            (Verdict::Refused, _) => perhaps(self.is_alike(firing)),
            (_, reason) => perhaps(self.is_other(firing, situation, reason)),
        }
    }

    /// For causes that concern some of the SYNs.
    fn is_other(&self, firing: &Firing, situation: &Situation, reason: Reason) -> bool {
        match reason {
            Reason::DevMismatch | Reason::VrfScope => {
                self.is_alike(firing) && self.event.matched == Match::Exact
            }
            Reason::CpuAffinity => {
                let same_cpu = Way::of(self.event).cpu == firing.way.cpu;
                same_cpu && self.is_alike(firing) && self.has_place(firing, situation)
            }
            Reason::Unknown => self.is_alike(firing) && self.has_place(firing, situation),
            Reason::WrongOwner | Reason::AcceptOverflow | Reason::NotTaken => {
                self.is_for(firing) && situation.listener.as_deref() == Some(&*self.place)
            }
            Reason::OtherNetns | Reason::BpfSkLookup | Reason::SkAssign | Reason::Tproxy => {
                situation.verdict.is_alert() && self.is_for(firing)
            }
            // Of what is no fault there is no other side: it is over when no more come.
            _ => false,
        }
    }

    fn is_steered(&self) -> bool {
        self.event.verdict == Verdict::Steered
    }

    /// The expected listener has it; where none is known, whoever is right for the destination.
    fn has_place(&self, firing: &Firing, situation: &Situation) -> bool {
        match &situation.expected {
            Some(place) => {
                *place == self.place || self.moved_from.as_ref().is_some_and(|from| from == place)
            }
            None => self.is_for(firing),
        }
    }

    fn is_for(&self, firing: &Firing) -> bool {
        let sample = firing.alert.sample();
        sample.is_some_and(|sample| sample.destination == self.event.destination)
    }

    fn is_alike(&self, firing: &Firing) -> bool {
        self.is_for(firing) && Way::of(self.event).ifindex == firing.way.ifindex
    }
}

fn perhaps(shown: bool) -> Option<Shown> {
    shown.then_some(Shown::Perhaps)
}
