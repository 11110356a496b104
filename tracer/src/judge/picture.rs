//! Who listened where, at the time of a SYN: live listeners, and those that closed not
//! long ago. Pure.
//!
//! Records reach user space in the order in which the kernel wrote them, whatever their
//! CPU, and a listener's close is written before it leaves the table, its opening after it
//! entered. So what is here when a SYN is read is what was there when it was looked up,
//! however late that is.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{
    Limit, make_room,
    rules::{ANY_MAPPED, Bound, Fit, Packet, Unfit, mapped},
};
use crate::event::Owner;

/// Most closings remembered; past that the oldest is forgotten before its time, which
/// [`Picture::limit`] counts.
const MOST_GONE: usize = 16_384;

/// How many ids of closed sockets are kept, so that none is taken for an open one.
const CLOSED_IDS: usize = 1024;

/// What names a socket between its opening and its closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    Inode(u32, u64),
    /// A kernel socket, which has no inode.
    Id(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    netns: u32,
    port: u16,
    /// As a number, which is hashed at once: an address is hashed byte by byte.
    address: u128,
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Inode number in sockfs; 0 for none.
    pub inode: u64,
    /// `listener.id`; 0 while no program has met it.
    pub id: u64,
    /// `CLOCK_MONOTONIC` ns at which it began to listen; 0 if that was before sockpick.
    pub opened_ns: u64,
    /// `SO_INCOMING_CPU`
    pub incoming_cpu: Option<u32>,
}

/// The last socket that closed at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The socket.
    pub socket: Live,
    /// `CLOCK_MONOTONIC` ns at which it left the table.
    pub closed_ns: u64,
    /// Who held it.
    pub owners: Arc<[Owner]>,
}

/// Where sockets listen or did: those bound alike, such as the members of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What they are bound to.
    pub bound: Bound,
    /// Those that listen.
    pub live: Vec<Live>,
    /// The last that closed, until it is forgotten.
    pub gone: Option<Gone>,
}

/// Places that a packet may have to do with.
#[derive(Clone, Copy, Debug)]
pub struct Near<'a> {
    packet: Packet,
    exact: &'a [Place],
    any: &'a [Place],
    any_ipv4: &'a [Place],
}

impl<'a> Near<'a> {
    /// All of them.
    pub fn all(self) -> impl Iterator<Item = &'a Place> {
        [self.exact, self.any, self.any_ipv4].into_iter().flatten()
    }

    /// Places that the packet fits, or did while somebody listened there.
    pub fn fitting(self) -> impl Iterator<Item = (&'a Place, Fit)> {
        self.all()
            .filter_map(move |place| Some((place, place.bound.fit(&self.packet).ok()?)))
    }

    /// Places that it does not fit, and why.
    pub fn unfit(self) -> impl Iterator<Item = (&'a Place, Unfit)> {
        self.all()
            .filter_map(move |place| Some((place, place.bound.fit(&self.packet).err()?)))
    }
}

/// The listeners.
#[derive(Debug)]
pub struct Picture {
    places: FxHashMap<Key, Vec<Place>>,
    names: FxHashMap<Name, Bound>,
    closings: VecDeque<(u64, Key)>,
    closed_ids: VecDeque<u64>,
    hold_ns: u64,
    forgotten: u64,
    changes: u64,
}

impl Picture {
    /// Nobody listens; closings are remembered for `hold_ns`.
    #[must_use]
    pub fn new(hold_ns: u64) -> Self {
        Self {
            places: FxHashMap::default(),
            names: FxHashMap::default(),
            closings: VecDeque::new(),
            closed_ids: VecDeque::new(),
            hold_ns,
            forgotten: 0,
            changes: 0,
        }
    }

    /// Counts what changed: while this is the same, so are the places.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Closings that are remembered.
    #[must_use]
    pub fn limit(&self) -> Limit {
        Limit {
            holds: self.closings.len(),
            most: MOST_GONE,
            beyond: self.forgotten,
        }
    }

    /// A socket listens: it was there already, or opens now.
    pub fn opened(&mut self, bound: Bound, socket: Live) {
        self.changes += 1;
        let name = name(&bound, &socket);
        if let Some(before) = self.names.get(&name).copied() {
            if before == bound {
                self.update(&bound, &socket);
                return;
            }
            // Bound to a device meanwhile; or its closing was lost and the number is used again.
            self.remove(name, &before);
        }
        self.names.insert(name, bound);
        let place = self.place(bound);
        make_room(&mut place.live);
        place.live.push(socket);
    }

