//! What every sink says of an alert alike: who says it, in which words, how grave it is.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::{
    alerts::{Alert, Identity, Resolution, State, message::Message},
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

/// What kind of alert it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind<'a> {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Clients are with the wrong program, which somebody has to be woken for.
    pub(crate) is_critical: bool,
    /// What went wrong where; `None`: it stands for all that have no alert of their own.
    pub(crate) identity: Option<&'a Identity>,
}

/// What kind of alert it is: the only place where sinks get an identity from, as that of the
/// overflow says nothing.
pub(crate) fn kind(alert: &Alert) -> Kind<'_> {
    let identity = &alert.identity;
    if identity.is_overflow() {
        return Kind {
            name: "SockpickTooManyAlerts",
            is_critical: false,
            identity: None,
        };
    }
    Kind {
        name: name(identity.verdict),
        is_critical: identity.verdict.is_alert(),
        identity: Some(identity),
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "SockpickOk",
        Verdict::Misdirected => "SockpickMisdirected",
        Verdict::Uncovered => "SockpickUncovered",
        Verdict::Steered => "SockpickSteered",
        Verdict::Refused => "SockpickRefused",
    }
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
