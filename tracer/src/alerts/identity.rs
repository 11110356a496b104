//! What an event says of an alert: which one it is, and what of it is shown.

use super::alert::{Alert, Evidence, Identity, Sample, Situation};
use crate::{
    event::{Event, Expected, Other},
    words,
};

impl Identity {
    /// Those of which there is one. Each may last beside as many as may last at once.
    pub(super) const BESIDE: [Self; 3] = [Self::Overflow, Self::Blind, Self::Untraced];

    /// How the SYNs go wrong; `None`: it is no such alert, or stands for many.
    #[must_use]
    pub fn situation(&self) -> Option<&Situation> {
        match self {
            Self::Syns(situation) => Some(situation),
            Self::Overflow | Self::Blind | Self::Untraced | Self::Finding(_) | Self::Group(_) => {
                None
            }
        }
    }
}

impl Alert {
    /// The last SYN, if it is about SYNs.
    #[must_use]
    pub fn sample(&self) -> Option<&Sample> {
        match &self.evidence {
            Evidence::Syn(sample) => Some(sample),
            Evidence::Check(_) | Evidence::Finding(_) | Evidence::Group(_) => None,
        }
    }
}

impl Situation {
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
            ifname: event.deciding_ifname().cloned(),
        }
    }
}
