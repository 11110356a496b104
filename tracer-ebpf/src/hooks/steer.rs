//! `inet_lookup_run_sk_lookup`: runs only while some namespace has an `sk_lookup`
//! program (6.6 and later; inlined before).

use aya_ebpf::EbpfContext;

use crate::{
    fields::{KernelPtr, arg, config},
    hooks::lookup::V4,
    inflight::{inflight, state},
};

#[cfg(not(feature = "legacy"))]
const IPPROTO_TCP: u64 = 6;

/// fexit: the packet is an argument.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn exit<const FAMILY: u16, C: EbpfContext>(ctx: &C) {
    let (protocol, skb, ret) = if FAMILY == V4 {
        (
            config!(args.steer4_protocol),
            config!(args.steer4_skb),
            config!(args.steer4_ret),
        )
    } else {
        (
            config!(args.steer6_protocol),
            config!(args.steer6_skb),
            config!(args.steer6_ret),
        )
    };
    if arg(ctx, protocol) & 0xffff_ffff != IPPROTO_TCP {
        return;
    }
    let skb = arg(ctx, skb);
    if skb != 0
        && let Some(slot) = inflight()
    {
        slot.facts_for(skb);
        slot.steered = u8::from(arg(ctx, ret) != 0);
    }
}

/// kretprobe: the packet is the one whose lookup is under way.
#[inline(always)]
pub(crate) fn exit_in_lookup<const FAMILY: u16, C: EbpfContext>(ctx: &C) {
    let ret = if FAMILY == V4 {
        config!(args.steer4_ret)
    } else {
        config!(args.steer6_ret)
    };
    if let Some(slot) = inflight()
        && slot.state != state::IDLE
    {
        slot.facts_for(slot.skb);
        // An error pointer is a program's SK_DROP: a choice as well.
        slot.steered = u8::from(!KernelPtr(arg(ctx, ret)).is_null());
    }
}
