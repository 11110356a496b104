//! Which events are shown: filters that need what only user space knows.
#![forbid(unsafe_code)]

use crate::{
    event::{Event, Listener, Match, Reason, Verdict, counting},
    settings::place::{AddressPattern, ListenerPattern},
};

/// What is shown. An empty list lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Listeners by where they are bound.
    pub listeners: Vec<ListenerPattern>,
    /// Processes that hold the listener.
    pub pids: Vec<u32>,
    /// The same by name.
    pub comms: Vec<String>,
    /// How the socket fits the packet.
    pub matched: Vec<Match>,
    /// Whether the choice was right.
    pub verdicts: Vec<Verdict>,
    /// Only what alerts,
    pub only_alerts: bool,
    /// and with it SYNs with these reasons.
    pub alert_on: Vec<Reason>,
    /// No more than so many SYNs.
    pub count: Option<u64>,
    /// The kernel's counters of a listener began before what is told of.
    pub began_midway: bool,
}

impl Selection {
    /// Whether everything is shown, until there is enough.
    pub(super) fn takes_all(&self) -> bool {
        let all = Self {
            count: self.count,
            ..Self::default()
        };
        *self == all
    }

    /// The kernel's counters are exact whatever was lost, but know nothing of a filter that
    /// asks about events, or of when that began.
    pub(super) fn asks_about_events(&self) -> bool {
        self.began_midway
            || !self.matched.is_empty()
            || !self.verdicts.is_empty()
            || self.only_alerts
    }
}

/// Whether the event is to be shown.
pub(super) fn passes(filter: &Selection, event: &Event) -> bool {
    let any = |listener: fn(&Selection, &Listener) -> bool| {
        event
            .listener
            .as_ref()
            .is_some_and(|found| listener(filter, found))
    };
    let verdict = if filter.only_alerts {
        let asked = |reason| filter.alert_on.contains(&reason);
        event.verdict.is_alert() || event.reason.is_some_and(asked)
    } else {
        filter.verdicts.is_empty() || filter.verdicts.contains(&event.verdict)
    };
    verdict
        && (filter.matched.is_empty() || filter.matched.contains(&event.matched))
        && (filter.listeners.is_empty()
            || any(|filter, found| filter.listeners.iter().any(|pattern| names(pattern, found))))
        && (filter.pids.is_empty() || any(|filter, found| has_pid(&filter.pids, found)))
        && (filter.comms.is_empty() || any(|filter, found| has_comm(&filter.comms, found)))
}

fn names(pattern: &ListenerPattern, listener: &Listener) -> bool {
    let address = match pattern.address {
        None => true,
        Some(AddressPattern::Wildcard) => listener.address.is_unspecified(),
        Some(AddressPattern::Is(address)) => listener.address == address,
    };
    let device = pattern.device.as_deref();
    let device = device.is_none_or(|device| listener.device.as_deref() == Some(device));
    address && device && pattern.port.is_none_or(|port| port == listener.port)
}

/// Who took connections and does not hold the listener counts here as little as in verdicts.
fn has_pid(wanted: &[u32], listener: &Listener) -> bool {
    let mut owners = counting(&listener.owners);
    owners.any(|owner| owner.pid != 0 && wanted.contains(&owner.pid))
}

fn has_comm(wanted: &[String], listener: &Listener) -> bool {
    let mut owners = counting(&listener.owners);
    owners.any(|owner| wanted.contains(&owner.comm))
}
