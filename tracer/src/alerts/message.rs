//! What a person is told of an alert: a title, and a sentence each for what happened, to whom,
//! who got it instead, why, and what to do.

mod blind;
mod finding;
mod group;
mod overflow;
mod remedy;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write as _;

use super::alert::{Alert, Evidence, Identity, Resolution, Sample, Situation, State};
use crate::{
    event::{Reason, Verdict},
    words::{self, count},
};

use remedy::anchor;
pub use text::Message;
use text::{PAGE, clock, mark, so_far};

impl Message {
    /// Of this alert.
    #[must_use]
    pub fn of(alert: &Alert) -> Self {
        let mut message = match (&alert.identity, &alert.evidence) {
            (Identity::Syns(situation), Evidence::Syn(sample)) => About {
                alert,
                situation,
                sample,
            }
            .message(),
            (Identity::Blind, Evidence::Check(why)) => blind::message(alert, why),
            (Identity::Untraced, Evidence::Check(why)) => blind::untraced(alert, why),
            (Identity::Finding(found), Evidence::Finding(report)) => {
                finding::message(alert, found, report)
            }
            (Identity::Group(place), Evidence::Group(is)) => group::message(alert, place, is),
            // The overflow's; nothing else goes together.
            _ => overflow::message(alert, alert.sample()),
        };
        message.over = over(alert);
        message.cleaned()
    }
}

/// SYNs that go wrong in one way.
struct About<'a> {
    alert: &'a Alert,
    situation: &'a Situation,
    sample: &'a Sample,
}

impl About<'_> {
    fn message(&self) -> Message {
        let Situation {
            verdict, reason, ..
        } = *self.situation;
        Message {
            title: self.title(),
            what: self.what(),
            whom: self.whom(),
            instead: self.instead(),
            why: self.why(),
            remedy: remedy::remedy(verdict, reason).to_owned(),
            over: None,
            docs: format!("{PAGE}#{}", anchor(verdict, reason)),
        }
    }

    fn title(&self) -> String {
        let Situation {
            verdict,
            reason,
            listener,
            ..
        } = self.situation;
        let label = match (verdict, reason) {
            (Verdict::Ok, Some(reason)) => reason.word(),
            _ => verdict.word(),
        };
        let mark = mark(self.alert);
        let label = label.to_uppercase();
        let party = self.party();
        if *reason == Some(Reason::WrongOwner) {
            let owners = words::located(&self.sample.owners);
            return format!("{mark}{label}: {party} is held by {owners}");
        }
        match (listener, self.is_dropped()) {
            (Some(listener), true) => format!("{mark}{label}: {listener} drops SYNs for {party}"),
            (Some(listener), false) => format!("{mark}{label}: {listener} gets SYNs for {party}"),
            (None, _) => format!("{mark}{label}: nobody gets SYNs for {party}"),
        }
    }

    /// Whether the listener that was given the SYN never saw it.
    fn is_dropped(&self) -> bool {
        let reason = self.situation.reason;
        matches!(reason, Some(Reason::AcceptOverflow | Reason::NotTaken))
    }

    /// Who should have had the SYNs, by the best name there is.
    fn party(&self) -> String {
        let destination = || self.sample.destination.to_string();
        let place = self.situation.expected.clone().unwrap_or_else(destination);
        match &self.situation.service {
            Some(service) => format!("{service} ({place})"),
            None => place,
        }
    }

    fn what(&self) -> String {
        let party = self.party();
        match (self.situation.verdict, self.situation.reason) {
            (Verdict::Misdirected, Some(Reason::WrongOwner)) => {
                format!("A program that may not hold it has the listener of {party}.")
            }
            (Verdict::Misdirected, _) => format!(
                "{party} is passed over: SYNs that are meant for it go to another listener."
            ),
            (Verdict::Uncovered, _) => format!(
                "SYNs for {party} find no listener of their own: another takes them, and clients \
                 get its answer."
            ),
            (Verdict::Steered, _) => {
                format!("SYNs for {party} are given to a listener that a program or a rule chose.")
            }
            (Verdict::Refused, _) => {
                format!("SYNs for {party} are given to nobody: clients get a reset.")
            }
            (Verdict::Ok, Some(Reason::AcceptOverflow)) => format!(
                "SYNs for {party} are dropped, as the accept queue is full: clients wait and try \
                 again."
            ),
            (Verdict::Ok, Some(Reason::NotTaken)) => format!(
                "SYNs for {party} are dropped before the listener has them: clients wait and try \
                 again."
            ),
            (Verdict::Ok, _) => {
                format!("SYNs for {party} came to a listener that is right for them.")
            }
        }
    }

    fn whom(&self) -> String {
        let Alert { since, last, .. } = self.alert;
        let sample = self.sample;
        let number = count(self.alert.count, "SYN");
        let so_far = so_far(self.alert);
        format!(
            "It concerns {} in namespace {}, since {}: {number} {so_far}, the last at {} from {} \
             to {}.",
            self.party(),
            self.situation.netns,
            clock(*since),
            clock(*last),
            sample.client,
            sample.destination,
        )
    }

    fn instead(&self) -> String {
        let Some(listener) = &self.situation.listener else {
            return "Nobody was given them.".to_owned();
        };
        match &*words::located(&self.sample.owners) {
            "" => format!("They were given to {listener}; it is not known who holds that."),
            owners => format!("They were given to {listener}, which is held by {owners}."),
        }
    }

    fn why(&self) -> String {
        let Situation {
            reason,
            expected,
            listener,
            ..
        } = self.situation;
        let Some(reason) = reason else {
            return "No cause is told.".to_owned();
        };
        let cause = words::cause(*reason, listener.is_none());
        let mut text = format!("The cause is {}: {cause}", reason.word());
        if let Some(expected) = expected {
            text.push_str(&of_expected(expected, self.sample));
        }
        if let Some(ifname) = &self.sample.ifname {
            text.push_str("; the last one came through ");
            text.push_str(ifname);
        }
        text.push('.');
        text
    }
}

