//! What happened on each CPU, in numbers.

use aya_ebpf::macros::map;
#[cfg(feature = "legacy")]
use aya_ebpf::maps::PerCpuArray;
#[cfg(not(feature = "legacy"))]
use aya_ebpf::{bindings::BPF_F_MMAPABLE, maps::Array};
use sockpick_ebpf::abi::Stats;

#[cfg(not(feature = "legacy"))]
use crate::emit::cpu;

/// A row for each CPU, as many as user space asks for. It reads them without system calls
/// (5.5, fc9702273e2e): during one on a map the kernel skips kprobe programs on that CPU.
#[cfg(not(feature = "legacy"))]
#[map]
static STATS: Array<Stats> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[cfg(feature = "legacy")]
#[map]
static STATS: PerCpuArray<Stats> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's counters.
#[inline(always)]
pub(crate) fn stats() -> Option<&'static mut Stats> {
    #[cfg(not(feature = "legacy"))]
    let row = STATS.get_ptr_mut(cpu())?;
    #[cfg(feature = "legacy")]
    let row = STATS.get_ptr_mut(0)?;
    // SAFETY: a live map value that only programs on this CPU write; a counter that a nested
    // program raises in between can at worst be short by that one.
    Some(unsafe { &mut *row })
}
