//! What is told of a finding of a look at the listeners.

use super::text::{Message, clock, mark, so_far};
use crate::{
    alerts::alert::{Alert, Found, Report},
    words::count,
};

/// The page that describes every kind of finding.
pub(super) const PAGE: &str = "docs/audit.md";

/// `looks` in words.
pub(super) fn seen(looks: u64) -> String {
    format!("seen at {}", count(looks, "look"))
}

/// A finding has its cause and its remedy with it.
pub(super) fn message(alert: &Alert, found: &Found, report: &Report) -> Message {
    let Found {
        id,
        rule,
        severity,
        netns,
    } = found;
    let Report {
        places,
        cause,
        remedy,
    } = report;
    let (mark, so_far) = (mark(alert), so_far(alert));
    let label = rule.to_string().to_uppercase();
    let number = seen(alert.count);
    let (since, last) = (clock(alert.since), clock(alert.last));
    Message {
        title: format!("{mark}{label}: {places}"),
        what: cause.clone(),
        whom: format!(
            "It concerns {places} in namespace {netns}, since {since}: {number} {so_far}, the last \
             at {last}."
        ),
        instead: "No SYN was seen go wrong: this host is not traced, and this is told by what is \
                  listed."
            .to_owned(),
        why: format!("It is finding {id} of sockpick audit, whose severity is {severity}."),
        remedy: remedy.clone(),
        over: None,
        docs: format!("{PAGE}#{rule}"),
    }
}
