//! What every sink says of an alert alike: who says it, in which words, how grave it is.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::{
    alerts::{Alert, Resolution, State, message::Message},
    event::Verdict,
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
    let message = Message::of(alert);
    Words {
        text: message.text(),
        title: message.title,
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
