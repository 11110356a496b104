//! What a person is told of an alert: a title, and a sentence each for what happened, to whom,
//! who got it instead, why, and what to do.

mod overflow;
mod remedy;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Alert, Identity, Resolution, Sample, State};
use crate::{
    event::{Reason, Time, Verdict},
    words::{self, count, printable},
};

use remedy::anchor;

/// The page that explains verdicts and reasons, from the root of the documentation.
const PAGE: &str = "docs/verdicts.md";

/// An alert in words: one line each, without a line's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// All of it in one line.
    pub title: String,
    /// What happens.
    pub what: String,
    /// To whom, since when, how often.
    pub whom: String,
    /// Who got the SYNs.
    pub instead: String,
    /// The cause, and since when.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
    /// Why it is taken to be over, if it is.
    pub over: Option<String>,
    /// Where more is written: a page of the documentation and the heading's anchor.
    pub docs: String,
}

impl Message {
    /// Of this alert.
    #[must_use]
    pub fn of(alert: &Alert) -> Self {
        let mut message = if alert.identity.is_overflow() {
            overflow::message(alert)
        } else {
            about(alert)
        };
        message.over = over(alert);
        message.cleaned()
    }

    /// The sentences, a line each, with where more is written; of an alert that is over, first
    /// why it is, and no remedy.
    #[must_use]
    pub fn text(&self) -> String {
        let (what, whom, instead, why) = (&self.what, &self.whom, &self.instead, &self.why);
        let docs = &self.docs;
        if let Some(over) = &self.over {
            format!("{over}\nUntil then: {what}\n{whom}\n{instead}\n{why}\nMore: {docs}")
        } else {
            let remedy = &self.remedy;
            format!("{what}\n{whom}\n{instead}\n{why}\n{remedy}\nMore: {docs}")
        }
    }

    /// Names are others' choice: without what would end a line.
    fn cleaned(mut self) -> Self {
        let texts = [
            &mut self.title,
            &mut self.what,
            &mut self.whom,
            &mut self.instead,
            &mut self.why,
        ];
        for text in texts.into_iter().chain(&mut self.over) {
            *text = printable(text).into_owned();
        }
        self
    }
}

fn about(alert: &Alert) -> Message {
    let Identity {
        verdict, reason, ..
    } = alert.identity;
    Message {
        title: title(alert),
        what: what(alert),
        whom: whom(alert),
        instead: instead(alert),
        why: why(alert),
        remedy: remedy::remedy(verdict, reason).to_owned(),
        over: None,
        docs: format!("{PAGE}#{}", anchor(verdict, reason)),
    }
}

fn is_over(alert: &Alert) -> bool {
    alert.state != State::Firing
}

fn title(alert: &Alert) -> String {
    let Identity {
        verdict,
        reason,
        listener,
        ..
    } = &alert.identity;
    let label = match (verdict, reason) {
        (Verdict::Ok, Some(reason)) => reason.word(),
        _ => verdict.word(),
    };
    let mark = if is_over(alert) { "over: " } else { "" };
    let label = label.to_uppercase();
    let party = party(alert);
    if *reason == Some(Reason::WrongOwner) {
        let owners = words::owners(&alert.sample.owners);
        return format!("{mark}{label}: {party} is held by {owners}");
    }
    match (listener, is_dropped(alert)) {
        (Some(listener), true) => format!("{mark}{label}: {listener} drops SYNs for {party}"),
        (Some(listener), false) => format!("{mark}{label}: {listener} gets SYNs for {party}"),
        (None, _) => format!("{mark}{label}: nobody gets SYNs for {party}"),
    }
}

/// Whether the listener that was given the SYN never saw it.
fn is_dropped(alert: &Alert) -> bool {
    let reason = alert.identity.reason;
    matches!(reason, Some(Reason::AcceptOverflow | Reason::NotTaken))
}

/// Who should have had the SYNs, by the best name there is.
fn party(alert: &Alert) -> String {
    let identity = &alert.identity;
    let destination = || alert.sample.destination.to_string();
    let place = identity.expected.clone().unwrap_or_else(destination);
    match &identity.service {
        Some(service) => format!("{service} ({place})"),
        None => place,
    }
}

fn what(alert: &Alert) -> String {
    let party = party(alert);
    match (alert.identity.verdict, alert.identity.reason) {
        (Verdict::Misdirected, Some(Reason::WrongOwner)) => {
            format!("A program that may not hold it has the listener of {party}.")
        }
        (Verdict::Misdirected, _) => {
            format!("{party} is passed over: SYNs that are meant for it go to another listener.")
        }
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
            "SYNs for {party} are dropped, as the accept queue is full: clients wait and try again."
        ),
        (Verdict::Ok, Some(Reason::NotTaken)) => format!(
            "SYNs for {party} are dropped before the listener has them: clients wait and try again."
        ),
        (Verdict::Ok, _) => format!("SYNs for {party} came to a listener that is right for them."),
    }
}

fn whom(alert: &Alert) -> String {
    let Alert {
        identity,
        since,
        last,
        sample,
        ..
    } = alert;
    let number = count(alert.count, "SYN");
    let ending = if is_over(alert) { "in all" } else { "so far" };
    format!(
        "It concerns {} in namespace {}, since {}: {number} {ending}, the last at {} from {} to {}.",
        party(alert),
        identity.netns,
        clock(*since),
        clock(*last),
        sample.client,
        sample.destination,
    )
}

fn instead(alert: &Alert) -> String {
    let Some(listener) = &alert.identity.listener else {
        return "Nobody was given them.".to_owned();
    };
    match &*words::owners(&alert.sample.owners) {
        "" => format!("They were given to {listener}; it is not known who holds that."),
        owners => format!("They were given to {listener}, which is held by {owners}."),
    }
}

fn why(alert: &Alert) -> String {
    let Identity {
        reason,
        expected,
        listener,
        ..
    } = &alert.identity;
    let Some(reason) = reason else {
        return "No cause is told.".to_owned();
    };
    let cause = words::cause(*reason, listener.is_none());
    let mut text = format!("The cause is {}: {cause}", reason.word());
    if let Some(expected) = expected {
        text.push_str(&of_expected(expected, &alert.sample));
    }
    text.push('.');
    text
}

/// What is known of the expected listener.
fn of_expected(expected: &str, sample: &Sample) -> String {
    let owners = words::owners(&sample.expected_owners);
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

fn over(alert: &Alert) -> Option<String> {
    let State::Resolved { at, why } = alert.state else {
        return None;
    };
    let cause = match why {
        Resolution::Recovered if alert.identity.is_overflow() => "there is room for all again",
        Resolution::Recovered => "a SYN was given to the listener that is right for it",
        Resolution::Quiet => "no more such SYNs came, which may be as no SYNs came at all",
        Resolution::Reconfigured => "by new settings it is no alert",
    };
    let number = count(alert.count, "SYN");
    Some(format!(
        "It is over since {}: {cause}; {number} in all.",
        clock(at)
    ))
}

/// To the second, in UTC.
fn clock(time: Time) -> String {
    Timestamp::from_nanosecond(time.0.into()).map_or_else(
        |_| "?".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}