    /// A SYN was given to this socket, so it listens.
    pub fn met(&mut self, bound: Bound, socket: Live) {
        let known = self.names.get(&name(&bound, &socket));
        if known == Some(&bound) {
            return;
        }
        // A lookup on another CPU may end with it while it closes.
        if !self.closed_ids.contains(&socket.id) {
            self.opened(bound, socket);
        }
    }

    /// A socket is bound so now. Says whether that is to another device than it was known to be.
    pub fn moved(&mut self, bound: Bound, inode: u64) -> bool {
        let name = Name::Inode(bound.netns, inode);
        let elsewhere = |before: &Bound| {
            let device = bound.device;
            *before != bound && Bound { device, ..*before } == bound
        };
        let before = self.names.get(&name).copied().filter(elsewhere);
        let Some(live) = before.and_then(|before| self.remove(name, &before)) else {
            return false;
        };
        self.opened(bound, live);
        true
    }

    /// A socket left the table.
    pub fn closed(&mut self, bound: &Bound, socket: &Live, closed_ns: u64, owners: Arc<[Owner]>) {
        if self.closed_ids.len() >= CLOSED_IDS {
            self.closed_ids.pop_front();
        }
        self.closed_ids.push_back(socket.id);
        self.leave(bound, socket, closed_ns, owners);
    }

    fn leave(&mut self, bound: &Bound, socket: &Live, closed_ns: u64, owners: Arc<[Owner]>) {
        self.changes += 1;
        let name = name(bound, socket);
        // Where it was bound when it was last looked at.
        let bound = self.names.get(&name).copied().unwrap_or(*bound);
        let opened_ns = self.remove(name, &bound).map(|live| live.opened_ns);
        let place = self.place(bound);
        place.gone = Some(Gone {
            socket: Live {
                opened_ns: opened_ns.unwrap_or(socket.opened_ns),
                ..socket.clone()
            },
            closed_ns,
            owners,
        });
        self.closings.push_back((closed_ns, key(&bound)));
        self.expire(closed_ns);
    }

