//! Of which listeners each SYN has to be looked at, and of which only some: what the programs are
//! told, so that they write no record of a SYN that cannot be an alert.

use rustc_hash::{FxHashMap, FxHashSet};
use sockpick_ebpf::abi::{Listener, MAX_LISTENERS, SynRecord};

use crate::judge::{self, rules::Bound};

/// What records said of listeners since the programs were told of them.
#[derive(Debug, Default)]
pub struct Suspects {
    /// Those that the programs know, by stamp.
    listeners: FxHashMap<u64, Bound>,
    /// Stamps of listeners that a SYN was given to, with their ports.
    seen: FxHashMap<u64, u16>,
    /// Ports where somebody came or went since a batch was begun.
    changed: FxHashSet<u16>,
    /// Ports whose listeners are others than the programs can know.
    doubted: FxHashSet<u16>,
    /// Namespaces and ports where nobody got a SYN.
    refused: FxHashSet<(u32, u16)>,
}

impl Suspects {
    /// There is a record of a SYN.
    pub(super) fn syn(&mut self, record: &SynRecord) {
        if record.has_listener == 0 {
            let port = u16::from_be(record.destination_port_be);
            self.refused.insert((record.netns, port));
            return;
        }
        let listener = &record.listener;
        if !self.listeners.contains_key(&listener.stamp) {
            if !self.meet(listener) {
                return;
            }
            self.doubted.insert(listener.port);
        }
        self.seen.insert(listener.stamp, listener.port);
    }

    pub(super) fn opened(&mut self, listener: &Listener) {
        self.changed.insert(listener.port);
        self.meet(listener);
    }

    /// Whether SYNs of it may be said to be right.
    fn meet(&mut self, listener: &Listener) -> bool {
        // Past that the programs give a listener another name with each SYN.
        let has_room = self.listeners.len() < MAX_LISTENERS as usize;
        if has_room && listener.closed == 0 {
            self.listeners
                .insert(listener.stamp, judge::bound(listener));
        }
        has_room && listener.closed == 0
    }

    pub(super) fn closed(&mut self, listener: &Listener) {
        self.changed.insert(listener.port);
        self.left(listener);
    }

    pub(super) fn left(&mut self, listener: &Listener) {
        self.listeners.remove(&listener.stamp);
        self.seen.remove(&listener.stamp);
    }

    /// Nothing is known to be right any more.
    pub(super) fn redrawn(&mut self) {
        let ports = self.listeners.values().map(|bound| bound.port);
        self.doubted.extend(ports);
    }

    /// Listeners that a SYN was given to since they were last taken: stamps and ports.
    #[must_use]
    pub fn seen(&self) -> &FxHashMap<u64, u16> {
        &self.seen
    }

    /// Takes them.
    pub fn take_seen(&mut self) -> FxHashMap<u64, u16> {
        std::mem::take(&mut self.seen)
    }

    /// Takes the ports where somebody came or went. A batch begins: what changes from here on
    /// changes in it.
    pub fn take_changed(&mut self) -> FxHashSet<u16> {
        std::mem::take(&mut self.changed)
    }

    /// They could not be told of yet.
    pub fn put_back(&mut self, stamp: u64, port: u16) {
        self.seen.insert(stamp, port);
    }

    /// Takes the ports whose listeners are to be found right anew.
    pub fn take_doubted(&mut self) -> FxHashSet<u16> {
        let doubted = std::mem::take(&mut self.doubted);
        self.changed.extend(&doubted);
        doubted
    }

    /// Where those of these listeners are bound that the programs know.
    pub(super) fn bound(&self, stamps: &FxHashMap<u64, u16>) -> impl Iterator<Item = (u64, Bound)> {
        let bound = |stamp| Some((stamp, *self.listeners.get(&stamp)?));
        stamps.keys().copied().filter_map(bound)
    }

    /// Takes the namespaces and ports where nobody got a SYN.
    pub fn take_refused(&mut self) -> FxHashSet<(u32, u16)> {
        std::mem::take(&mut self.refused)
    }

    /// Ports where somebody came or went since a batch was begun.
    #[must_use]
    pub fn changed(&self) -> &FxHashSet<u16> {
        &self.changed
    }
}
