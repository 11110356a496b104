//! What is told of a group whose members starve.

use super::text::{Message, clock, mark, so_far};
use crate::{
    alerts::alert::{Alert, GroupPlace},
    pipeline::{Fed, Starvation},
    words::{count, located},
};

/// The page that explains this alert.
pub(super) const PAGE: &str = "docs/alerts.md#a-group-whose-members-starve";

/// `looks` in words.
pub(super) fn seen(looks: u64) -> String {
    format!("seen at {}", count(looks, "look"))
}

pub(super) fn message(alert: &Alert, place: &GroupPlace, is: &Starvation) -> Message {
    let GroupPlace { netns, listener } = place;
    let (mark, so_far) = (mark(alert), so_far(alert));
    let number = seen(alert.count);
    let (since, last) = (clock(alert.since), clock(alert.last));
    Message {
        title: title(mark, listener, is),
        what: what(listener, is),
        whom: format!(
            "It concerns {} in namespace {netns}, since {since} and the ten minutes before: \
             {number} {so_far}, the last at {last}.",
            starved(is),
        ),
        instead: format!(
            "The most went to {}, of {} in ten minutes.",
            fed(&is.most),
            count(is.syns, "SYN")
        ),
        why: "It is not chance. The hash does not choose from that socket, or SO_INCOMING_CPU was \
              set after it began to listen, or few clients come from the same few ports again and \
              again."
            .to_owned(),
        remedy: format!(
            "Restart who holds it. If the new socket starves as well, see with `sockpick trace \
             --port {}` from where SYNs come and which member is given them.",
            port(listener)
        ),
        over: None,
        docs: PAGE.to_owned(),
    }
}

fn title(mark: &str, listener: &str, is: &Starvation) -> String {
    let Starvation {
        members, starving, ..
    } = is;
    let get = if *starving == 1 { "gets" } else { "get" };
    format!("{mark}STARVED: {starving} of {members} members of {listener} {get} next to no SYNs")
}

fn what(listener: &str, is: &Starvation) -> String {
    let Starvation {
        members, starving, ..
    } = is;
    let (get, holds, their) = if *starving == 1 {
        ("gets", "it", "its")
    } else {
        ("get", "them", "their")
    };
    format!(
        "The kernel should share the SYNs for {listener} out evenly among its {members} listening \
         sockets, and {starving} of them {get} next to none: whoever holds {holds} is idle, and \
         the others have {their} work as well."
    )
}

/// Who starves; the first ones by name.
fn starved(is: &Starvation) -> String {
    let named: Vec<String> = is.starved.iter().map(fed).collect();
    let named_ones = named.join(", ");
    match is.starving.saturating_sub(named.len() as u64) {
        0 => named_ones,
        1 => format!("{named_ones}, and 1 other"),
        others => format!("{named_ones}, and {others} others"),
    }
}

fn fed(one: &Fed) -> String {
    let Fed {
        inode,
        syns,
        fair,
        owners,
    } = one;
    let given = format!("{}; {fair} would be fair", count(*syns, "SYN"));
    match &*located(owners) {
        "" => format!("socket {inode}, whose holder is not known ({given})"),
        owners => format!("socket {inode} of {owners} ({given})"),
    }
}

/// The port of a place as it is shown.
fn port(listener: &str) -> &str {
    listener.rsplit_once(':').map_or(listener, |(_, port)| port)
}