    /// Where somebody listens, or did.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.values().flatten()
    }

    /// Every live socket, and where it is bound.
    pub fn live(&self) -> impl Iterator<Item = (Bound, &Live)> {
        self.places()
            .flat_map(|place| place.live.iter().map(|live| (place.bound, live)))
    }

    /// Drops every live socket for which `keep` says no, as closed at `now_ns`, and says how
    /// many that are: their records were lost. One that is met all the same comes back.
    pub fn retain(&mut self, now_ns: u64, keep: impl Fn(&Bound, u64) -> bool) -> usize {
        let lost: Vec<(Bound, Live)> = self
            .live()
            .filter(|(bound, live)| !keep(bound, live.inode))
            .map(|(bound, live)| (bound, live.clone()))
            .collect();
        for (bound, live) in &lost {
            self.leave(bound, live, now_ns, Arc::from([]));
        }
        lost.len()
    }

    /// Places on the packet's port and address, or on any address.
    #[must_use]
    pub fn near(&self, packet: &Packet) -> Near<'_> {
        let at = |address: Ipv6Addr| {
            let places = self.places.get(&Key {
                netns: packet.netns,
                port: packet.port,
                address: address.to_bits(),
            });
            places.map_or(&[] as &[Place], Vec::as_slice)
        };
        let ipv4 = packet.destination.is_ipv4();
        Near {
            packet: *packet,
            exact: at(mapped(packet.destination)),
            any: at(Ipv6Addr::UNSPECIFIED),
            any_ipv4: if ipv4 { at(ANY_MAPPED) } else { &[] },
        }
    }

    /// Places where somebody listens on the packet's port for the other family only: on any
    /// address, or on the other loopback for a packet to loopback.
    pub fn other_family(&self, packet: &Packet) -> impl Iterator<Item = &Place> {
        let (any, loopback) = if packet.destination.is_ipv4() {
            (Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST)
        } else {
            (ANY_MAPPED, Ipv4Addr::LOCALHOST.to_ipv6_mapped())
        };
        let loopback = packet.destination.is_loopback().then_some(loopback);
        let within = |place: &&Place| {
            let device = place.bound.device;
            !place.live.is_empty() && [0, packet.dif, packet.sdif].contains(&device)
        };
        loopback
            .into_iter()
            .chain([any])
            .filter_map(|address| {
                let key = Key {
                    netns: packet.netns,
                    port: packet.port,
                    address: address.to_bits(),
                };
                self.places.get(&key)
            })
            .flatten()
            .filter(within)
    }

    /// Places in other namespaces where somebody listens on the packet's very address.
    pub fn elsewhere(&self, packet: &Packet) -> impl Iterator<Item = &Place> {
        let (netns, port) = (packet.netns, packet.port);
        let address = mapped(packet.destination).to_bits();
        let same =
            move |key: &Key| key.netns != netns && key.port == port && key.address == address;
        self.places
            .iter()
            .filter(move |(key, _)| same(key))
            .flat_map(|(_, places)| places)
            .filter(|place| !place.live.is_empty())
    }

    /// Where sockets listen that are bound so, or did.
    #[must_use]
    pub fn at(&self, bound: &Bound) -> Option<&Place> {
        let mut places = self.places.get(&key(bound))?.iter();
        places.find(|place| place.bound == *bound)
    }

    /// From now on closings are remembered for so long.
    pub fn hold_for(&mut self, hold_ns: u64) {
        self.changes += 1;
        self.hold_ns = hold_ns;
    }

    /// How long a closing counts.
    #[must_use]
    pub fn hold_ns(&self) -> u64 {
        self.hold_ns
    }

    /// Whether this closing counts for a SYN at `now_ns`.
    #[must_use]
    pub fn holds(&self, gone: &Gone, now_ns: u64) -> bool {
        now_ns.saturating_sub(gone.closed_ns) <= self.hold_ns
    }

    /// `SO_INCOMING_CPU` of a live socket.
    #[must_use]
    pub fn incoming_cpu(&self, bound: &Bound, id: u64) -> Option<u32> {
        let places = self.places.get(&key(bound)).into_iter().flatten();
        places
            .flat_map(|place| &place.live)
            .find(|live| live.id == id)?
            .incoming_cpu
    }

    /// When a live socket was seen to open: it stands in front of or behind the others since.
    #[must_use]
    pub fn opened_ns(&self, bound: &Bound, id: u64) -> Option<u64> {
        let places = self.places.get(&key(bound)).into_iter().flatten();
        let live = places
            .flat_map(|place| &place.live)
            .find(|live| live.id == id)?;
        (live.opened_ns != 0).then_some(live.opened_ns)
    }

    fn place(&mut self, bound: Bound) -> &mut Place {
        let places = self.places.entry(key(&bound)).or_default();
        let at = places.iter().position(|place| place.bound == bound);
        let at = at.unwrap_or_else(|| {
            make_room(places);
            places.push(Place {
                bound,
                live: Vec::new(),
                gone: None,
            });
            places.len() - 1
        });
        &mut places[at]
    }

    /// The record of an opening, after the socket was listed or met.
    fn update(&mut self, bound: &Bound, socket: &Live) {
        let name = name(bound, socket);
        let place = self.place(*bound);
        for live in &mut place.live {
            if self::name(bound, live) == name {
                live.id = socket.id.max(live.id);
                live.opened_ns = socket.opened_ns.max(live.opened_ns);
                live.incoming_cpu = socket.incoming_cpu.or(live.incoming_cpu);
            }
        }
    }

    fn remove(&mut self, name: Name, bound: &Bound) -> Option<Live> {
        self.names.remove(&name)?;
        let place = self.place(*bound);
        let at = place
            .live
            .iter()
            .position(|live| self::name(bound, live) == name)?;
        Some(place.live.swap_remove(at))
    }

    /// Forgets closings that are too old, or too many.
    fn expire(&mut self, now_ns: u64) {
        while let Some(&(closed_ns, key)) = self.closings.front() {
            let old = now_ns.saturating_sub(closed_ns) > self.hold_ns;
            if !old && self.closings.len() <= MOST_GONE {
                break;
            }
            self.closings.pop_front();
            let mut dropped = false;
            if let Some(places) = self.places.get_mut(&key) {
                for place in places.iter_mut() {
                    dropped |= place
                        .gone
                        .take_if(|gone| gone.closed_ns == closed_ns)
                        .is_some();
                }
                places.retain(|place| !place.live.is_empty() || place.gone.is_some());
                if places.is_empty() {
                    self.places.remove(&key);
                }
            }
            self.forgotten += u64::from(dropped && !old);
        }
    }
}

fn key(bound: &Bound) -> Key {
    Key {
        netns: bound.netns,
        port: bound.port,
        address: bound.address.to_bits(),
    }
}

fn name(bound: &Bound, socket: &Live) -> Name {
    match socket.inode {
        0 => Name::Id(socket.id),
        inode => Name::Inode(bound.netns, inode),
    }
}
