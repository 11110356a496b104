//! Filters that need what only user space knows.
#![forbid(unsafe_code)]

use crate::{
    cli::{AddressPattern, ListenerPattern, UserFilterArgs},
    event::{Event, Listener},
};

/// Whether the event is to be shown.
pub(super) fn passes(filter: &UserFilterArgs, event: &Event) -> bool {
    let any = |listener: fn(&UserFilterArgs, &Listener) -> bool| {
        event
            .listener
            .as_ref()
            .is_some_and(|found| listener(filter, found))
    };
    let verdict = if filter.only_alerts {
        let asked = |reason| filter.alert_on.contains(&reason);
        event.verdict.is_alert() || event.reason.is_some_and(asked)
    } else {
        filter.verdict.is_empty() || filter.verdict.contains(&event.verdict)
    };
    verdict
        && (filter.matched.is_empty() || filter.matched.contains(&event.matched))
        && (filter.listener.is_empty()
            || any(|filter, found| filter.listener.iter().any(|pattern| names(pattern, found))))
        && (filter.pid.is_empty() || any(|filter, found| has_pid(&filter.pid, found)))
        && (filter.comm.is_empty() || any(|filter, found| has_comm(&filter.comm, found)))
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

fn has_pid(wanted: &[u32], listener: &Listener) -> bool {
    let acceptor = listener.accepted_by.iter().map(|process| process.pid);
    listener
        .owners
        .iter()
        .map(|owner| owner.pid)
        .chain(acceptor)
        .any(|pid| wanted.contains(&pid))
}

fn has_comm(wanted: &[String], listener: &Listener) -> bool {
    let acceptor = listener.accepted_by.iter().map(|process| &*process.comm);
    listener
        .owners
        .iter()
        .map(|owner| owner.comm.as_str())
        .chain(acceptor)
        .any(|comm| wanted.iter().any(|wanted| wanted == comm))
}
