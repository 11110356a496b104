//! `bpf_run_sk_reuseport`: runs only for groups with an `SK_REUSEPORT` program.
//! All else about a group is read from the chosen socket when the lookup ends.

use sockpick_ebpf::abi::group_prog;

#[cfg(not(feature = "legacy"))]
use crate::{fields::field, listeners::TCP_LISTEN};
use crate::{
    fields::{KernelPtr, Traced, arg},
    inflight::Inflight,
    percpu::inflight,
};

/// fexit: the packet is an argument.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn exit<C: Traced>(ctx: &C) {
    let skb = arg!(ctx, reuseport_skb);
    let sk = KernelPtr(arg!(ctx, reuseport_sk));
    // UDP has groups, too, and nobody would take what is said of its packets.
    if field!(sk, sk_state => u8) != TCP_LISTEN {
        return;
    }
    if let Some(slot) = inflight() {
        slot.facts_for(skb);
        slot.group_sk = sk.0;
        note(ctx, slot);
    }
}

/// kprobe: whose program is about to run.
#[inline(always)]
pub(crate) fn entry_in_lookup<C: Traced>(ctx: &C) {
    if let Some(slot) = inflight()
        && slot.is_looked_up()
    {
        slot.group_sk = arg!(ctx, reuseport_sk);
    }
}

/// kretprobe: the packet is the one whose lookup is under way.
#[inline(always)]
pub(crate) fn exit_in_lookup<C: Traced>(ctx: &C) {
    if let Some(slot) = inflight()
        && slot.is_looked_up()
    {
        slot.facts_for(slot.skb);
        note(ctx, slot);
    }
}

#[inline(always)]
fn note<C: Traced>(ctx: &C, slot: &mut Inflight) {
    let chosen = KernelPtr(arg!(ctx, reuseport_ret));
    slot.group_prog = if chosen.is_null() {
        group_prog::FELL_BACK
    } else if chosen.is_err_or_null() {
        group_prog::DROPPED
    } else {
        group_prog::EBPF
    };
}
