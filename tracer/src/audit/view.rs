//! The scene, indexed: whatever a rule asks of it often is found at once.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
};

use super::scene::{Group, Party, Scene};
use crate::{
    event::Owner,
    judge::rules::{BUCKETS, mapped},
    kin,
    listeners::chain,
    words,
};

/// Groups by where they are bound.
pub struct Index {
    ports: BTreeMap<(u32, u16), OnPort>,
}

/// Those of one namespace and port, by address. Each list is in the order of the groups.
#[derive(Default)]
pub(super) struct OnPort {
    pub(super) specific: BTreeMap<Ipv6Addr, Vec<usize>>,
    pub(super) wildcards: Vec<usize>,
}

impl Index {
    /// Of these groups, which it names by their places.
    #[must_use]
    pub fn of(groups: &[Group]) -> Self {
        let mut ports: BTreeMap<_, OnPort> = BTreeMap::new();
        for (index, group) in groups.iter().enumerate() {
            let bound = &group.bound;
            let port = ports.entry((bound.netns, bound.port)).or_default();
            if bound.is_wildcard() {
                port.wildcards.push(index);
            } else {
                port.specific.entry(bound.address).or_default().push(index);
            }
        }
        Self { ports }
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = &OnPort> {
        self.ports.values()
    }

    pub(super) fn port(&self, netns: u32, port: u16) -> Option<&OnPort> {
        self.ports.get(&(netns, port))
    }

    /// Groups whose address a packet for this destination fits.
    pub(super) fn fitting(
        &self,
        netns: u32,
        destination: IpAddr,
        port: u16,
    ) -> impl Iterator<Item = usize> {
        let on_port = self.port(netns, port);
        let exact = on_port.and_then(|on_port| on_port.specific.get(&mapped(destination)));
        let wildcards = on_port.map(|on_port| &on_port.wildcards);
        exact.into_iter().chain(wildcards).flatten().copied()
    }
}

impl OnPort {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        let specific = self.specific.values().flatten();
        specific.chain(&self.wildcards).copied()
    }
}

/// A scene with what follows from it.
pub(super) struct View<'a> {
    pub(super) scene: &'a Scene,
    pub(super) index: Index,
    seen: Vec<Seen>,
    /// Sockets seen in each bucket of the table hashed by port: those of a namespace whose
    /// ports share it. Which of other namespaces are in it is a secret of the kernel's.
    buckets: HashMap<(u32, u16), usize>,
    /// Whether the owners of two groups belong together, as far as it was asked.
    related: RefCell<HashMap<(usize, usize), bool>>,
}

/// What is known of a group besides what it is made of.
struct Seen {
    owners: Vec<Owner>,
    /// The same for groups with the same owners.
    who: usize,
    /// The place of its first member in the dump.
    place: usize,
}

impl<'a> View<'a> {
    pub(super) fn of(scene: &'a Scene) -> Self {
        let mut buckets = HashMap::new();
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut seen = Vec::with_capacity(scene.groups.len());
        for group in &scene.groups {
            let bucket = (group.bound.netns, group.bound.port % BUCKETS);
            *buckets.entry(bucket).or_default() += group.members.len();
            let owners = group.owners();
            let pids = owners.iter().map(|owner| owner.pid).collect();
            let next = known.len();
            let places = group.members.iter().map(|member| member.place);
            seen.push(Seen {
                who: *known.entry(pids).or_insert(next),
                place: places.min().unwrap_or(usize::MAX),
                owners,
            });
        }
        Self {
            scene,
            index: Index::of(&scene.groups),
            seen,
            buckets,
            related: RefCell::default(),
        }
    }

    pub(super) fn group(&self, index: usize) -> &'a Group {
        &self.scene.groups[index]
    }

    pub(super) fn owners(&self, index: usize) -> &[Owner] {
        &self.seen[index].owners
    }

    /// The same number for groups with the same owners.
    pub(super) fn who(&self, index: usize) -> usize {
        self.seen[index].who
    }

    /// Its place within its family in the dump.
    pub(super) fn place(&self, index: usize) -> usize {
        self.seen[index].place
    }

    /// Sockets seen in the bucket of the group's port.
    pub(super) fn in_bucket(&self, index: usize) -> usize {
        let bound = &self.group(index).bound;
        let bucket = (bound.netns, bound.port % BUCKETS);
        self.buckets.get(&bucket).copied().unwrap_or(0)
    }

    /// Whether the kernel looks the packet's address up first on the group's port.
    pub(super) fn by_address(&self, index: usize) -> bool {
        chain::by_address(self.scene.algorithm, self.in_bucket(index))
    }

    pub(super) fn stands_before(&self, one: usize, other: usize) -> bool {
        let place = |index| (&self.group(index).bound, self.place(index));
        chain::stands_before(place(one), place(other))
    }

    /// Whether the owners of two groups belong to one service.
    pub(super) fn related(&self, one: usize, other: usize) -> bool {
        let key = (self.who(one), self.who(other));
        let mut related = self.related.borrow_mut();
        *related.entry(key).or_insert_with(|| {
            kin::related(
                self.owners(one),
                self.owners(other),
                &self.scene.kin.relations,
            )
        })
    }

    /// Where it is bound, and who holds it.
    pub(super) fn named(&self, index: usize) -> String {
        named(&self.group(index).endpoint(), self.owners(index))
    }

    pub(super) fn party(&self, index: usize) -> Party {
        let group = self.group(index);
        let inodes = group.members.iter().map(|member| member.inode).collect();
        group.party(inodes, self.owners(index).to_vec())
    }
}

/// What is bound there, and who holds it.
pub(super) fn named(endpoint: &str, owners: &[Owner]) -> String {
    if owners.is_empty() {
        return endpoint.to_owned();
    }
    format!("{endpoint} of {}", words::owners(owners))
}
