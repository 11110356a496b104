//! What became of the SYNs, in numbers: of all that were judged, or of those that an outlet
//! showed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::{Listener, SynRecord};

use super::output::Gone;
use crate::{
    event::{Event, Handover, Netns, Queue, Reason, Reuseport, Verdict, Why},
    judge::Limit,
};

/// Most closed listeners that have a tally of their own; past that the one that closed first is
/// in a sum only.
pub(crate) const MOST_CLOSED: usize = 4096;

/// Most listeners that have a tally: past what the programs remember, each SYN seems to have
/// one of its own.
pub(crate) const MOST_TALLIES: usize = 32_768;

/// Most programs that are named.
const MOST_PROGRAMS: usize = 16;

/// Counts since the session began.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// SYNs.
    pub syns: u64,
    /// By verdict and cause; hand-overs that are alerts are among them.
    pub verdicts: BTreeMap<(Verdict, Option<Reason>), u64>,
    /// SYNs that nobody got.
    pub refused: u64,
    /// SYNs that a full accept queue dropped.
    pub overflowed: u64,
    /// SYNs that were dropped between their lookup and the listener.
    pub not_taken: u64,
    /// Connections that came to another listener than their SYN, by how.
    pub handovers: BTreeMap<Why, u64>,
    /// Programs that were attached where SYNs were steered: id and name.
    pub programs: BTreeMap<u32, String>,
    /// Listeners that were given SYNs, by `listener.id`.
    pub listeners: FxHashMap<u64, Tally>,
    /// SYNs of listeners that there was no room for.
    pub untallied: u64,
    /// Listeners that closed too long ago for a tally of their own.
    pub long_gone: LongGone,
    /// Of the tallies, those of closed listeners, in that order.
    closed: VecDeque<u64>,
}

/// What one listening socket got.
#[derive(Clone, Debug)]
pub struct Tally {
    /// As the kernel told of it last.
    pub listener: Listener,
    /// Its namespace.
    pub netns: Arc<Netns>,
    /// Interface that it was bound to when the first SYN came.
    pub device: Option<Arc<str>>,
    /// Its group, as of the last SYN.
    pub group: Option<Reuseport>,
    /// Its accept queue, as of the last SYN.
    pub queue: Queue,
    /// Who held it when it closed, as it is to be shown.
    pub owner: Option<Arc<str>>,
    /// SYNs.
    pub syns: u64,
    /// Kernel time of the last one.
    pub last_ns: u64,
}

/// Sums over listeners that have no tally any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongGone {
    /// How many.
    pub listeners: u64,
    /// Their SYNs in this account.
    pub syns: u64,
    /// Their SYNs by the kernel's count.
    pub counted: u64,
}

impl Account {
    /// A SYN got its event.
    pub fn syn(&mut self, event: &Event, record: &SynRecord) {
        self.syns += 1;
        self.verdict(event);
        self.not_taken += u64::from(record.dropped);
        match &event.listener {
            None => self.refused += 1,
            Some(listener) => self.overflowed += u64::from(listener.queue.is_full()),
        }
        for program in event.steered_by.iter().flat_map(|all| all.iter()) {
            if self.programs.len() < MOST_PROGRAMS && !self.programs.contains_key(&program.id) {
                self.programs.insert(program.id, program.name.clone());
            }
        }
        self.tally(event, record);
    }

    fn tally(&mut self, event: &Event, record: &SynRecord) {
        let Some(listener) = &event.listener else {
            return;
        };
        let id = record.listener.stamp;
        if let Some(tally) = self.listeners.get_mut(&id) {
            if !Arc::ptr_eq(&tally.netns, &event.netns) {
                tally.netns = event.netns.clone();
            }
            tally.group = event.reuseport;
            tally.queue = listener.queue;
            tally.syns += 1;
            tally.last_ns = record.ktime_ns;
            return;
        }
        if self.listeners.len() >= MOST_TALLIES {
            self.untallied += 1;
            return;
        }
        let tally = Tally {
            listener: record.listener,
            netns: event.netns.clone(),
            device: listener.device.clone(),
            group: event.reuseport,
            queue: listener.queue,
            owner: None,
            syns: 1,
            last_ns: record.ktime_ns,
        };
        self.listeners.insert(id, tally);
    }

    /// A connection came to another listener than its SYN.
    pub fn handover(&mut self, handover: &Handover) {
        *self.handovers.entry(handover.why).or_default() += 1;
        if handover.event.verdict.is_alert() {
            self.verdict(&handover.event);
        }
    }

    fn verdict(&mut self, event: &Event) {
        let key = (event.verdict, event.reason);
        *self.verdicts.entry(key).or_default() += 1;
    }

    /// A listener closed, and no SYN can reach it any more.
    pub fn gone(&mut self, gone: &Gone) {
        let id = gone.last.stamp;
        if let Some(tally) = self.listeners.get_mut(&id) {
            tally.listener = gone.last;
            tally.listener.closed = 1;
            tally.owner = Some(gone.owner.clone());
            self.closed.push_back(id);
        }
        if self.closed.len() > MOST_CLOSED
            && let Some(first) = self.closed.pop_front()
            && let Some(tally) = self.listeners.remove(&first)
        {
            self.long_gone.listeners += 1;
            self.long_gone.syns += tally.syns;
            self.long_gone.counted += tally.listener.syns;
        }
    }

    /// Takes in what the kernel counted for these listeners.
    pub fn counted(&mut self, listeners: &[Listener]) {
        for listener in listeners {
            if let Some(tally) = self.listeners.get_mut(&listener.stamp) {
                tally.listener = *listener;
            }
        }
    }

    /// The tallies; beyond are SYNs that are in none.
    #[must_use]
    pub fn tallies(&self) -> Limit {
        Limit {
            holds: self.listeners.len(),
            most: MOST_TALLIES,
            beyond: self.untallied,
        }
    }

    /// The tallies of closed listeners.
    #[must_use]
    pub fn closed(&self) -> Limit {
        Limit {
            holds: self.closed.len(),
            most: MOST_CLOSED,
            beyond: self.long_gone.listeners,
        }
    }
}
