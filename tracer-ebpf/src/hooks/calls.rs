//! Remembers an argument from a function's kprobe to its kretprobe, per thread:
//! for functions that run in process context and may sleep.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::LruHashMap};

use crate::fields::KernelPtr;

/// Threads inside a hooked call at once; past that the oldest is forgotten, which
/// costs who accepted or listened, never an event.
#[map]
static CALLS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

#[inline(always)]
pub(crate) fn remember(sk: KernelPtr) {
    // An insert that fails costs the detail named above.
    let _ = CALLS.insert(bpf_get_current_pid_tgid(), sk.0, 0);
}

#[inline(always)]
pub(crate) fn recall() -> Option<KernelPtr> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry belongs to this thread alone; it is copied at once.
    let sk = unsafe { CALLS.get(thread).copied() }?;
    // It may have been evicted since: then there is nothing to remove.
    let _ = CALLS.remove(thread);
    Some(KernelPtr(sk))
}
