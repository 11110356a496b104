//! A look at one kernel structure, for a kernel without type information.

use aya_ebpf::{EbpfContext, helpers::bpf_get_current_pid_tgid, macros::map, maps::Array};
use sockpick_ebpf::abi::{ArgLoc, Peek};

use crate::fields::{KernelPtr, arg_at};

#[map]
static PEEK: Array<Peek> = Array::with_max_entries(1, 0);

/// Entry of whatever function user space attached it to.
#[inline(always)]
pub(crate) fn entry<C: EbpfContext>(ctx: &C) {
    let Some(peek) = PEEK.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a live map value; user space leaves it alone while it is armed.
    let peek = unsafe { &mut *peek };
    if peek.armed == 0 {
        return;
    }
    let process = (bpf_get_current_pid_tgid() >> 32) as u32;
    if peek.process != 0 && peek.process != process {
        return;
    }
    if peek.only != ArgLoc::NONE && arg_at(ctx, peek.only) & 0xffff != u64::from(peek.value) {
        return;
    }
    if peek.address == 0 {
        peek.seen = arg_at(ctx, peek.from);
    } else {
        peek.seen = peek.address;
    }
    KernelPtr(peek.seen).copy_to(&mut peek.bytes);
    peek.armed = 0;
}
