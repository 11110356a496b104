//! Counters that every SYN feeds: bounded, and made once per place, so that a SYN of a known
//! listener costs two look-ups by number and no allocation.

mod place;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::{Listener, SynRecord};

pub(crate) use place::Place;
use place::{AT_FIRST, Room};

use crate::{
    event::{self, Event, Family, Match, Netns, Queue, Reuseport, Via},
    pipeline::{Output, Unrecorded},
    words,
};

/// A place's series leave so long after its last socket closed, in nanoseconds.
const PLACE_STAYS_NS: u64 = 5 * 60 * 1_000_000_000;

/// Those of a refused port leave so long after its last SYN.
const REFUSED_STAYS_NS: u64 = 15 * 60 * 1_000_000_000;

/// How often is looked for what is to leave.
const SWEEP_NS: u64 = 10 * 1_000_000_000;

/// Most sockets that are told from each other: twice what the programs remember. Past it their
/// SYNs are counted all the same, each at the cost of writing down where it went.
const MOST_SOCKETS: usize = 16_384;

/// Most namespaces whose names are kept; past it they are written anew.
const MOST_NAMES: usize = 4096;

/// The series of SYNs.
#[derive(Debug)]
pub struct Series {
    room: Room,
    /// By the listener's stamp.
    sockets: FxHashMap<u64, Socket>,
    places: FxHashMap<u32, Place>,
    by_labels: FxHashMap<(Arc<str>, Arc<str>), u32>,
    next_place: u32,
    /// By namespace and port.
    refused: FxHashMap<(Arc<str>, u16), Refused>,
    names: FxHashMap<u32, (Arc<Netns>, Arc<str>)>,
    swept_ns: u64,
}

/// A listening socket.
#[derive(Clone, Copy, Debug)]
struct Socket {
    /// Where it is bound; `None`: there was no room for it.
    place: Option<u32>,
    queue: Queue,
    /// How its SYNs fit that are not recorded: over IPv4, over IPv6.
    matched: [Match; 2],
    /// What chose it for the last SYN that was.
    via: Via,
    /// Its group then.
    group: Option<Reuseport>,
    last_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    syns: u64,
    last_ns: u64,
}

impl Series {
    /// At most so many that have labels.
    #[must_use]
    pub fn new(max_series: usize) -> Self {
        Self {
            room: Room::new(max_series),
            sockets: FxHashMap::default(),
            places: FxHashMap::default(),
            by_labels: FxHashMap::default(),
            next_place: 0,
            refused: FxHashMap::default(),
            names: FxHashMap::default(),
            swept_ns: 0,
        }
    }

    /// New settings: at most so many from here on. Those that are there stay until they leave.
    pub fn allow(&mut self, max_series: usize) {
        self.room.allow(max_series);
    }

    /// Other programs look from here on: they give sockets other stamps, and what the ones before
    /// knew has closed or is met anew. Places stay as if their last sockets had closed now.
    pub fn anew(&mut self, now_ns: u64) {
        self.sockets.clear();
        for place in self.places.values_mut() {
            place.sockets = 0;
            place.queue = None;
            place.last_ns = now_ns;
        }
    }

    /// Times that something was to be counted and had no room.
    #[must_use]
    pub fn beyond(&self) -> u64 {
        self.room.beyond()
    }

    /// Takes what the pipeline gave. `now_ns`: `CLOCK_MONOTONIC`.
    pub fn take(&mut self, output: &Output, now_ns: u64) {
        match output {
            Output::Syn(event, record) => self.syn(event, record, now_ns),
            Output::Gone(gone) => self.gone(&gone.last, now_ns),
            Output::Unrecorded(syns) => self.unrecorded(*syns, now_ns),
            Output::Handover(_)
            | Output::Lost(_)
            | Output::Health(_)
            | Output::Own(_)
            | Output::Balance(_) => {}
        }
        if now_ns.saturating_sub(self.swept_ns) >= SWEEP_NS {
            self.sweep(now_ns);
        }
    }

