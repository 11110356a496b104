//! The latest SYN of each listener, for each process that accepted last: workers take turns. One
//! that is like it gets the same event, but for when, where and from whom it came: nothing is
//! asked and judged anew.
#![forbid(unsafe_code)]

use std::{slice, sync::Arc};

use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::{Listener, SynRecord};

use super::output::Output;
use crate::{
    event::{Event, Queue, Time, Verdict},
    judge,
};

/// Most SYNs remembered; past that memory starts afresh, which costs looks and changes nothing.
const MOST: usize = 4096;

/// As of which answers of the machine, and as of which listeners and expectations.
pub(super) type AsOf = (u64, u64);

/// Which SYNs are held against each other: those of one listener, after the same process
/// accepted.
pub(super) type Name = (u64, u32);

#[inline]
pub(super) fn name(record: &SynRecord) -> Name {
    (record.listener.stamp, record.listener.accept_pid)
}

/// The latest SYNs, by `listener.id`.
#[derive(Debug, Default)]
pub(super) struct Latest {
    syns: FxHashMap<u64, Vec<Syn>>,
    /// How many there are.
    count: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Syn {
    name: Name,
    /// An [`Output::Syn`]; a slice, as that is what is given out.
    output: [Output; 1],
    as_of: AsOf,
    /// What is said of it holds for those that are like it; `None` until one came.
    is_lasting: Option<bool>,
}

impl Latest {
    /// The latest by that name, if this one is like it. This one is to become the latest, either
    /// by [`Syn::again`] or by [`Latest::keep`].
    #[inline]
    pub(super) fn like(&mut self, record: &SynRecord, as_of: AsOf) -> Option<&mut Syn> {
        let syns = self.syns.get_mut(&record.listener.stamp)?;
        let name = name(record);
        let syn = syns.iter_mut().find(|syn| syn.name == name)?;
        (syn.as_of == as_of && syn.is_like(record)).then_some(syn)
    }

    /// This was said of the latest. `is_settled`: as [`Enricher::is_settled`] has it now.
    ///
    /// [`Enricher::is_settled`]: super::Enricher::is_settled
    pub(super) fn keep(
        &mut self,
        event: Event,
        record: &SynRecord,
        as_of: AsOf,
        is_settled: bool,
    ) -> Name {
        if self.count >= MOST {
            self.syns.clear();
            self.count = 0;
        }
        let name = name(record);
        let syns = self.syns.entry(record.listener.stamp).or_default();
        let before = syns.len();
        // A process that was not met before may have led to a look who holds the listener.
        syns.retain(|other| {
            let is_other = other.name != name && other.as_of == as_of;
            is_other && is_settled && other.has_owners_of(&event)
        });
        syns.push(Syn {
            name,
            output: [Output::Syn(event, *record)],
            as_of,
            is_lasting: None,
        });
        self.count = self.count + syns.len() - before;
        name
    }

    /// Something else is to be said of the listener's next.
    pub(super) fn forget(&mut self, listener: &Listener) {
        let syns = self.syns.remove(&listener.stamp);
        self.count -= syns.map_or(0, |syns| syns.len());
    }

    /// What was said of the latest by this name.
    pub(super) fn outputs(&self, name: Name) -> slice::Iter<'_, Output> {
        let syns = self.syns.get(&name.0).into_iter().flatten();
        let syn = syns.into_iter().find(|syn| syn.name == name);
        syn.map(|syn| &syn.output[..]).unwrap_or_default().iter()
    }
}

impl Syn {
    /// Whether the other is the same but for what may differ, which is the other's afterwards.
    #[inline]
    fn is_like(&mut self, record: &SynRecord) -> bool {
        let [Output::Syn(_, latest)] = &mut self.output else {
            return false;
        };
        latest.ktime_ns = record.ktime_ns;
        latest.cpu = record.cpu;
        latest.client = record.client;
        latest.client_port_be = record.client_port_be;
        latest.queue_len = record.queue_len;
        latest.listener.syns = record.listener.syns;
        bytemuck::bytes_of(latest) == bytemuck::bytes_of(record) && !queue(record).is_full()
    }

    /// Whether the listener's owners are the same in both.
    fn has_owners_of(&self, event: &Event) -> bool {
        let [Output::Syn(own, _)] = &self.output else {
            return false;
        };
        match (&own.listener, &event.listener) {
            (Some(one), Some(other)) => {
                Arc::ptr_eq(&one.owners, &other.owners) || one.owners == other.owners
            }
            _ => false,
        }
    }

    /// Whether what is said of it holds for those that are like it: it is right, and `holds` says
    /// that this will last.
    pub(super) fn is_lasting(&mut self, holds: impl FnOnce(&SynRecord, &Event) -> bool) -> bool {
        let [Output::Syn(event, record)] = &self.output else {
            return false;
        };
        *self.is_lasting.get_or_insert_with(|| {
            (event.verdict, event.reason) == (Verdict::Ok, None) && holds(record, event)
        })
    }

    /// The event of a SYN that is like it.
    #[inline]
    pub(super) fn again(&mut self, time: Time) -> Option<&Event> {
        let [Output::Syn(event, record)] = &mut self.output else {
            return None;
        };
        event.time = time;
        event.ktime_ns = record.ktime_ns;
        event.cpu = record.cpu;
        event.client.address = judge::packet_address(record.client, record.family);
        event.client.port = u16::from_be(record.client_port_be);
        if let Some(listener) = &mut event.listener {
            listener.queue = queue(record);
        }
        Some(event)
    }
}

fn queue(record: &SynRecord) -> Queue {
    Queue {
        length: record.queue_len,
        limit: record.queue_limit,
    }
}

#[cfg(test)]
mod tests;
