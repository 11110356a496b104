//! Filters that the programs apply in the kernel.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, Map, lpm_trie::Key},
};
use ipnet::IpNet;
use sockpick_ebpf::abi::{filter, maps};

/// In-kernel filters; an empty list lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Destination ports.
    pub ports: Vec<u16>,
    /// Destination prefixes.
    pub destinations: Vec<IpNet>,
    /// Client prefixes.
    pub sources: Vec<IpNet>,
    /// Inode numbers of namespaces; `None`: all. May change while the programs run, but not
    /// become more than there is [`Filters::room`] for.
    pub namespaces: Option<Vec<u32>>,
    /// How many namespaces there may be at once.
    pub room: usize,
    /// Only IPv4 packets.
    pub ipv4: bool,
    /// Only IPv6 packets.
    pub ipv6: bool,
}

impl Filters {
    pub(super) fn bits(&self) -> u16 {
        [
            (!self.ports.is_empty(), filter::PORTS),
            (!self.destinations.is_empty(), filter::DST),
            (!self.sources.is_empty(), filter::SRC),
            (self.namespaces.is_some(), filter::NETNS),
            (self.ipv4, filter::IPV4),
            (self.ipv6, filter::IPV6),
        ]
        .into_iter()
        .filter(|(on, _)| *on)
        .fold(0, |bits, (_, bit)| bits | bit)
    }

    /// Has their maps made as large as they need to be.
    pub(super) fn size(&self, loader: &mut EbpfLoader<'_>) {
        loader
            .map_max_entries(maps::FILTER_PORTS, self.port_words())
            .map_max_entries(maps::FILTER_DST, entries(self.destinations.len()))
            .map_max_entries(maps::FILTER_SRC, entries(self.sources.len()))
            .map_max_entries(maps::FILTER_NETNS, entries(self.room));
    }

    fn port_words(&self) -> u32 {
        if self.ports.is_empty() {
            return 1;
        }
        filter::PORT_WORDS
    }

    /// Fills their maps.
    ///
    /// # Errors
    /// If the kernel refuses an entry.
    pub(super) fn fill(&self, ebpf: &mut Ebpf) -> Result<()> {
        let mut words = vec![0; self.port_words() as usize];
        for &port in &self.ports {
            let (word, bit) = filter::place(port);
            words[word as usize] |= 1 << bit;
        }
        let mut ports: Array<_, u64> = Array::try_from(map(ebpf, maps::FILTER_PORTS)?)?;
        for (at, &word) in (0..).zip(&words).filter(|(_, word)| **word != 0) {
            ports.set(at, word, 0)?;
        }
        let mut namespaces: HashMap<_, u32, u8> =
            HashMap::try_from(map(ebpf, maps::FILTER_NETNS)?)?;
        for netns in self.namespaces.iter().flatten() {
            namespaces.insert(netns, 1, 0)?;
        }
        for (name, prefixes) in [
            (maps::FILTER_DST, &self.destinations),
            (maps::FILTER_SRC, &self.sources),
        ] {
            let mut trie: LpmTrie<_, [u8; 16], u8> = LpmTrie::try_from(map(ebpf, name)?)?;
            for prefix in prefixes {
                trie.insert(&key(prefix), 1, 0)?;
            }
        }
        Ok(())
    }
}

/// From now on these namespaces pass, of a session that filters by them.
///
/// # Errors
/// If the kernel refuses an entry.
pub(super) fn renew(ebpf: &mut Ebpf, before: &[u32], now: &[u32]) -> Result<()> {
    let mut namespaces: HashMap<_, u32, u8> = HashMap::try_from(map(ebpf, maps::FILTER_NETNS)?)?;
    for netns in before.iter().filter(|netns| !now.contains(netns)) {
        namespaces.remove(netns)?;
    }
    for netns in now.iter().filter(|netns| !before.contains(netns)) {
        namespaces.insert(netns, 1, 0)?;
    }
    Ok(())
}

fn map<'ebpf>(ebpf: &'ebpf mut Ebpf, name: &str) -> Result<&'ebpf mut Map> {
    ebpf.map_mut(name)
        .with_context(|| format!("no map {name} in the object"))
}

fn entries(count: usize) -> u32 {
    u32::try_from(count.max(1)).unwrap_or(u32::MAX)
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