    fn syn(&mut self, event: &Event, record: &SynRecord, now_ns: u64) {
        let Some(listener) = &event.listener else {
            let name = self.name(&event.netns);
            self.refuse(name, event.destination.port, 1, now_ns);
            return;
        };
        let place = match self.sockets.get_mut(&record.listener.stamp) {
            Some(socket) => {
                socket.queue = listener.queue;
                socket.via = event.via;
                socket.group = event.reuseport;
                socket.last_ns = now_ns;
                socket.place
            }
            None => self.meet(event, listener, record.listener.stamp, now_ns),
        };
        let Some(place) = place.and_then(|place| self.places.get_mut(&place)) else {
            self.room.missed();
            return;
        };
        place.last_ns = now_ns;
        place.queue = Some(listener.queue);
        place.overflows += u64::from(listener.queue.is_full());
        place.syn((event.matched, event.via), 1, &mut self.room);
        if let Some(group) = event.reuseport {
            place.member(group, 1, &mut self.room);
        }
    }

    /// SYNs without a record come the same way as the last one with one: anything else that comes
    /// or goes at the port has the next one recorded.
    fn unrecorded(&mut self, syns: Unrecorded, now_ns: u64) {
        let (stamp, counts) = match syns {
            Unrecorded::Given { stamp, ipv4, ipv6 } => (stamp, [ipv4, ipv6]),
            Unrecorded::Refused { netns, port, syns } => {
                let name = self.names.get(&netns);
                let name = name.map_or_else(|| netns.to_string().into(), |(_, name)| name.clone());
                self.refuse(name, port, syns, now_ns);
                return;
            }
        };
        let socket = self.sockets.get_mut(&stamp);
        let Some((socket, place)) = socket.and_then(|socket| {
            let place = self.places.get_mut(&socket.place?)?;
            Some((socket, place))
        }) else {
            self.room.missed();
            return;
        };
        socket.last_ns = now_ns;
        place.last_ns = now_ns;
        for (matched, count) in socket.matched.into_iter().zip(counts) {
            if count > 0 {
                place.syn((matched, socket.via), count, &mut self.room);
            }
        }
        if let Some(group) = socket.group {
            place.member(group, counts.iter().sum(), &mut self.room);
        }
    }

    /// A socket's first SYN: finds the place it is bound to, or makes it where there is room.
    fn meet(
        &mut self,
        event: &Event,
        listener: &event::Listener,
        stamp: u64,
        now_ns: u64,
    ) -> Option<u32> {
        let place = self.place(event, listener);
        if self.sockets.len() < MOST_SOCKETS {
            if let Some(place) = place.and_then(|place| self.places.get_mut(&place)) {
                place.sockets += 1;
            }
            let socket = Socket {
                place,
                queue: listener.queue,
                matched: matches(listener),
                via: event.via,
                group: event.reuseport,
                last_ns: now_ns,
            };
            self.sockets.insert(stamp, socket);
        }
        place
    }

    fn place(&mut self, event: &Event, listener: &event::Listener) -> Option<u32> {
        let netns = self.name(&event.netns);
        let labels = (netns, Arc::from(words::bound(listener)));
        if let Some(&place) = self.by_labels.get(&labels) {
            return Some(place);
        }
        if self.room.used() + AT_FIRST > self.room.most() {
            return None;
        }
        self.room.take(AT_FIRST);
        let (netns, bound) = labels.clone();
        let number = self.next_place;
        self.next_place = self.next_place.wrapping_add(1);
        let place = Place::new(netns, bound, listener.queue);
        self.places.insert(number, place);
        self.by_labels.insert(labels, number);
        Some(number)
    }

    fn refuse(&mut self, netns: Arc<str>, port: u16, syns: u64, now_ns: u64) {
        let key = (netns, port);
        if let Some(refused) = self.refused.get_mut(&key) {
            refused.syns += syns;
            refused.last_ns = now_ns;
        } else if self.room.take(1) {
            let first = Refused {
                syns,
                last_ns: now_ns,
            };
            self.refused.insert(key, first);
        }
    }

