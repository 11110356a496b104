//! A connection that came to another listener than its SYN did.

use serde::{Serialize, Serializer};

use super::{
    listener::{Listener, ListenerId},
    syn::{Endpoint, Event, Expected, Netns, Other, Reason, SCHEMA, Verdict},
    time::Time,
};

/// A connection came to a listener after its SYN: a record of its own, told by the key
/// `handover`. The SYN has its event all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Handover {
    /// How.
    pub why: Why,
    /// What would be said of a SYN that the listener was given at that time.
    pub event: Event,
    /// The listener that the SYN's event named, if that is remembered.
    pub syn_listener: Option<ListenerId>,
}

/// How a connection came to another listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The ACK of a SYN cookie was looked up anew.
    CookieAck,
    /// Its listener closed, and another of the group took it over.
    Migrated,
}

impl Why {
    /// The reason of a hand-over that was right.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::CookieAck => Reason::CookieAck,
            Self::Migrated => Reason::Migrated,
        }
    }
}

/// The fields of the record.
#[derive(Serialize)]
struct Fields<'a> {
    schema: u32,
    handover: Why,
    time: Time,
    ktime_ns: u64,
    netns: &'a Netns,
    client: Endpoint,
    destination: Endpoint,
    verdict: Verdict,
    reason: Reason,
    listener: Option<&'a Listener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    syn_listener: Option<ListenerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a Expected>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<&'a [Other]>,
}

impl Serialize for Handover {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = &self.event;
        Fields {
            schema: SCHEMA,
            handover: self.why,
            time: event.time,
            ktime_ns: event.ktime_ns,
            netns: &event.netns,
            client: event.client,
            destination: event.destination,
            verdict: event.verdict,
            reason: event.reason.unwrap_or(self.why.reason()),
            listener: event.listener.as_ref(),
            syn_listener: self.syn_listener,
            expected: event.expected.as_deref(),
            candidates: event.candidates.as_deref(),
        }
        .serialize(serializer)
    }
}
