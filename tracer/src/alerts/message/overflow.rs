//! What is told of the alert that stands for all those past the bound.

use super::text::{Message, PAGE, clock, mark, so_far};
use crate::{
    alerts::alert::{Alert, Sample},
    words::count,
};

/// One cannot say of whom: that is what the bound is for.
pub(super) fn message(alert: &Alert, sample: Option<&Sample>) -> Message {
    let (mark, so_far) = (mark(alert), so_far(alert));
    let number = count(alert.count, "SYN");
    let (since, last) = (clock(alert.since), clock(alert.last));
    let whose = sample.map_or_else(String::new, |sample| {
        format!(" from {} to {}", sample.client, sample.destination)
    });
    Message {
        title: format!("{mark}TOO MANY ALERTS: {number} went wrong without one of their own"),
        what: "As many alerts last as may at once: what goes wrong beside them is only counted."
            .to_owned(),
        whom: format!(
            "It concerns all of this host, since {since}: {number} {so_far}, the last at \
             {last}{whose}."
        ),
        instead: "Who was given them is not remembered.".to_owned(),
        why: "The bound is max_active in [alerts].".to_owned(),
        remedy: "Mend what has an alert of its own first: much of the rest may have the same \
                 cause. If there is that much to watch, raise max_active."
            .to_owned(),
        over: None,
        docs: PAGE.to_owned(),
    }
}
