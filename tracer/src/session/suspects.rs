//! Keeps what the programs know to be right up to date with the pipeline, and takes what they
//! counted.
//!
//! They are told of a listener when it was met, by the record of a SYN. When anything changes at
//! its port they are told anew, and to write one more record: so it is known how its SYNs come
//! there.

use std::collections::hash_map::Entry;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    judge::right::Right,
    pipeline::{Pipeline, Unrecorded},
    probes::rights::Rights,
};

/// Where the programs read what is right, and count.
pub(super) trait Tell {
    /// [`Rights::generation`]
    fn generation(&self, port: u16) -> u64;
    /// [`Rights::doubt`]
    fn doubt(&self, port: u16);
    /// [`Rights::set`]
    fn set(&self, stamp: u64, generation: u64, right: Option<&Right>);
    /// [`Rights::record_next`]
    fn record_next(&self, stamp: u64);
    /// [`Rights::counted`]
    fn counted(&self, stamp: u64) -> [u64; 2];
    /// [`Rights::leave`]
    fn leave(&self, stamp: u64) -> [u64; 2];
    /// [`Rights::refused`]
    fn refused(&self, port: u16) -> u64;
    /// [`Rights::count_refused`]
    fn count_refused(&self, port: u16, netns: u32);
}

impl Tell for Rights {
    fn generation(&self, port: u16) -> u64 {
        self.generation(port)
    }

    fn doubt(&self, port: u16) {
        self.doubt(port);
    }

    fn set(&self, stamp: u64, generation: u64, right: Option<&Right>) {
        self.set(stamp, generation, right);
    }

    fn record_next(&self, stamp: u64) {
        self.record_next(stamp);
    }

    fn counted(&self, stamp: u64) -> [u64; 2] {
        self.counted(stamp)
    }

    fn leave(&self, stamp: u64) -> [u64; 2] {
        self.leave(stamp)
    }

    fn refused(&self, port: u16) -> u64 {
        self.refused(port)
    }

    fn count_refused(&self, port: u16, netns: u32) {
        self.count_refused(port, netns);
    }
}

/// What the programs are told, as of when, and what they counted so far.
pub(super) struct Told<T> {
    programs: T,
    /// Listeners that they may be told of, with the generations of their ports before the batch
    /// at hand was read: what led to these is in it, or was before.
    noted: FxHashMap<u64, Noted>,
    /// Listeners that they were told of.
    listeners: FxHashMap<u64, Known>,
    /// Ports where they count refused SYNs.
    refused: FxHashMap<u16, Refused>,
    /// Ports of which there is a record of each SYN, whatever is right.
    held: FxHashSet<u16>,
    /// When there was to be one more record of each listener last.
    renewed_ns: u64,
}

#[derive(Clone, Copy)]
struct Noted {
    port: u16,
    generation: u64,
    /// There was no SYN since something changed.
    is_unseen: bool,
}

struct Known {
    port: u16,
    /// As of which they were told last.
    generation: u64,
    /// What was taken of their counts.
    taken: [u64; 2],
    /// There are counts since they were last told.
    counts: bool,
}

struct Refused {
    netns: u32,
    /// What was taken of the count.
    taken: u64,
    /// When there were counts last, or it began, in nanoseconds of `CLOCK_MONOTONIC`.
    last_ns: u64,
}

/// How often there is a record again of a listener whose SYNs are counted.
const RENEW_NS: u64 = 10_000_000_000;

/// Refused SYNs to a port are counted until none came for so long.
const REFUSED_STAYS_NS: u64 = 15 * 60 * 1_000_000_000;

impl Told<Rights> {
    /// Where there is something to be told; the pipeline knows then.
    pub(super) fn of(pipeline: &mut Pipeline, rights: Option<Rights>) -> Option<Self> {
        if rights.is_some() {
            pipeline.expect_suspects();
        }
        rights.map(Self::new)
    }
}

impl<T: Tell> Told<T> {
    fn new(programs: T) -> Self {
        Self {
            programs,
            noted: FxHashMap::default(),
            listeners: FxHashMap::default(),
            refused: FxHashMap::default(),
            held: FxHashSet::default(),
            renewed_ns: 0,
        }
    }

    /// Whether there are listeners that the programs can be told of after one more batch.
    pub(super) fn is_behind(&self, pipeline: &mut Pipeline) -> bool {
        let Some(suspects) = pipeline.suspects() else {
            return false;
        };
        let mut seen = suspects.seen().iter();
        !suspects.changed().is_empty() || seen.any(|(&stamp, &port)| self.is_untold(stamp, port))
    }

    fn is_untold(&self, stamp: u64, port: u16) -> bool {
        let known = self.listeners.get(&stamp);
        let is_told = known.is_some_and(|known| known.generation == self.programs.generation(port));
        !is_told && !self.held.contains(&port)
    }

