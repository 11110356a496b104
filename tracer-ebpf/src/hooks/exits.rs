//! The tracepoint `sched:sched_process_exit`: a process that holds a listener ends. /proc tells
//! that it is gone, and not since when.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::HashMap};
use sockpick_ebpf::abi::MAX_HOLDERS;

use crate::emit;

#[map]
static HOLDERS: HashMap<u32, u64> = HashMap::with_max_entries(MAX_HOLDERS, 0);

/// A thread ends, before its descriptors are closed (`do_exit`, `kernel/exit.c`). The first
/// thread's end is taken for the process's, which it is unless that one went before the others.
#[inline(always)]
pub(crate) fn ended() {
    let thread = bpf_get_current_pid_tgid();
    let process = (thread >> 32) as u32;
    if process != thread as u32 {
        return;
    }
    if let Some(ended_ns) = HOLDERS.get_ptr_mut(process) {
        let now_ns = emit::now();
        // SAFETY: an aligned u64 in a live map value.
        let ended_ns = unsafe { &mut *ended_ns };
        // Another may have the number by now, and end as well.
        if *ended_ns == 0 {
            *ended_ns = now_ns;
        }
    }
}
