//! The in-kernel filter. What it leaves out is counted as `filtered` and nothing else.

use aya_ebpf::{
    macros::map,
    maps::{
        Array, HashMap,
        lpm_trie::{Key, LpmTrie},
    },
};
use sockpick_ebpf::abi::filter;

use crate::fields::{config, control};

// The sizes below are set when the object is loaded, to what the session asks for.
#[map]
static FILTER_PORTS: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static FILTER_DST: LpmTrie<[u8; 16], u8> = LpmTrie::with_max_entries(1, NO_PREALLOC);
#[map]
static FILTER_SRC: LpmTrie<[u8; 16], u8> = LpmTrie::with_max_entries(1, NO_PREALLOC);
#[map]
static FILTER_NETNS: HashMap<u32, u8> = HashMap::with_max_entries(1, 0);

/// `BPF_F_NO_PREALLOC`, which a trie must have.
const NO_PREALLOC: u32 = 1;
const AF_INET: u16 = 2;

/// What the filters ask about.
pub(crate) struct Flow<'a> {
    /// Inode number of the network namespace.
    pub(crate) netns: u32,
    /// The packet's family.
    pub(crate) family: u16,
    /// Network order.
    pub(crate) destination_port_be: u16,
    pub(crate) client: &'a [u8; 16],
    pub(crate) destination: &'a [u8; 16],
}

/// Whether the filter by ports, if there is one, lets this one pass.
#[inline(always)]
pub(crate) fn passes_port(port: u16) -> bool {
    if config!(filters) & filter::PORTS == 0 {
        return true;
    }
    let (word, bit) = filter::place(port);
    FILTER_PORTS
        .get(word)
        .is_some_and(|&word| word >> bit & 1 != 0)
}

/// Whether what concerns this flow is to be recorded.
#[inline(always)]
pub(crate) fn passes(flow: &Flow<'_>) -> bool {
    let only_netns = control!(only_netns);
    if only_netns != 0 {
        return only_netns == flow.netns;
    }
    let wanted = config!(filters);
    if wanted == 0 {
        return true;
    }
    let also_netns = control!(also_netns);
    if also_netns != 0 && also_netns == flow.netns {
        return true;
    }
    if wanted & filter::IPV4 != 0 && flow.family != AF_INET {
        return false;
    }
    if wanted & filter::IPV6 != 0 && flow.family == AF_INET {
        return false;
    }
    if !passes_port(u16::from_be(flow.destination_port_be)) {
        return false;
    }
    // SAFETY: the value is not used, only whether there is one.
    if wanted & filter::NETNS != 0 && unsafe { FILTER_NETNS.get(flow.netns) }.is_none() {
        return false;
    }
    if wanted & filter::DST != 0 && FILTER_DST.get(Key::new(128, *flow.destination)).is_none() {
        return false;
    }
    wanted & filter::SRC == 0 || FILTER_SRC.get(Key::new(128, *flow.client)).is_some()
}
