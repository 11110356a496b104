//! Both in one row, as finding it is a good part of what a SYN costs that is only counted.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use sockpick_ebpf::abi::{Cpu, Stats};

use crate::{emit::cpu, inflight::Inflight};

/// A row for each CPU, as many as user space asks for. It reads the counters without system calls
/// (5.5, fc9702273e2e): during one on a map the kernel skips kprobe programs on that CPU.
#[map]
static STATS: Array<Row> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// [`Cpu`], as the programs know it.
#[repr(C)]
struct Row {
    stats: Stats,
    slot: Inflight,
    reserved: [u64; RESERVED],
}

const RESERVED: usize = (size_of::<Cpu>() - size_of::<Stats>() - size_of::<Inflight>()) / 8;
const _: () = assert!(size_of::<Row>() == size_of::<Cpu>());

/// This CPU's slot and counters.
#[inline(always)]
pub(crate) fn own() -> Option<(&'static mut Inflight, &'static mut Stats)> {
    let row = STATS.get_ptr_mut(cpu())?;
    // SAFETY: a live map value of this CPU; programs on one CPU do not overlap in the receive
    // path, and each takes the slot once.
    let slot = unsafe { &mut (*row).slot };
    // SAFETY: another part of it, which only programs on this CPU write; a counter that a nested
    // program raises in between can at worst be short by that one.
    let stats = unsafe { &mut (*row).stats };
    Some((slot, stats))
}

/// This CPU's slot.
#[inline(always)]
pub(crate) fn inflight() -> Option<&'static mut Inflight> {
    own().map(|(slot, _)| slot)
}

/// This CPU's counters.
#[inline(always)]
pub(crate) fn stats() -> Option<&'static mut Stats> {
    own().map(|(_, stats)| stats)
}
