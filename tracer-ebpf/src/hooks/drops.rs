//! The tracepoint `skb:kfree_skb`: the kernel drops a packet. A SYN that is dropped after its
//! lookup and before `tcp_conn_request` (TCP-MD5 or -AO, a socket filter, a policy) has a
//! listener that never took it.

use aya_ebpf::{EbpfContext, macros::map, maps::HashMap};
#[cfg(not(feature = "legacy"))]
use sockpick_ebpf::abi::steer;
use sockpick_ebpf::abi::{Dropped, MAX_DROPPED};

use crate::{
    counters::stats,
    emit,
    fields::{KernelPtr, config, field},
    inflight::inflight,
};
#[cfg(not(feature = "legacy"))]
use crate::{
    hooks::lookup,
    inflight::{Inflight, state},
};

#[map]
static DROPPED: HashMap<Dropped, u32> = HashMap::with_max_entries(MAX_DROPPED, 0);

/// Place of the sequence number in the TCP header.
const SEQ: u64 = 4;

/// A packet is dropped. The one whose lookup ended last on this CPU is dropped in the same go, if
/// it is: `tcp_v4_rcv` and `tcp_v6_rcv` look up, check and hand on.
#[inline(always)]
pub(crate) fn dropped<C: EbpfContext>(
    #[cfg_attr(
        feature = "legacy",
        expect(
            unused_variables,
            reason = "these programs read each packet at its lookup"
        )
    )]
    ctx: &C,
    skb: KernelPtr,
) {
    let Some(slot) = inflight() else {
        return;
    };
    #[cfg(not(feature = "legacy"))]
    read_after_all(ctx, slot, skb);
    if slot.done_skb != skb.0 || slot.done_sk == 0 || slot.done_ns == 0 {
        return;
    }
    slot.done_skb = 0;
    // Another packet may have the memory by now, where the kernel skipped `tcp_conn_request`'s
    // hook.
    let head = skb.follow(config!(off.skb_head));
    let transport = u64::from(field!(skb, skb_transport_header => u16));
    let seq_be: u32 = head.at(transport + SEQ).load();
    if u32::from_be(seq_be) != slot.done_seq {
        return;
    }
    let key = Dropped {
        ktime_ns: slot.done_ns,
        cpu: emit::cpu(),
        reserved: 0,
    };
    // The value says nothing; before 5.2 it has to lie on the stack.
    if DROPPED.insert(key, seq_be, 0).is_err()
        && let Some(stats) = stats()
    {
        stats.dropped_full += 1;
    }
}

/// A packet that `tcp_conn_request` was to read.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn read_after_all<C: EbpfContext>(ctx: &C, slot: &mut Inflight, skb: KernelPtr) {
    let sk = KernelPtr(slot.found_sk);
    if sk.is_null() || !slot.is_unread(skb, sk) {
        return;
    }
    let Some(stats) = stats() else { return };
    lookup::read_after_all(slot, stats, skb);
    if slot.state == state::RECEIVE {
        emit::finish(ctx, slot, stats, sk, sk, steer::LOOKUP);
    }
}
