//! What an alert is, and what is told of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    audit::{Kind, Severity},
    event::{Endpoint, Owner, Reason, Time, Verdict},
    pipeline::Starvation,
};

/// What time it is, by both clocks: one never goes back, the other is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// `CLOCK_MONOTONIC` in nanoseconds: what all waiting goes by.
    pub ktime_ns: u64,
    /// Wall clock: what is told.
    pub wall: Time,
}

/// What makes it the alert that it is: the same after a restart of sockpick.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// SYNs that go wrong in one way.
    Syns(Situation),
    /// SYNs past the bound: it stands for all that have no alert of their own.
    Overflow,
    /// sockpick does not see what it should.
    Blind,
    /// sockpick does not trace, as it cannot.
    Untraced,
    /// Something that a look at the listeners found.
    Finding(Found),
    /// A reuseport group whose members starve.
    Group(GroupPlace),
}

/// What makes two looks at a group one alert: the same after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupPlace {
    /// Namespace: its name, or its inode number where it has none.
    pub netns: String,
    /// Where its members are bound, as `ss` writes it.
    pub listener: String,
}

/// What makes two SYNs one alert: few things.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Situation {
    /// Namespace: its name, or its inode number where it has none.
    pub netns: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Its reason.
    pub reason: Option<Reason>,
    /// Name of the service that was expected, if one is configured.
    pub service: Option<String>,
    /// Where the expected listener is bound, as `ss` writes it.
    pub expected: Option<String>,
    /// Where the listener is bound that was given the SYN; `None`: nobody got it.
    pub listener: Option<String>,
}

/// What makes two findings one alert: the same after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Found {
    /// Made of rule, namespace and bindings.
    pub id: String,
    /// By which rule.
    pub rule: Kind,
    /// How bad: one that turns worse is another, as it may wake another.
    pub severity: Severity,
    /// Namespace: its name, or its inode number where it has none.
    pub netns: String,
}

/// One of the SYNs that an alert covers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it came.
    pub time: Time,
    /// Where it came from.
    pub client: Endpoint,
    /// Where it was sent.
    pub destination: Endpoint,
    /// Processes that hold the listener which was given it.
    pub owners: Arc<[Owner]>,
    /// Processes that hold, or held, the one that was expected.
    pub expected_owners: Arc<[Owner]>,
    /// When the expected one closed; `None`: it listens, or nobody saw it.
    pub expected_closed: Option<Time>,
    /// The interface that it came through, where that decided who got it. Where alerts are
    /// kept, it may be missing.
    pub ifname: Option<Arc<str>>,
}

/// What shows that it is so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A SYN: the last.
    Syn(Sample),
    /// A self-check, the last that failed, or the start: why it did.
    Check(String),
    /// What a look found, the last that did.
    Finding(Report),
    /// How SYNs were shared out, when a member was seen to starve last.
    Group(Starvation),
}

/// What is told of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where the listeners are bound that it is about.
    pub places: String,
    /// What, and why.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

/// What an alert is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It lasts.
    Firing,
    /// It is over.
    Resolved {
        /// Since when.
        at: Time,
        /// Why it is taken to be over.
        why: Resolution,
    },
}

/// Why an alert is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// A SYN was given to the listener that is right for it; of an overflow: there is room; of
    /// blindness: sockpick sees again; of a finding: it is not found any more; of a group: each
    /// member has its share again, or nobody listens there any more.
    Recovered,
    /// No such SYN came for the quiet time; whether others came is not said.
    Quiet,
    /// By new settings it is no alert.
    Reconfigured,
}

/// Something that is wrong, from the first SYN that shows it until it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is.
    pub identity: Identity,
    /// When the first SYN came, or self-check failed. Never moves while it fires.
    pub since: Time,
    /// When the last one did.
    pub last: Time,
    /// SYNs, and connections handed over, that it covers; of what is about none: self-checks that
    /// failed, starts without tracing, or looks that found it.
    pub count: u64,
    /// The last of them.
    pub evidence: Evidence,
    /// What it is now.
    pub state: State,
}

/// Why something is told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// It began.
    Began,
    /// It goes on: told again at each `resend`.
    Lasts,
    /// It is over.
    Ended,
    /// It is over, and was told: once more, for who may not have heard.
    OverStill,
}

/// What is told of an alert at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Why now.
    pub occasion: Occasion,
    /// The alert as it was then.
    pub alert: Alert,
    /// When.
    pub at: Time,
    /// How long it may be taken to last without a further notice, in nanoseconds.
    pub valid_ns: u64,
}
