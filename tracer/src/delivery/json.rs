//! A notice as JSON: `docs/alerts.md` says what each field means. Schema 1 changes by addition
//! only.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::{
    queue::Message,
    told::{self, Teller, kind, over, words},
};
use crate::{
    alerts::{Notice, Occasion, Resolution, Sample},
    audit::{Kind, Severity},
    event::{Endpoint, Lost, Owner, Reason, SCHEMA, Stage, Time, Verdict},
};

/// A notice, flat, as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct Told<'a> {
    schema: u32,
    alert: &'static str,
    time: Time,
    host: &'a str,
    title: String,
    text: String,
    #[serde(flatten)]
    about: About<'a>,
    since: Time,
    last: Time,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Resolved>,
    #[serde(flatten)]
    syn: Option<Syn<'a>>,
}

/// The last SYN.
#[derive(Debug, Serialize)]
struct Syn<'a> {
    client: Endpoint,
    destination: Endpoint,
    owners: &'a [Owner],
    expected_owners: &'a [Owner],
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_closed: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ifname: Option<&'a str>,
}

/// What it is about.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum About<'a> {
    One(Situation<'a>),
    /// All that have no alert of their own.
    Others {
        /// Always true.
        overflow: bool,
    },
    /// sockpick itself, which does not see.
    Sight {
        /// Always true.
        blind: bool,
    },
    /// sockpick itself, which cannot trace.
    Tracing {
        /// Always true.
        untraced: bool,
    },
    Finding {
        finding: &'a str,
        rule: Kind,
        severity: Severity,
        netns: &'a str,
    },
    Group {
        /// Always true.
        starved: bool,
        netns: &'a str,
        listener: &'a str,
    },
}

#[derive(Debug, Serialize)]
struct Situation<'a> {
    netns: &'a str,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    listener: Option<&'a str>,
}

impl<'a> About<'a> {
    fn of(about: told::About<'a>) -> Self {
        match about {
            told::About::One(situation) => Self::One(Situation {
                netns: &situation.netns,
                verdict: situation.verdict,
                reason: situation.reason,
                service: situation.service.as_deref(),
                expected: situation.expected.as_deref(),
                listener: situation.listener.as_deref(),
            }),
            told::About::Others => Self::Others { overflow: true },
            told::About::Sight => Self::Sight { blind: true },
            told::About::Tracing => Self::Tracing { untraced: true },
            told::About::Finding(found) => Self::Finding {
                finding: &found.id,
                rule: found.rule,
                severity: found.severity,
                netns: &found.netns,
            },
            told::About::Group(place) => Self::Group {
                starved: true,
                netns: &place.netns,
                listener: &place.listener,
            },
        }
    }
}

impl<'a> Syn<'a> {
    fn of(sample: &'a Sample) -> Self {
        Self {
            client: sample.client,
            destination: sample.destination,
            owners: &sample.owners,
            expected_owners: &sample.expected_owners,
            expected_closed: sample.expected_closed,
            ifname: sample.ifname.as_deref(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Resolved {
    at: Time,
    why: Resolution,
}

/// The notice as this host tells it.
pub(crate) fn told<'a>(teller: &'a Teller, notice: &'a Notice) -> Told<'a> {
    let Notice {
        occasion,
        alert,
        at,
        valid_ns: _,
    } = notice;
    let words = words(alert);
    Told {
        schema: SCHEMA,
        alert: word(*occasion),
        time: *at,
        host: &teller.host,
        title: words.title,
        text: words.text,
        about: About::of(kind(alert).about),
        since: alert.since,
        last: alert.last,
        count: alert.count,
        resolved: over(alert).map(|(at, why)| Resolved { at, why }),
        syn: alert.sample().map(Syn::of),
    }
}

/// The word for an occasion. One that is over still is told as over.
pub(crate) fn word(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Began => "began",
        Occasion::Lasts => "lasts",
        Occasion::Ended | Occasion::OverStill => "ended",
    }
}

/// Each message as a line of its own, and before them one that says how many are missing, if any
/// are. In order, with newlines.
pub(crate) fn lines(teller: &Teller, batch: &[Message], lost: u64) -> Vec<Line> {
    let record = (lost > 0).then(|| Line {
        bytes: line(&Lost {
            schema: SCHEMA,
            lost,
            stage: Stage::Sink,
        }),
        messages: 0,
    });
    let messages = batch.iter().map(|message| Line {
        bytes: match message {
            Message::Line(line) => line.to_vec(),
            Message::Notice(notice) => line(&told(teller, notice)),
        },
        messages: 1,
    });
    record.into_iter().chain(messages).collect()
}

/// A line to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    /// How many messages it is: none, if it tells of losses.
    pub(crate) messages: usize,
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // Writing text keys to a vector does not fail.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::fixtures::{blind, finding, overflow, starved, teller};

    #[test]
    fn of_what_has_no_alert_of_its_own_no_verdict_is_told() {
        let teller = teller();
        let overflow = overflow();
        let value = serde_json::to_value(told(&teller, &overflow)).expect("JSON");
        assert_eq!(value["overflow"], true);
        assert_eq!(value["count"], 17);
        for field in ["netns", "verdict", "reason", "listener"] {
            assert!(value.get(field).is_none(), "{field} of {value}");
        }
    }

    #[test]
    fn a_finding_has_its_rule_and_no_verdict() {
        let (teller, finding) = (teller(), finding());
        let value = serde_json::to_value(told(&teller, &finding)).expect("JSON");
        assert_eq!(value["finding"], "no_acceptor-0123abcd");
        assert_eq!(value["rule"], "no_acceptor");
        assert_eq!(value["severity"], "warning");
        for field in ["verdict", "listener", "client", "overflow", "blind"] {
            assert!(value.get(field).is_none(), "{field} of {value}");
        }
    }

    #[test]
    fn a_group_has_its_place_and_no_verdict() {
        let (teller, starved) = (teller(), starved());
        let value = serde_json::to_value(told(&teller, &starved)).expect("JSON");
        assert_eq!(value["starved"], true);
        assert_eq!(
            (&value["netns"], &value["listener"]),
            (&"host".into(), &"*:80".into())
        );
        for field in ["verdict", "client", "owners", "overflow", "blind", "rule"] {
            assert!(value.get(field).is_none(), "{field} of {value}");
        }
    }

    #[test]
    fn of_blindness_no_syn_is_told() {
        let (teller, blind) = (teller(), blind());
        let value = serde_json::to_value(told(&teller, &blind)).expect("JSON");
        assert_eq!(value["blind"], true);
        assert_eq!(value["count"], 17);
        for field in ["netns", "verdict", "client", "destination", "owners"] {
            assert!(value.get(field).is_none(), "{field} of {value}");
        }
    }
}
