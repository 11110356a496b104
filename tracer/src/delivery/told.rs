//! What every sink says of an alert alike: who says it, in which words, how grave it is.
#![forbid(unsafe_code)]

use std::{borrow::Cow, sync::Arc};

use crate::{
    alerts::{Alert, Identity, Resolution, State},
    event::Verdict,
    words::printable,
};

/// Who tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Teller {
    /// The host's name.
    pub(crate) host: Arc<str>,
    /// What names the installation for ever, if it is known.
    pub(crate) host_id: Option<Arc<str>>,
}

impl Teller {
    /// This host.
    pub(crate) fn here() -> Self {
        let read = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            Some(text.trim())
                .filter(|text| !text.is_empty())
                .map(Arc::from)
        };
        Self {
            host: read("/proc/sys/kernel/hostname").unwrap_or_else(|| "localhost".into()),
            host_id: read("/etc/machine-id"),
        }
    }
}

/// An alert for a person.
#[derive(Debug)]
pub(crate) struct Words {
    /// One line.
    pub(crate) title: String,
    /// Some sentences.
    pub(crate) text: String,
}

/// An alert for a person: the only place where sinks get words from.
pub(crate) fn words(alert: &Alert) -> Words {
    let Identity {
        verdict, reason, ..
    } = &alert.identity;
    let cause = reason.map_or("", |reason| reason.word());
    let destination = alert.sample.destination;
    let got = alert.identity.listener.as_deref().unwrap_or("nobody");
    let title = format!(
        "{}/{cause}: SYNs to {destination} got {got}",
        verdict.word()
    );
    let expected = expected(&alert.identity).unwrap_or(Cow::Borrowed("no other"));
    let over = match alert.state {
        State::Firing => "",
        State::Resolved { why, .. } => match why {
            Resolution::Recovered => " Over: the expected listener took a SYN.",
            Resolution::Quiet => " Over: no more such SYNs came.",
            Resolution::Reconfigured => " Over: something else is expected now.",
        },
    };
    let text = format!(
        "Expected: {expected}. {} since {}, the last from {}.{over} docs/verdicts.md says what \
         {cause} means and what to do.",
        crate::words::count(alert.count, "SYN"),
        alert.since,
        alert.sample.client,
    );
    Words {
        title: printable(&title).into_owned(),
        text: printable(&text).into_owned(),
    }
}

/// Who should have had it: the service, the listener, or both.
fn expected(identity: &Identity) -> Option<Cow<'_, str>> {
    match (&identity.service, &identity.expected) {
        (Some(service), Some(listener)) => Some(format!("{service} at {listener}").into()),
        (Some(one), None) | (None, Some(one)) => Some(one.into()),
        (None, None) => None,
    }
}

/// Whether clients are with the wrong program, which somebody has to be woken for.
pub(crate) fn is_critical(verdict: Verdict) -> bool {
    verdict.is_alert()
}

/// When it was over, if it is.
pub(crate) fn over(alert: &Alert) -> Option<(crate::event::Time, Resolution)> {
    match alert.state {
        State::Firing => None,
        State::Resolved { at, why } => Some((at, why)),
    }
}

/// The word for a resolution, as in JSON.
pub(crate) fn resolution(why: Resolution) -> &'static str {
    match why {
        Resolution::Recovered => "recovered",
        Resolution::Quiet => "quiet",
        Resolution::Reconfigured => "reconfigured",
    }
}
