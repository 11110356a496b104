//! `tcp_conn_request`: the kernel takes the SYN for processing on a socket. Nearly
//! always that is the one its lookup ended with; otherwise something steered it.

use sockpick_ebpf::abi::{ABSENT, Stats, steer};

use crate::{
    compat::debug,
    emit,
    fields::{Fields, KernelPtr, Traced, arg, config, field},
    hooks::lookup::{self, V4, V6},
    inflight::{Inflight, state},
    percpu::own,
};
#[cfg(not(feature = "legacy"))]
use crate::{fields::typed, suspects};

/// fentry
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn entering<C: Traced>(ctx: &C) {
    taken(ctx, typed!(ctx, request_sk), typed!(ctx, request_skb));
}

/// kprobe
#[inline(always)]
pub(crate) fn entry<C: Traced>(ctx: &C) {
    let (sk, skb) = (arg!(ctx, request_sk), arg!(ctx, request_skb));
    taken(ctx, KernelPtr(sk), KernelPtr(skb));
}

/// Entry of `tcp_conn_request(rsk_ops, af_ops, sk, skb)`: fields of the socket and the packet.
#[inline(always)]
fn taken<C: Traced>(
    ctx: &C,
    #[cfg_attr(
        feature = "legacy",
        expect(unused_variables, reason = "these programs record every SYN")
    )]
    socket: impl Fields,
    packet: impl Fields,
) {
    let Some((slot, stats)) = own() else {
        return;
    };
    let sk = KernelPtr(arg!(ctx, request_sk));
    let skb = KernelPtr(arg!(ctx, request_skb));
    #[cfg(not(feature = "legacy"))]
    if slot.is_left_out(skb, sk) {
        slot.state = state::IDLE;
        slot.forget_facts();
        slot.forget_netfilter();
        stats.filtered += 1;
        return;
    }
    #[cfg(not(feature = "legacy"))]
    let is_unread = slot.is_unread(skb, sk);
    #[cfg(feature = "legacy")]
    let is_unread = false;
    if is_unread {
        #[cfg(not(feature = "legacy"))]
        if suspects::excludes_unread(slot, stats, sk, socket) {
            return;
        }
        #[cfg(not(feature = "legacy"))]
        lookup::read_after_all(slot, stats, packet);
        if slot.state != state::RECEIVE {
            return;
        }
    } else if slot.done_skb == skb.0 && slot.done_sk == sk.0 {
        slot.done_skb = 0;
        // The sequence number tells the packet from an earlier one that was dropped
        // after its lookup and whose memory this one got.
        let is_known = config!(off.skb_cb_seq) != ABSENT;
        if !is_known || field!(packet, skb_cb_seq => u32) == slot.done_seq {
            return;
        }
    }
    // Was not read yet, or the lookup's return probe was missed, whose result is here all the same.
    let mut by = steer::LOOKUP;
    if slot.state != state::RECEIVE || slot.skb != skb.0 {
        by = steered(slot, stats, sk, skb);
    }
    if slot.state == state::RECEIVE {
        emit::finish(ctx, slot, stats, sk, sk, by);
        slot.done_skb = 0;
        debug!(
            ctx,
            "SYN for port {} is known when it is taken: steer={}",
            u16::from_be(slot.destination_port_be),
            by
        );
    }
}

/// Begins a SYN that no lookup was seen for, and says who steered it.
#[inline(always)]
fn steered(slot: &mut Inflight, stats: &mut Stats, sk: KernelPtr, skb: KernelPtr) -> u8 {
    lookup::give_up_unfinished(slot, stats);
    let by = if lookup_was_skipped() {
        steer::UNSEEN
    } else if slot.nf_skb == skb.0 && (slot.nf_sk == sk.0 || slot.nf_sk == 0) {
        steer::TPROXY
    } else {
        steer::ASSIGN
    };
    slot.nf_skb = 0;
    let head = skb.follow(config!(off.skb_head));
    let network = u64::from(field!(skb, skb_network_header => u16));
    let version = head.at(network).load::<u8>() >> 4;
    slot.ifindex = skb.read_if_there(config!(off.skb_iif));
    slot.sdif = 0;
    let net = sk.follow(config!(off.sk_net));
    slot.skb = skb.0;
    lookup::begin(slot, stats, skb, net, if version == 4 { V4 } else { V6 });
    by
}

/// Whether the kernel skips kprobe programs on this CPU, and so skipped those on the lookup of
/// the same packet: this softirq interrupted another BPF program, a system call on a map
/// (`bpf_prog_active`, `kernel/trace/bpf_trace.c`) or the handler of a kprobe (`current_kprobe`,
/// `kprobe_ftrace_handler`). It does not skip this hook's fentry for them.
#[inline(always)]
fn lookup_was_skipped() -> bool {
    let areas = config!(per_cpu_offset);
    if areas == 0 {
        return false;
    }
    let area = KernelPtr(KernelPtr(areas).at(u64::from(emit::cpu()) * 8).load());
    area.at(config!(prog_active)).load::<u32>() != 0
        || area.at(config!(current_kprobe)).load::<u64>() != 0
}
