//! Of which listeners each SYN has to be looked at, and of which only some: what the programs are
//! told, so that they write no record of a SYN that cannot be an alert.

use rustc_hash::{FxHashMap, FxHashSet};
use sockpick_ebpf::abi::{Listener, MAX_LISTENERS};

use super::Pipeline;
use crate::judge::{self, right::Right, rules::Bound};

/// Listeners that the programs know, and ports where something changed.
#[derive(Debug, Default)]
pub struct Suspects {
    /// By stamp.
    listeners: FxHashMap<u64, Bound>,
    /// Ports where somebody came or went since they were last taken.
    changed: FxHashSet<u16>,
    /// Ports with SYNs of listeners that were known before.
    seen: FxHashSet<u16>,
    /// Stamps of listeners that no SYN can reach any more.
    gone: Vec<u64>,
}

impl Suspects {
    /// It was given a SYN that there is a record of.
    pub(super) fn syn(&mut self, listener: &Listener) {
        if self.listeners.contains_key(&listener.stamp) {
            self.seen.insert(listener.port);
        } else {
            self.opened(listener);
        }
    }

    pub(super) fn opened(&mut self, listener: &Listener) {
        self.changed.insert(listener.port);
        // Past that the programs give a listener another name with each SYN.
        if self.listeners.len() < MAX_LISTENERS as usize && listener.closed == 0 {
            self.listeners
                .insert(listener.stamp, judge::bound(listener));
        }
    }

    pub(super) fn closed(&mut self, listener: &Listener) {
        self.changed.insert(listener.port);
        self.listeners.remove(&listener.stamp);
    }

    pub(super) fn gone(&mut self, listener: &Listener) {
        self.listeners.remove(&listener.stamp);
        self.gone.push(listener.stamp);
    }

    /// Nothing is known to be right any more.
    pub(super) fn redrawn(&mut self) {
        let ports = self.listeners.values().map(|bound| bound.port);
        self.changed.extend(ports);
    }

    /// Ports with SYNs of which there need be no record, if what the programs know is up to date.
    pub fn seen(&mut self) -> impl Iterator<Item = u16> + use<> {
        std::mem::take(&mut self.seen).into_iter()
    }

    /// It has to be found out anew what is right at a port.
    pub fn doubt(&mut self, port: u16) {
        self.changed.insert(port);
    }

    /// Whether there are ports for [`Suspects::changed`] to give.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Ports where something changed since this was last asked.
    pub fn changed(&mut self) -> FxHashSet<u16> {
        std::mem::take(&mut self.changed)
    }

    /// Stamps of listeners that left for good since this was last asked.
    pub fn left(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone)
    }
}

impl Pipeline {
    /// From now on there are records of SYNs only that may be an alert.
    pub fn expect_suspects(&mut self) {
        self.suspects.get_or_insert_default();
    }

    /// What the programs are to be told; `None`: they tell of every SYN.
    pub fn suspects(&mut self) -> Option<&mut Suspects> {
        self.suspects.as_mut()
    }

    /// Which SYNs are right of the listeners at these ports, but for ports where something
    /// changed again: by stamp, with the port.
    #[must_use]
    pub fn rights(&self, ports: &FxHashSet<u16>) -> Vec<(u64, u16, Option<Right>)> {
        let Some(suspects) = &self.suspects else {
            return Vec::new();
        };
        let ports = ports.difference(&suspects.changed).copied().collect();
        let listeners = suspects.listeners.iter();
        let listeners = listeners.map(|(&stamp, &bound)| (stamp, bound));
        self.assessor.rights(&ports, listeners)
    }
}
