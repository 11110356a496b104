//! What an event says of an alert: which one it is, and what of it is shown.

use super::{Identity, Sample};
use crate::{
    event::{Event, Expected, Other, Verdict},
    words,
};

impl Identity {
    /// Of the one alert that stands for all those past `max_active`. No namespace has an empty
    /// name, so no other alert is taken for it.
    pub const OVERFLOW: Self = Self {
        netns: String::new(),
        verdict: Verdict::Misdirected,
        reason: None,
        service: None,
        expected: None,
        listener: None,
    };

    /// Whether it is [`Identity::OVERFLOW`]: its fields say nothing, and its alert counts the
    /// SYNs that have no alert of their own.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        *self == Self::OVERFLOW
    }

    /// The alert that such a SYN belongs to.
    pub(super) fn of(event: &Event) -> Self {
        let expected = event.expected.as_deref();
        let service = expected.and_then(|expected| expected.service.as_deref());
        Self {
            netns: words::namespace(&event.netns).into_owned(),
            verdict: event.verdict,
            reason: event.reason,
            service: service.map(str::to_owned),
            expected: expected.and_then(place),
            listener: event.listener.as_ref().map(words::bound),
        }
    }
}

/// Where the expected listener is bound, or was.
pub(super) fn place(expected: &Expected) -> Option<String> {
    let Other {
        address,
        port,
        device,
        ..
    } = expected.listener.as_ref()?;
    Some(words::bound_at(*address, *port, device.as_deref()))
}

impl Sample {
    pub(super) fn of(event: &Event) -> Self {
        let expected = event.expected.as_ref();
        let expected = expected.and_then(|expected| expected.listener.as_ref());
        let owners = event.listener.as_ref().map(|listener| &listener.owners);
        Self {
            time: event.time,
            client: event.client,
            destination: event.destination,
            owners: owners.cloned().unwrap_or_default(),
            expected_owners: expected
                .map(|other| other.owners.clone())
                .unwrap_or_default(),
            expected_closed: expected.and_then(|other| other.closed),
        }
    }
}
