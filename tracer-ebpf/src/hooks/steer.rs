//! `inet_lookup_run_sk_lookup`: runs only while some namespace has an `sk_lookup`
//! program (6.6 and later; inlined before).

use crate::{
    fields::{KernelPtr, Traced, arg},
    hooks::lookup::V4,
    percpu::inflight,
};

#[cfg(not(feature = "legacy"))]
const IPPROTO_TCP: u64 = 6;

/// fexit: the packet is an argument.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn exit<const FAMILY: u16, C: Traced>(ctx: &C) {
    if FAMILY == V4 {
        let protocol = arg!(ctx, steer4_protocol);
        note(protocol, arg!(ctx, steer4_skb), arg!(ctx, steer4_ret));
    } else {
        let protocol = arg!(ctx, steer6_protocol);
        note(protocol, arg!(ctx, steer6_skb), arg!(ctx, steer6_ret));
    }
}

#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn note(protocol: u64, skb: u64, ret: u64) {
    if protocol & 0xffff_ffff == IPPROTO_TCP
        && skb != 0
        && let Some(slot) = inflight()
    {
        slot.facts_for(skb);
        slot.steered = u8::from(ret != 0);
    }
}

/// kretprobe: the packet is the one whose lookup is under way.
#[inline(always)]
pub(crate) fn exit_in_lookup<const FAMILY: u16, C: Traced>(ctx: &C) {
    let ret = if FAMILY == V4 {
        arg!(ctx, steer4_ret)
    } else {
        arg!(ctx, steer6_ret)
    };
    if let Some(slot) = inflight()
        && slot.is_looked_up()
    {
        slot.facts_for(slot.skb);
        // An error pointer is a program's SK_DROP: a choice as well.
        slot.steered = u8::from(!KernelPtr(ret).is_null());
    }
}
