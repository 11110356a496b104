//! The tracepoint `skb:kfree_skb`: the kernel drops a packet. A SYN that is dropped after its
//! lookup and before `tcp_conn_request` (TCP-MD5 or -AO, a socket filter, a policy) has a
//! listener that never took it.

#[cfg(not(feature = "legacy"))]
use aya_ebpf::EbpfContext;
use aya_ebpf::{macros::map, maps::HashMap};
#[cfg(not(feature = "legacy"))]
use sockpick_ebpf::abi::steer;
use sockpick_ebpf::abi::{Dropped, MAX_DROPPED, Stats};

use crate::{
    emit,
    fields::{KernelPtr, config, field},
    inflight::Inflight,
    percpu::own,
};
#[cfg(not(feature = "legacy"))]
use crate::{
    hooks::lookup,
    inflight::state,
    listeners::{self, TCP_LISTEN},
};

#[map]
static DROPPED: HashMap<Dropped, u32> = HashMap::with_max_entries(MAX_DROPPED, 0);

/// Place of the sequence number in the TCP header.
const SEQ: u64 = 4;

/// What the tracepoint tells of the socket that a packet was for.
#[cfg(not(feature = "legacy"))]
#[derive(Clone, Copy)]
pub(crate) enum Receiver {
    /// Nothing.
    Unknown,
    /// Whether there was none (5.17).
    Reason(u32),
    /// Which (6.11); null: none.
    Socket(KernelPtr),
}

/// A packet is dropped. The one whose lookup ended last on this CPU is dropped in the same go, if
/// it is: `tcp_v4_rcv` and `tcp_v6_rcv` look up, check and hand on.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn dropped<C: EbpfContext>(ctx: &C, skb: KernelPtr, receiver: Receiver) {
    let Some((slot, stats)) = own() else {
        return;
    };
    read_after_all(ctx, slot, stats, skb, receiver);
    note(slot, stats, skb);
}

/// The same, where each packet is read at its lookup.
#[cfg(feature = "legacy")]
#[inline(always)]
pub(crate) fn dropped(skb: KernelPtr) {
    if let Some((slot, stats)) = own() {
        note(slot, stats, skb);
    }
}

/// Of a SYN that has a record.
#[inline(always)]
fn note(slot: &mut Inflight, stats: &mut Stats, skb: KernelPtr) {
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
    if DROPPED.insert(key, seq_be, 0).is_err() {
        stats.dropped_full += 1;
    }
}

/// A packet that `tcp_conn_request` was to read.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn read_after_all<C: EbpfContext>(
    ctx: &C,
    slot: &mut Inflight,
    stats: &mut Stats,
    skb: KernelPtr,
    receiver: Receiver,
) {
    if slot.state != state::UNREAD || slot.skb != skb.0 {
        return;
    }
    let mut sk = KernelPtr(slot.found_sk);
    let mut is_known = true;
    if sk.is_null() {
        match receiver {
            Receiver::Unknown => return,
            Receiver::Reason(reason) => is_known = reason == config!(no_socket),
            Receiver::Socket(named) => sk = listener_or_none(named),
        }
    }
    lookup::read_after_all(slot, stats, skb);
    if slot.state != state::RECEIVE {
        return;
    }
    if is_known {
        emit::finish(ctx, slot, stats, sk, sk, steer::LOOKUP);
    } else {
        // Who got it is told by nothing but the end of its lookup.
        slot.state = state::IDLE;
        stats.lost_return += 1;
    }
}

/// A SYN for which nobody listens may be dropped on behalf of a connection that is over.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn listener_or_none(sk: KernelPtr) -> KernelPtr {
    let listens = field!(sk, sk_state => u8) == TCP_LISTEN;
    if listens || listeners::known(sk).is_some() {
        sk
    } else {
        KernelPtr(0)
    }
}