    /// What a namespace is called; the same number may be another one's later.
    fn name(&mut self, netns: &Arc<Netns>) -> Arc<str> {
        if let Some((known, name)) = self.names.get(&netns.inode)
            && (Arc::ptr_eq(known, netns) || known == netns)
        {
            return name.clone();
        }
        if self.names.len() >= MOST_NAMES {
            self.names.clear();
        }
        let name: Arc<str> = words::namespace(netns).into();
        self.names
            .insert(netns.inode, (netns.clone(), name.clone()));
        name
    }

    /// A listener closed, and no SYN can reach it any more.
    fn gone(&mut self, last: &Listener, now_ns: u64) {
        let socket = self.sockets.remove(&last.stamp);
        let place = socket.and_then(|socket| socket.place);
        if let Some(place) = place.and_then(|place| self.places.get_mut(&place)) {
            place.sockets = place.sockets.saturating_sub(1);
            place.last_ns = now_ns;
        }
    }

    /// Lets go what has been gone for long enough. To be called before each scrape; SYNs do it
    /// too, now and then.
    pub fn sweep(&mut self, now_ns: u64) {
        self.swept_ns = now_ns;
        self.forget_sockets(now_ns);
        let Self {
            room,
            places,
            by_labels,
            refused,
            ..
        } = self;
        places.retain(|_, place| {
            let idle = now_ns.saturating_sub(place.last_ns);
            let stays = place.sockets > 0 || idle < PLACE_STAYS_NS;
            if !stays {
                room.free(place.series());
                by_labels.remove(&(place.netns.clone(), place.listener.clone()));
            }
            stays
        });
        refused.retain(|_, port| {
            let stays = now_ns.saturating_sub(port.last_ns) < REFUSED_STAYS_NS;
            room.free(usize::from(!stays));
            stays
        });
    }

    /// Sockets without a place try again; and where there are too many, those without a recent
    /// SYN are forgotten, as listeners without a lasting name never close.
    fn forget_sockets(&mut self, now_ns: u64) {
        let Self {
            sockets, places, ..
        } = self;
        let is_full = sockets.len() >= MOST_SOCKETS;
        sockets.retain(|_, socket| {
            let is_old = now_ns.saturating_sub(socket.last_ns) >= PLACE_STAYS_NS;
            let Some(place) = socket.place else {
                return false;
            };
            let stays = !(is_full && is_old);
            if !stays && let Some(place) = places.get_mut(&place) {
                place.sockets = place.sockets.saturating_sub(1);
            }
            stays
        });
    }

    /// Each place, with the queue of the fullest socket there, if one is known.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&Place, Option<Queue>)> {
        let mut fullest: FxHashMap<u32, Queue> = FxHashMap::default();
        for socket in self.sockets.values() {
            let Some(place) = socket.place else { continue };
            let known = fullest.entry(place).or_insert(socket.queue);
            if fuller(socket.queue, *known) {
                *known = socket.queue;
            }
        }
        self.places.iter().map(move |(number, place)| {
            let queue = fullest.get(number).copied().or(place.queue);
            (place, queue)
        })
    }

    /// SYNs of refused ports.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&Arc<str>, u16, u64)> {
        let ports = self.refused.iter();
        ports.map(|((netns, port), refused)| (netns, *port, refused.syns))
    }
}

/// How SYNs that are right fit a listener: over IPv4, over IPv6.
fn matches(listener: &event::Listener) -> [Match; 2] {
    if !listener.address.is_unspecified() {
        return [Match::Exact; 2];
    }
    match listener.family {
        Family::Ipv4 => [Match::Wildcard; 2],
        Family::Ipv6 => [Match::DualStack, Match::Wildcard],
    }
}

/// Whether the first is nearer to its limit.
fn fuller(one: Queue, other: Queue) -> bool {
    let fill = |queue: Queue, by: Queue| u64::from(queue.length) * (u64::from(by.limit) + 1);
    fill(one, other) > fill(other, one)
}

#[cfg(test)]
pub(crate) mod tests;