    /// To be called before a batch is read.
    pub(super) fn note(&mut self, pipeline: &mut Pipeline) {
        let Some(suspects) = pipeline.suspects() else {
            return;
        };
        let changed = suspects.take_changed();
        // Nearly always nothing changed, and there may be thousands.
        let known = (!changed.is_empty()).then_some(&self.listeners);
        let known = known.into_iter().flatten();
        let known = known.map(|(&stamp, known)| (stamp, known.port, true));
        let known = known.filter(|(_, port, _)| changed.contains(port));
        let seen = suspects.take_seen().into_iter();
        let seen = seen.map(|(stamp, port)| (stamp, port, false));
        let untold = known
            .chain(seen)
            .filter(|&(stamp, port, _)| self.is_untold(stamp, port));
        let noted = untold.map(|(stamp, port, is_unseen)| {
            let noted = Noted {
                port,
                generation: self.programs.generation(port),
                is_unseen,
            };
            (stamp, noted)
        });
        self.noted = noted.collect();
    }

    /// To be called when all of the batch was taken in.
    pub(super) fn tell(&mut self, pipeline: &mut Pipeline, now_ns: u64) {
        let Some(suspects) = pipeline.suspects() else {
            return;
        };
        for port in suspects.take_doubted() {
            self.programs.doubt(port);
        }
        for (netns, port) in suspects.take_refused() {
            self.count_refused(netns, port, now_ns);
        }
        let mut stamps = FxHashMap::default();
        for (&stamp, noted) in &self.noted {
            if !suspects.changed().contains(&noted.port) {
                stamps.insert(stamp, noted.port);
            } else if !noted.is_unseen {
                suspects.put_back(stamp, noted.port);
            }
        }
        for (stamp, right) in pipeline.rights(&stamps) {
            let Noted {
                port,
                generation,
                is_unseen,
            } = self.noted[&stamp];
            if is_unseen {
                self.programs.record_next(stamp);
            }
            self.programs.set(stamp, generation, right.as_ref());
            let known = self.listeners.entry(stamp).or_insert(Known {
                port,
                generation,
                taken: [0; 2],
                counts: false,
            });
            known.generation = generation;
        }
        self.noted.clear();
    }

    fn count_refused(&mut self, netns: u32, port: u16, now_ns: u64) {
        // Of another namespace there goes on to be a record of each.
        if let Entry::Vacant(place) = self.refused.entry(port) {
            place.insert(Refused {
                netns,
                taken: self.programs.refused(port),
                last_ns: now_ns,
            });
            self.programs.count_refused(port, netns);
        }
    }

    /// From now on there is a record of each SYN to these ports, and of no other ones for that.
    pub(super) fn hold(&mut self, ports: FxHashSet<u16>) {
        for &port in ports.difference(&self.held) {
            self.programs.doubt(port);
        }
        self.held = ports;
    }

    /// Whether it is time for [`Told::counts`], whoever wants to know them.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.renewed_ns) >= RENEW_NS
    }

    /// What was counted since this was last asked. Every ten seconds at most it also has one more
    /// SYN recorded of each listener that was given some that were not: how they come there may
    /// have changed.
    pub(super) fn counts(&mut self, now_ns: u64) -> Vec<Unrecorded> {
        let mut counts = Vec::new();
        for (&stamp, known) in &mut self.listeners {
            let now = self.programs.counted(stamp);
            if now != known.taken {
                known.counts = true;
                counts.push(given(stamp, now, known.taken));
                known.taken = now;
            }
        }
        for (&port, refused) in &mut self.refused {
            let now = self.programs.refused(port);
            if now != refused.taken {
                refused.last_ns = now_ns;
                counts.push(Unrecorded::Refused {
                    netns: refused.netns,
                    port,
                    syns: now.wrapping_sub(refused.taken),
                });
                refused.taken = now;
            }
        }
        if self.is_due(now_ns) {
            self.renew(now_ns);
        }
        counts
    }

    /// As [`Told::counts`] says. And refused SYNs are counted no longer where none come.
    fn renew(&mut self, now_ns: u64) {
        self.renewed_ns = now_ns;
        for (&stamp, known) in &mut self.listeners {
            if std::mem::take(&mut known.counts) {
                self.programs.record_next(stamp);
            }
        }
        let programs = &self.programs;
        self.refused.retain(|&port, refused| {
            let stays = now_ns.saturating_sub(refused.last_ns) < REFUSED_STAYS_NS;
            if !stays {
                programs.count_refused(port, 0);
            }
            stays
        });
    }

    /// SYNs of a listener that the programs counted, all told.
    pub(super) fn counted(&self, stamp: u64) -> u64 {
        self.programs.counted(stamp).iter().sum()
    }

    /// No SYN can reach a listener any more: the last of what was counted of it.
    pub(super) fn left(&mut self, stamp: u64) -> Option<Unrecorded> {
        let known = self.listeners.remove(&stamp)?;
        let last = self.programs.leave(stamp);
        (last != known.taken).then(|| given(stamp, last, known.taken))
    }
}

fn given(stamp: u64, now: [u64; 2], before: [u64; 2]) -> Unrecorded {
    Unrecorded::Given {
        stamp,
        ipv4: now[0].wrapping_sub(before[0]),
        ipv6: now[1].wrapping_sub(before[1]),
    }
}

#[cfg(test)]
mod tests;
