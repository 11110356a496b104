//! The second line of an alert, or of a refusal that is not for want of a listener: expected
//! whom, got whom, why, since when.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    event::{Event, Other, Reason, Time, Verdict, Why},
    words::{self, bound_at, printable},
};

/// Whether the SYN has a second line.
pub(super) fn is_due(event: &Event) -> bool {
    let caused = event
        .reason
        .is_some_and(|cause| cause != Reason::NoListener);
    event.verdict.is_alert() || event.verdict == Verdict::Refused && caused
}

/// What is said of a misdirected, uncovered or refused SYN.
pub(super) fn text(event: &Event, handed_over: Option<Why>, zone: &TimeZone) -> String {
    let mut text = match event.verdict {
        Verdict::Uncovered => format!("    ^ UNCOVERED: expected {}", expected(event)),
        Verdict::Refused => refused(event),
        _ => format!("    ^ MISDIRECTED: expected {}", expected(event)),
    };
    if let Some(listener) = &event.listener {
        let place = words::bound(listener);
        let _ = write!(text, ", got {place} {}", words::holder(listener));
    }
    if let Some(why) = handed_over {
        let _ = write!(text, " after the SYN, by {}", why.word());
    }
    if let Some(reason) = event.reason {
        let cause = words::cause(reason, event.listener.is_none());
        let _ = write!(text, ": {} ({cause})", reason.word());
    }
    let programs = event.steered_by.as_deref().unwrap_or_default();
    for (nth, program) in programs.iter().enumerate() {
        let before = if nth == 0 { "; attached:" } else { "," };
        let named = words::program(program.id, &program.name);
        let _ = write!(text, "{before} {named}");
    }
    let chosen = event.listener.as_ref();
    if let Some(opened) = chosen.and_then(|listener| listener.opened) {
        let _ = write!(text, " since it began to listen at {}", clock(opened, zone));
    }
    let listener = event.expected.as_ref().and_then(|e| e.listener.as_ref());
    if let Some(closed) = listener.and_then(|listener| listener.closed) {
        let _ = write!(text, " since {}", clock(closed, zone));
    }
    if let Some(ifname) = event.deciding_ifname() {
        let _ = write!(text, "; it came through {}", printable(ifname));
    }
    text
}

/// Nobody got it: who would have, or is there all the same.
fn refused(event: &Event) -> String {
    let Some(near) = &event.expected else {
        return "    ^ REFUSED".to_owned();
    };
    let there = near.listener.as_ref().is_some_and(|l| l.closed.is_none());
    let how = if there {
        ", though there is"
    } else {
        ": expected"
    };
    format!("    ^ REFUSED{how} {}", expected(event))
}

/// The service, its listener and who holds it.
fn expected(event: &Event) -> String {
    let Some(expected) = &event.expected else {
        return "another".to_owned();
    };
    let listener = expected.listener.as_ref().map(described);
    match (&expected.service, listener) {
        (Some(service), Some(listener)) => format!("{} {listener}", printable(service)),
        (Some(service), None) => printable(service).into_owned(),
        (None, Some(listener)) => listener,
        (None, None) => "another".to_owned(),
    }
}

fn described(other: &Other) -> String {
    let place = bound_at(other.address, other.port, other.device.as_deref());
    if other.owners.is_empty() {
        return place;
    }
    format!("{place} {}", words::owners(&other.owners))
}

fn clock(time: Time, zone: &TimeZone) -> String {
    let Ok(time) = Timestamp::from_nanosecond(time.0.into()) else {
        return "?".to_owned();
    };
    let time = time.to_zoned(zone.clone()).time();
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!(
        "{hour:02}:{minute:02}:{second:02}.{:03}",
        time.millisecond()
    )
}
