//! What passes between the programs and user space while they run: what is recorded,
//! filters, counters, listeners.

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, LpmTrie, Map, RingBuf, lpm_trie::Key};
use aya_log::EbpfLogger;
use ipnet::IpNet;
use sockpick_ebpf::abi::{Config, Control, Listener, Stats, filter, maps};

use super::{
    channel::Channel,
    object::Shared,
    plan::{Decision, Hook},
    programs::Programs,
};

/// A namespace number that no namespace has: nothing is recorded.
const NOBODY: u32 = u32::MAX;

/// In-kernel filters; an empty list lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Destination ports.
    pub ports: Vec<u16>,
    /// Destination prefixes.
    pub destinations: Vec<IpNet>,
    /// Client prefixes.
    pub sources: Vec<IpNet>,
    /// Inode numbers of namespaces.
    pub namespaces: Vec<u32>,
    /// Only IPv4 packets.
    pub ipv4: bool,
    /// Only IPv6 packets.
    pub ipv6: bool,
}

impl Programs {
    /// Records the SYNs of one namespace only, past the filters.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn record_only(&mut self, netns: u32) -> Result<()> {
        self.set_control(netns)
    }

    /// Records nothing until told otherwise.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn record_nothing(&mut self) -> Result<()> {
        self.set_control(NOBODY)
    }

    /// Records what passes the filters, in all namespaces.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn record(&mut self) -> Result<()> {
        self.set_control(0)
    }

    fn set_control(&mut self, only_netns: u32) -> Result<()> {
        let attached = |hook| matches!(self.plan.decision(hook), Some(Decision::Attach { .. }));
        let walk_known =
            attached(Hook::Walk4) && (attached(Hook::Walk6) || !attached(Hook::Lookup6));
        let control = Shared(Control {
            only_netns,
            walk_known: u32::from(walk_known),
        });
        let mut map: Array<_, Shared<Control>> = Array::try_from(self.map_mut(maps::CONTROL)?)?;
        map.set(0, control, 0)
            .context("cannot set what is recorded")
    }

    fn map_mut(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf
            .map_mut(name)
            .with_context(|| format!("no map {name} in the object"))
    }

    pub(super) fn fill_filters(&mut self, filters: &Filters) -> Result<()> {
        let mut ports: HashMap<_, u16, u8> = HashMap::try_from(self.map_mut(maps::FILTER_PORTS)?)?;
        for port in &filters.ports {
            ports.insert(port.to_be(), 1, 0)?;
        }
        let mut namespaces: HashMap<_, u32, u8> =
            HashMap::try_from(self.map_mut(maps::FILTER_NETNS)?)?;
        for netns in &filters.namespaces {
            namespaces.insert(netns, 1, 0)?;
        }
        for (name, prefixes) in [
            (maps::FILTER_DST, &filters.destinations),
            (maps::FILTER_SRC, &filters.sources),
        ] {
            let mut trie: LpmTrie<_, [u8; 16], u8> = LpmTrie::try_from(self.map_mut(name)?)?;
            for prefix in prefixes {
                trie.insert(&key(prefix), 1, 0)?;
            }
        }
        Ok(())
    }

    /// The buffer that the programs write to, to be read by [`crate::source`]. Can be taken once.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn take_events(&mut self) -> Result<Channel> {
        let map = self
            .ebpf
            .take_map(maps::EVENTS)
            .context("the buffer was taken before")?;
        if self.legacy {
            return Channel::per_cpu(map, self.buffer_bytes);
        }
        Ok(Channel::Ring(RingBuf::try_from(map)?))
    }

    /// Tells legacy programs, which have no globals, their configuration.
    pub(super) fn set_config(&mut self, config: Shared<Config>) -> Result<()> {
        let mut map: Array<_, Shared<Config>> = Array::try_from(self.map_mut(maps::CONFIG)?)?;
        map.set(0, config, 0)
            .context("cannot set the configuration")
    }

    /// The counters, summed over the CPUs, with what no program saw, as far as the kernel
    /// counts that.
    ///
    /// # Errors
    /// If the kernel refuses to read the map.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = self.counters.sum(&self.ebpf)?;
        let missed = self.missed();
        stats.syns += missed.syns;
        stats.lost_return += missed.syns;
        stats.lost_listener_records += missed.listeners;
        Ok(stats)
    }

    /// Every listener the programs know, with its address as key.
    ///
    /// # Errors
    /// If the map is missing.
    pub fn listeners(&self) -> Result<Vec<(u64, Listener)>> {
        let map = self
            .ebpf
            .map(maps::LISTENERS)
            .context("no listeners in the object")?;
        let map: HashMap<_, u64, Shared<Listener>> = HashMap::try_from(map)?;
        // An entry that goes while the map is walked is skipped.
        Ok(map
            .iter()
            .flatten()
            .map(|(sock, Shared(listener))| (sock, listener))
            .collect())
    }

    /// Forgets a closed listener, and gives its last state. Nothing happens if its
    /// place was taken by another since.
    ///
    /// # Errors
    /// If the map is missing.
    pub fn forget_listener(&mut self, sock: u64, stamp: u64) -> Result<Option<Listener>> {
        let mut map: HashMap<_, u64, Shared<Listener>> =
            HashMap::try_from(self.map_mut(maps::LISTENERS)?)?;
        match map.get(&sock, 0) {
            Ok(Shared(listener)) if listener.stamp == stamp && listener.closed != 0 => {
                map.remove(&sock)?;
                Ok(Some(listener))
            }
            _ => Ok(None),
        }
    }

    /// Forwards what the programs log to this process's log.
    ///
    /// # Errors
    /// If the programs' log buffer cannot be read.
    pub fn debug_log(&mut self) -> Result<EbpfLogger<&'static dyn log::Log>> {
        EbpfLogger::init(&mut self.ebpf).context("cannot read the programs' log")
    }
}

impl Filters {
    pub(super) fn bits(&self) -> u16 {
        [
            (!self.ports.is_empty(), filter::PORTS),
            (!self.destinations.is_empty(), filter::DST),
            (!self.sources.is_empty(), filter::SRC),
            (!self.namespaces.is_empty(), filter::NETNS),
            (self.ipv4, filter::IPV4),
            (self.ipv6, filter::IPV6),
        ]
        .into_iter()
        .filter(|(on, _)| *on)
        .fold(0, |bits, (_, bit)| bits | bit)
    }
}

/// IPv4 prefixes are kept in v4-mapped form, 96 bits further down.
fn key(prefix: &IpNet) -> Key<[u8; 16]> {
    match prefix {
        IpNet::V4(net) => Key::new(
            96 + u32::from(net.prefix_len()),
            net.network().to_ipv6_mapped().octets(),
        ),
        IpNet::V6(net) => Key::new(net.prefix_len().into(), net.network().octets()),
    }
}