/// What is known of the expected listener.
fn of_expected(expected: &str, sample: &Sample) -> String {
    let owners = words::located(&sample.expected_owners);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match (sample.expected_closed, owners.is_empty()) {
        (Some(closed), true) => write!(text, "; {expected} closed at {}", clock(closed)),
        (Some(closed), false) => {
            let closed = clock(closed);
            write!(text, "; {expected} closed at {closed}, held by {owners}")
        }
        (None, true) => Ok(()),
        (None, false) => write!(text, "; {expected} is held by {owners}"),
    };
    text
}

/// Why it is over, and of how many what.
fn over(alert: &Alert) -> Option<String> {
    let State::Resolved { at, why } = alert.state else {
        return None;
    };
    let cause = match (&alert.identity, why) {
        (Identity::Group(_), Resolution::Quiet) => {
            "too few SYNs came to see whether it is so still"
        }
        (_, Resolution::Quiet) => "no more such SYNs came, which may be as no SYNs came at all",
        (Identity::Syns(_), Resolution::Recovered) => {
            "a SYN was given to the listener that is right for it"
        }
        (Identity::Overflow, Resolution::Recovered) => "there is room for all again",
        (Identity::Blind, Resolution::Recovered) => "a self-check passed",
        (Identity::Untraced, Resolution::Recovered) => "this host is traced",
        (Identity::Finding(_), Resolution::Recovered) => "the last look did not find it any more",
        (Identity::Group(_), Resolution::Recovered) => {
            "each socket that listens there was given its share for ten minutes, or none listens \
             there any more"
        }
        (Identity::Blind, Resolution::Reconfigured) => {
            "no self-check is made any more, so nobody would see it end"
        }
        (Identity::Finding(_), Resolution::Reconfigured) => {
            "nobody looks for it any more, so nobody would see it end"
        }
        (_, Resolution::Reconfigured) => "by new settings it is no alert",
    };
    let number = match &alert.identity {
        Identity::Syns(_) | Identity::Overflow => count(alert.count, "SYN"),
        Identity::Blind => blind::failed(alert.count),
        Identity::Untraced => blind::started(alert.count),
        Identity::Finding(_) => finding::seen(alert.count),
        Identity::Group(_) => group::seen(alert.count),
    };
    Some(format!(
        "It is over since {}: {cause}; {number} in all.",
        clock(at)
    ))
}
