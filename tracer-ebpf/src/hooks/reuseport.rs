//! `bpf_run_sk_reuseport`: runs only for groups with an `SK_REUSEPORT` program.
//! All else about a group is read from the chosen socket when the lookup ends.

use aya_ebpf::EbpfContext;
use sockpick_ebpf::abi::group_prog;

use crate::{
    fields::{KernelPtr, arg, config},
    inflight::{Inflight, inflight, state},
};

/// fexit: the packet is an argument.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn exit<C: EbpfContext>(ctx: &C) {
    let skb = arg(ctx, config!(args.reuseport_skb));
    if let Some(slot) = inflight() {
        note(ctx, slot, skb);
    }
}

/// kretprobe: the packet is the one whose lookup is under way.
#[inline(always)]
pub(crate) fn exit_in_lookup<C: EbpfContext>(ctx: &C) {
    if let Some(slot) = inflight()
        && slot.state != state::IDLE
    {
        let skb = slot.skb;
        note(ctx, slot, skb);
    }
}

#[inline(always)]
fn note<C: EbpfContext>(ctx: &C, slot: &mut Inflight, skb: u64) {
    let chosen = KernelPtr(arg(ctx, config!(args.reuseport_ret)));
    slot.facts_for(skb);
    slot.group_prog = if chosen.is_err_or_null() {
        group_prog::FELL_BACK
    } else {
        group_prog::EBPF
    };
}
