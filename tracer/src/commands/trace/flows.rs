//! Which listener the SYN of a connection got, for hand-overs that come after it.
#![forbid(unsafe_code)]

use std::hash::BuildHasher as _;

use rustc_hash::{FxBuildHasher, FxHashMap};
use sockpick_ebpf::abi::{HandoverRecord, SynRecord};

/// Places for SYNs. Where two fall on one, the later has it, and a hand-over of the earlier's
/// connection is told only if it is an alert: whoever chooses his ports to that end wins no
/// more, and makes nothing slow.
const PLACES: u64 = 16_384;

/// Address and port.
type Side = ([u8; 16], u16);
/// Namespace, client and destination.
type Key = (u32, Side, Side);

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
    places: FxHashMap<u64, (Key, Flow)>,
}

impl Flows {
    /// A SYN got its listener.
    pub(super) fn syn(&mut self, record: &SynRecord) {
        let client = (record.client, record.client_port_be);
        let destination = (record.destination, record.destination_port_be);
        let key = (record.netns, client, destination);
        let flow = Flow {
            listener: record.listener.stamp,
            ifindex: record.ifindex,
            sdif: record.sdif,
            steer: record.steer,
        };
        self.places.insert(place(&key), (key, flow));
    }

    /// The SYN of a connection that was handed over.
    pub(super) fn of(&self, record: &HandoverRecord) -> Option<Flow> {
        let client = (record.client, record.client_port_be);
        let destination = (record.destination, record.destination_port_be);
        let wanted = (record.netns, client, destination);
        let (key, flow) = self.places.get(&place(&wanted))?;
        (*key == wanted).then_some(*flow)
    }
}

fn place(key: &Key) -> u64 {
    FxBuildHasher.hash_one(key) % PLACES
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

    fn of(flows: &Flows, nth: usize) -> Option<u64> {
        let SynRecord { netns, client, .. } = syn(nth);
        let record = HandoverRecord {
            netns,
            client,
            ..HandoverRecord::default()
        };
        flows.of(&record).map(|flow| flow.listener)
    }

    #[test]
    fn a_later_syn_counts_and_no_other_is_taken_for_it() {
        let mut flows = Flows::default();
        let all = 4 * PLACES as usize;
        for nth in 0..all {
            flows.syn(&syn(nth));
            assert_eq!(of(&flows, nth), Some(nth as u64 + 1));
        }
        assert!(flows.places.len() as u64 <= PLACES);
        let known = (0..all).filter(|&nth| match of(&flows, nth) {
            Some(listener) => listener == nth as u64 + 1,
            None => false,
        });
        assert_eq!(known.count(), flows.places.len());
        // Few fall on one place.
        assert!(flows.places.len() as u64 > PLACES / 2);
        let mut again = syn(all - 1);
        again.listener.stamp = 99;
        flows.syn(&again);
        assert_eq!(of(&flows, all - 1), Some(99));
    }
}
