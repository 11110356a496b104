//! What is told of the alert for that sockpick itself does not see.

use super::text::{Message, clock, mark, so_far};
use crate::{alerts::alert::Alert, words::count};

/// The page that tells how a daemon is looked after.
pub(super) const PAGE: &str = "docs/operations.md#is-it-well";

/// And what it does where it cannot trace.
pub(super) const UNTRACEABLE: &str = "docs/operations.md#a-host-that-cannot-be-traced";

/// `checks` in words.
pub(super) fn failed(checks: u64) -> String {
    format!("{} failed", count(checks, "self-check"))
}

/// When the last check passed is not remembered: what is missing may begin before the first that
/// failed.
pub(super) fn message(alert: &Alert, why: &str) -> Message {
    let (mark, so_far) = (mark(alert), so_far(alert));
    let number = failed(alert.count);
    let (since, last) = (clock(alert.since), clock(alert.last));
    Message {
        title: format!("{mark}BLIND: sockpick does not see what reaches this host"),
        what: "sockpick does not see its own connection, and may see no other: that nothing is \
               told means nothing."
            .to_owned(),
        whom: format!(
            "It concerns all SYNs to this host since {since}, and those after the self-check \
             before that: {number} {so_far}, the last at {last}."
        ),
        instead: "Who was given SYNs meanwhile is not known, nor can it be found out later."
            .to_owned(),
        why: format!("The last self-check failed: {why}."),
        remedy: "Run sockpick doctor on this host, which says what stands in the way; if it finds \
                 nothing, restart the daemon, which attaches anew."
            .to_owned(),
        over: None,
        docs: PAGE.to_owned(),
    }
}

/// `starts` in words.
pub(super) fn started(starts: u64) -> String {
    format!("{} without tracing", count(starts, "start"))
}

/// Of a host that cannot be traced.
pub(super) fn untraced(alert: &Alert, why: &str) -> Message {
    let (mark, so_far) = (mark(alert), so_far(alert));
    let number = started(alert.count);
    let (since, last) = (clock(alert.since), clock(alert.last));
    let why = why.trim_end_matches('.');
    Message {
        title: format!("{mark}NOT TRACING: sockpick does not see what reaches this host"),
        what: "This host cannot be traced, so sockpick sees no SYN: that none is told to go wrong \
               means nothing."
            .to_owned(),
        whom: format!(
            "It concerns all SYNs to this host since {since}: {number} {so_far}, the last at \
             {last}."
        ),
        instead: "Who is given SYNs is not known; what sockpick audit finds is told instead."
            .to_owned(),
        why: format!("The cause: {why}."),
        remedy:
            "Run sockpick doctor on this host, which says what stands in the way; once that is \
                 mended, restart the daemon."
                .to_owned(),
        over: None,
        docs: UNTRACEABLE.to_owned(),
    }
}
