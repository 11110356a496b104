//! Which listener the SYN of a connection got, for hand-overs that come after it.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};

use sockpick_ebpf::abi::{HandoverRecord, SynRecord};

/// SYNs remembered; past that the oldest is forgotten, and a hand-over of its connection is
/// told only if it is an alert.
const MOST: usize = 16_384;

/// Namespace, client and destination.
type Key = (u32, [u8; 16], u16, [u8; 16], u16);

/// What is remembered of a SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// `listener.id`; 0 without a listener.
    pub(super) listener: u64,
    ifindex: u32,
    sdif: u32,
    steer: u8,
}

/// The last SYNs.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Peers choose the keys: the standard hash withstands that.
    known: HashMap<Key, Flow>,
    oldest: VecDeque<Key>,
}

impl Flows {
    /// A SYN got its listener.
    pub(super) fn syn(&mut self, record: &SynRecord) {
        let key = (
            record.netns,
            record.client,
            record.client_port_be,
            record.destination,
            record.destination_port_be,
        );
        let flow = Flow {
            listener: record.listener.stamp,
            ifindex: record.ifindex,
            sdif: record.sdif,
            steer: record.steer,
        };
        // A retransmission keeps the place of the first.
        if self.known.insert(key, flow).is_some() {
            return;
        }
        if self.oldest.len() >= MOST
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.oldest.push_back(key);
    }

    /// The SYN of a connection that was handed over.
    pub(super) fn of(&self, record: &HandoverRecord) -> Option<Flow> {
        let key = (
            record.netns,
            record.client,
            record.client_port_be,
            record.destination,
            record.destination_port_be,
        );
        self.known.get(&key).copied()
    }
}

impl Flow {
    /// What only the SYN's record knew.
    pub(super) fn record(self) -> SynRecord {
        SynRecord {
            ifindex: self.ifindex,
            sdif: self.sdif,
            steer: self.steer,
            ..SynRecord::default()
        }
    }

    /// Of a connection whose SYN is not remembered: as if it came through the listener's device.
    pub(super) fn unknown(record: &HandoverRecord) -> Self {
        Self {
            ifindex: record.bound_dev_if,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(nth: usize) -> SynRecord {
        let mut record = SynRecord {
            netns: 1,
            ..SynRecord::default()
        };
        record.client[..8].copy_from_slice(&nth.to_ne_bytes());
        record.listener.stamp = nth as u64 + 1;
        record
    }

    #[test]
    fn the_oldest_is_forgotten_and_the_last_listener_counts() {
        let mut flows = Flows::default();
        for nth in 0..=MOST {
            flows.syn(&syn(nth));
        }
        let of = |flows: &Flows, nth| {
            let SynRecord { netns, client, .. } = syn(nth);
            flows.of(&HandoverRecord {
                netns,
                client,
                ..HandoverRecord::default()
            })
        };
        assert_eq!(of(&flows, 0), None);
        assert_eq!(
            of(&flows, MOST).map(|flow| flow.listener),
            Some(MOST as u64 + 1)
        );
        let mut again = syn(5);
        again.listener.stamp = 99;
        flows.syn(&again);
        assert_eq!(of(&flows, 5).map(|flow| flow.listener), Some(99));
        assert_eq!((flows.known.len(), flows.oldest.len()), (MOST, MOST));
    }
}
