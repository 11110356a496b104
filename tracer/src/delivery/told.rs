//! What every sink says of an alert alike: who says it, in which words, how grave it is.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::{
    alerts::{Alert, Found, GroupPlace, Identity, Resolution, Situation, State, message::Message},
    audit::Severity,
    event::Verdict,
    otlp::{Resource, text},
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
    /// This host, by the name that it is to have, or by its own.
    pub(crate) fn here(name: Option<&str>) -> Self {
        let read = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            Some(text.trim())
                .filter(|text| !text.is_empty())
                .map(Arc::from)
        };
        Self {
            host: name
                .map(Arc::from)
                .or_else(|| read("/proc/sys/kernel/hostname"))
                .unwrap_or_else(|| "localhost".into()),
            host_id: read("/etc/machine-id"),
        }
    }

    /// The same as OpenTelemetry names it. Without an instance the series of two hosts would be
    /// one to a Prometheus behind a collector.
    pub(crate) fn resource(&self) -> Resource {
        let mut attributes = vec![
            text("service.name", "sockpick"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &*self.host),
            text("host.name", &*self.host),
        ];
        attributes.extend(self.host_id.as_deref().map(|id| text("host.id", id)));
        Resource { attributes }
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
    /// Clients are with the wrong program, or nobody would see it if they were: somebody has to
    /// be woken.
    pub(crate) is_critical: bool,
    /// What went wrong where.
    pub(crate) about: About<'a>,
}

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About<'a> {
    /// SYNs that go wrong in one way.
    One(&'a Situation),
    /// All that have no alert of their own.
    Others,
    /// sockpick itself, which does not see.
    Sight,
    /// sockpick itself, which cannot trace.
    Tracing,
    /// What a look at the listeners found.
    Finding(&'a Found),
    /// A group whose members starve.
    Group(&'a GroupPlace),
}

/// What kind of alert it is: the only place where sinks get an identity from.
pub(crate) fn kind(alert: &Alert) -> Kind<'_> {
    match &alert.identity {
        Identity::Syns(situation) => Kind {
            name: name(situation.verdict),
            is_critical: situation.verdict.is_alert(),
            about: About::One(situation),
        },
        Identity::Overflow => Kind {
            name: "SockpickTooManyAlerts",
            is_critical: false,
            about: About::Others,
        },
        Identity::Blind => Kind {
            name: "SockpickBlind",
            is_critical: true,
            about: About::Sight,
        },
        // Somebody said that it may be so.
        Identity::Untraced => Kind {
            name: "SockpickNotTracing",
            is_critical: false,
            about: About::Tracing,
        },
        Identity::Finding(found) => Kind {
            name: "SockpickFinding",
            is_critical: found.severity == Severity::Critical,
            about: About::Finding(found),
        },
        // Nobody is with the wrong program.
        Identity::Group(place) => Kind {
            name: "SockpickStarved",
            is_critical: false,
            about: About::Group(place),
        },
    }
}

impl<'a> About<'a> {
    /// Names and values for who takes pairs of them, in this order; what is not there is left
    /// out.
    pub(crate) fn pairs(self) -> impl Iterator<Item = (&'static str, &'a str)> {
        let pairs = match self {
            Self::One(situation) => vec![
                ("verdict", situation.verdict.word()),
                (
                    "reason",
                    situation.reason.map_or("", |reason| reason.word()),
                ),
                ("netns", &situation.netns),
                ("service", situation.service.as_deref().unwrap_or_default()),
                (
                    "expected",
                    situation.expected.as_deref().unwrap_or_default(),
                ),
                (
                    "listener",
                    situation.listener.as_deref().unwrap_or_default(),
                ),
            ],
            Self::Finding(found) => vec![
                ("finding", found.id.as_str()),
                ("rule", found.rule.word()),
                ("netns", &found.netns),
            ],
            Self::Group(place) => vec![
                ("netns", place.netns.as_str()),
                ("listener", &place.listener),
            ],
            Self::Others | Self::Sight | Self::Tracing => Vec::new(),
        };
        pairs.into_iter().filter(|(_, value)| !value.is_empty())
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
