//! Which listener the SYN of a connection got, for hand-overs that come after it.
#![forbid(unsafe_code)]

use std::hash::BuildHasher as _;

use rustc_hash::FxBuildHasher;
use sockpick_ebpf::abi::{HandoverRecord, SynRecord};

/// Rows for SYNs, and places in each: a hash names the row, and the latest of a row are
/// remembered. A hand-over of a connection that is not is told only if it is an alert: whoever
/// chooses his ports to that end wins no more, and makes nothing slow.
const ROWS: usize = 4096;
const PLACES: usize = 4;

/// Address and port.
type Side = ([u8; 16], u16);
/// Namespace, client and destination.
type Key = (u32, Side, Side);

/// What is remembered of a SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// `listener.id`; 0 without a listener.
    pub(super) listener: u64,
    /// The one that was told last to have the connection.
    pub(super) last: u64,
    ifindex: u32,
    sdif: u32,
    steer: u8,
}

/// The latest SYNs of a row.
#[derive(Debug, Default)]
struct Row {
    places: [Option<(Key, Flow)>; PLACES],
    next: usize,
}

/// The last SYNs.
#[derive(Debug)]
pub(super) struct Flows {
    /// A row has memory once it has a SYN.
    rows: Box<[Option<Box<Row>>]>,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            rows: std::iter::repeat_with(|| None).take(ROWS).collect(),
        }
    }
}

impl Flows {
    /// A SYN got its listener.
    pub(super) fn syn(&mut self, record: &SynRecord) {
        let client = side(record.client, record.client_port_be);
        let destination = side(record.destination, record.destination_port_be);
        let key = (record.netns, client, destination);
        let flow = Flow {
            listener: record.listener.stamp,
            last: record.listener.stamp,
            ifindex: record.ifindex,
            sdif: record.sdif,
            steer: record.steer,
        };
        self.rows[row(&key)].get_or_insert_default().put(key, flow);
    }

    /// The SYN of a connection that was handed over, as it was before; from now on that is known.
    pub(super) fn handed_over(&mut self, record: &HandoverRecord) -> Option<Flow> {
        let client = side(record.client, record.client_port_be);
        let destination = side(record.destination, record.destination_port_be);
        let wanted = (record.netns, client, destination);
        let row = self.rows[row(&wanted)].as_mut()?;
        let mut places = row.places.iter_mut().flatten();
        let (_, flow) = places.find(|(key, _)| *key == wanted)?;
        let before = *flow;
        flow.last = record.listener.stamp;
        Some(before)
    }
}

impl Row {
    /// In the place of an earlier SYN of the connection, or of the earliest.
    fn put(&mut self, key: Key, flow: Flow) {
        let is_same =
            |place: &Option<(Key, Flow)>| place.as_ref().is_some_and(|(other, _)| *other == key);
        let at = self.places.iter().position(is_same).unwrap_or_else(|| {
            let at = self.next;
            self.next = (at + 1) % PLACES;
            at
        });
        self.places[at] = Some((key, flow));
    }
}

fn side(address: [u8; 16], port_be: u16) -> Side {
    (address, port_be)
}

fn row((netns, client, destination): &Key) -> usize {
    // A number is hashed at once, an address byte by byte.
    let side = |(address, port_be): &Side| (u128::from_ne_bytes(*address), *port_be);
    let key = (netns, side(client), side(destination));
    FxBuildHasher.hash_one(key) as usize % ROWS
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

    fn of(flows: &mut Flows, nth: usize) -> Option<u64> {
        let SynRecord { netns, client, .. } = syn(nth);
        let record = HandoverRecord {
            netns,
            client,
            ..HandoverRecord::default()
        };
        flows.handed_over(&record).map(|flow| flow.listener)
    }

    #[test]
    fn the_latest_syns_are_remembered_and_no_other_is_taken_for_one() {
        let mut flows = Flows::default();
        let most = ROWS * PLACES;
        let all = 4 * most;
        for nth in 0..all {
            flows.syn(&syn(nth));
            assert_eq!(of(&mut flows, nth), Some(nth as u64 + 1));
        }
        for nth in 0..all {
            let listener = of(&mut flows, nth);
            assert!(listener.is_none_or(|listener| listener == nth as u64 + 1));
        }
        // Rows fill evenly: of the last quarter, all but one in a hundred are there.
        let last = all - most / 4..all;
        let known = last.clone().filter(|&nth| of(&mut flows, nth).is_some());
        assert!(known.count() > last.len() * 99 / 100);
    }

    #[test]
    fn who_was_told_last_to_have_a_connection_is_known() {
        let mut flows = Flows::default();
        flows.syn(&syn(7));
        let SynRecord { netns, client, .. } = syn(7);
        let mut handover = |stamp| {
            let mut record = HandoverRecord {
                netns,
                client,
                ..HandoverRecord::default()
            };
            record.listener.stamp = stamp;
            let flow = flows.handed_over(&record).expect("it is remembered");
            (flow.listener, flow.last)
        };
        assert_eq!(handover(20), (8, 8));
        assert_eq!(
            handover(20),
            (8, 20),
            "once more, as after a SYN sent again"
        );
        assert_eq!(handover(30), (8, 20));
    }

    #[test]
    fn a_connection_has_one_place_however_often_its_syn_comes() {
        let mut flows = Flows::default();
        for listener in 1..=99 {
            let mut again = syn(7);
            again.listener.stamp = listener;
            flows.syn(&again);
        }
        assert_eq!(of(&mut flows, 7), Some(99));
        let row = flows.rows.iter().flatten().next().expect("a row");
        assert_eq!(row.places.iter().flatten().count(), 1);
    }
}
