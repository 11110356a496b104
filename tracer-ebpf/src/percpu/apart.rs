//! Each in a map of its own, for kernels that map no arrays (before 5.5).

use aya_ebpf::{macros::map, maps::PerCpuArray};
use sockpick_ebpf::abi::Stats;

use crate::inflight::Inflight;

#[map]
static STATS: PerCpuArray<Stats> = PerCpuArray::with_max_entries(1, 0);
#[map]
static INFLIGHT: PerCpuArray<Inflight> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's slot and counters.
#[inline(always)]
pub(crate) fn own() -> Option<(&'static mut Inflight, &'static mut Stats)> {
    Some((inflight()?, stats()?))
}

/// This CPU's slot.
#[inline(always)]
pub(crate) fn inflight() -> Option<&'static mut Inflight> {
    let slot = INFLIGHT.get_ptr_mut(0)?;
    // SAFETY: a live map value of this CPU; programs on one CPU do not overlap in
    // the receive path, and each program takes it once.
    Some(unsafe { &mut *slot })
}

/// This CPU's counters.
#[inline(always)]
pub(crate) fn stats() -> Option<&'static mut Stats> {
    let row = STATS.get_ptr_mut(0)?;
    // SAFETY: a live map value that only programs on this CPU write; a counter that a nested
    // program raises in between can at worst be short by that one.
    Some(unsafe { &mut *row })
}
