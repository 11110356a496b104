//! The listener lookup: which packet it is for, and which socket it ended with.

use aya_ebpf::EbpfContext;
use sockpick_ebpf::abi::{Stats, steer};

use crate::{
    compat::debug,
    counters::stats,
    emit,
    fields::{Fields, KernelPtr, arg, config, field, mapped, words},
    filter,
    inflight::{Inflight, inflight, state},
};
#[cfg(not(feature = "legacy"))]
use crate::{fields::typed, suspects};

/// IPv4: `__inet_lookup_listener`.
pub(crate) const V4: u16 = 2;
/// IPv6: `inet6_lookup_listener`.
pub(crate) const V6: u16 = 10;

const IPPROTO_TCP: u8 = 6;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// An argument of the lookup of one family.
macro_rules! of {
    ($family:expr, $ctx:expr, $field:ident) => {
        if $family == V4 {
            arg!($ctx, lookup4.$field)
        } else {
            arg!($ctx, lookup6.$field)
        }
    };
}

/// fexit: arguments and result at once.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn whole<const FAMILY: u16, C: EbpfContext>(ctx: &C) {
    if FAMILY == V4 {
        seen_whole::<FAMILY, C>(
            ctx,
            typed!(ctx, lookup4.skb),
            typed!(ctx, lookup4.net),
            typed!(ctx, lookup4.ret),
        );
    } else {
        seen_whole::<FAMILY, C>(
            ctx,
            typed!(ctx, lookup6.skb),
            typed!(ctx, lookup6.net),
            typed!(ctx, lookup6.ret),
        );
    }
}

#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn seen_whole<const FAMILY: u16, C: EbpfContext>(
    ctx: &C,
    skb: impl Fields,
    net: impl Fields,
    sk: impl Fields,
) {
    let (Some(slot), Some(stats)) = (inflight(), stats()) else {
        return;
    };
    if of!(FAMILY, ctx, skb) == 0 {
        stats.no_skb += 1;
        return;
    }
    give_up_unfinished(slot, stats);
    let ret = of!(FAMILY, ctx, ret);
    if ret != 0 && put_off::<FAMILY, C>(ctx, slot, skb) {
        slot.found_sk = ret;
        return;
    }
    start::<FAMILY, C>(ctx, slot, stats, skb, net);
    end(ctx, slot, stats, ret, sk);
}

/// kprobe: the lookup starts.
#[inline(always)]
pub(crate) fn entry<const FAMILY: u16, C: EbpfContext>(ctx: &C) {
    let (Some(slot), Some(stats)) = (inflight(), stats()) else {
        return;
    };
    let skb = KernelPtr(of!(FAMILY, ctx, skb));
    slot.is_aside = u8::from(skb.is_null());
    if skb.is_null() {
        stats.no_skb += 1;
        return;
    }
    give_up_unfinished(slot, stats);
    slot.forget_facts();
    #[cfg(not(feature = "legacy"))]
    if put_off::<FAMILY, C>(ctx, slot, skb) {
        return;
    }
    let net = KernelPtr(of!(FAMILY, ctx, net));
    start::<FAMILY, C>(ctx, slot, stats, skb, net);
}

/// kretprobe: the lookup ended.
#[inline(always)]
pub(crate) fn exit<const FAMILY: u16, C: EbpfContext>(ctx: &C) {
    let (Some(slot), Some(stats)) = (inflight(), stats()) else {
        return;
    };
    if slot.is_aside != 0 {
        slot.is_aside = 0;
        return;
    }
    let sk = KernelPtr(of!(FAMILY, ctx, ret));
    #[cfg(not(feature = "legacy"))]
    if slot.state == state::UNREAD {
        slot.found_sk = sk.0;
        if !sk.is_null() {
            return;
        }
        // `tcp_conn_request` is not going to see it.
        read_after_all(slot, stats, KernelPtr(slot.skb));
    }
    end(ctx, slot, stats, sk.0, sk);
}

/// Leaves the packet to be read when `tcp_conn_request` takes it for processing, and it is known
/// to be a SYN: nearly none has to be, where suspects alone are recorded. False: it is to be read
/// now.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn put_off<const FAMILY: u16, C: EbpfContext>(
    ctx: &C,
    slot: &mut Inflight,
    skb: impl Fields,
) -> bool {
    if !suspects::are_wanted() || !is_received(skb) {
        return false;
    }
    place::<FAMILY, C>(ctx, slot);
    slot.skb = of!(FAMILY, ctx, skb);
    slot.found_sk = 0;
    slot.net = of!(FAMILY, ctx, net);
    slot.family = FAMILY;
    slot.state = state::UNREAD;
    true
}

/// Reads a packet that was left to be read; `skb`: its fields.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn read_after_all(slot: &mut Inflight, stats: &mut Stats, skb: impl Fields) {
    slot.state = state::IDLE;
    begin(slot, stats, skb, KernelPtr(slot.net), slot.family);
}

/// Whether TCP has the packet, and no netfilter rule.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn is_received(skb: impl Fields) -> bool {
    let (head, data) = skb.read_two::<u64>(config!(off.skb_head), config!(off.skb_data));
    let transport: u16 = field!(skb, skb_transport_header => u16);
    data.wrapping_sub(head) == u64::from(transport)
}

/// kprobe on the table walk inside the lookup.
#[inline(always)]
pub(crate) fn walked<C: EbpfContext>(_ctx: &C) {
    if let Some(slot) = inflight()
        && slot.is_looked_up()
    {
        slot.facts_for(slot.skb);
        slot.walked = 1;
    }
}

#[inline(always)]
fn start<const FAMILY: u16, C: EbpfContext>(
    ctx: &C,
    slot: &mut Inflight,
    stats: &mut Stats,
    skb: impl Fields,
    net: impl Fields,
) {
    place::<FAMILY, C>(ctx, slot);
    slot.skb = of!(FAMILY, ctx, skb);
    begin(slot, stats, skb, net, FAMILY);
}

/// Where the lookup has it that the packet came in.
#[inline(always)]
fn place<const FAMILY: u16, C: EbpfContext>(ctx: &C, slot: &mut Inflight) {
    slot.ifindex = of!(FAMILY, ctx, dif) as u32;
    slot.sdif = of!(FAMILY, ctx, sdif) as u32;
}

/// `fields`: those of the socket `ret`.
#[inline(always)]
fn end<C: EbpfContext>(
    ctx: &C,
    slot: &mut Inflight,
    stats: &mut Stats,
    ret: u64,
    fields: impl Fields,
) {
    let sk = KernelPtr(ret);
    if slot.state == state::FILTERED {
        slot.done(sk);
    } else if slot.state == state::NETFILTER {
        slot.state = state::IDLE;
        slot.nf_skb = slot.skb;
        slot.nf_sk = sk.0;
        slot.forget_facts();
    } else if slot.state == state::RECEIVE {
        emit::finish(ctx, slot, stats, sk, fields, steer::LOOKUP);
        debug!(
            ctx,
            "SYN for port {}: found={}",
            u16::from_be(slot.destination_port_be),
            u8::from(!sk.is_null())
        );
    }
}

/// A lookup whose end was not seen (its return probe was missed) is lost, and
/// said to be so when the next one starts.
#[inline(always)]
pub(crate) fn give_up_unfinished(slot: &mut Inflight, stats: &mut Stats) {
    if slot.state == state::RECEIVE {
        stats.lost_return += 1;
    }
    slot.state = state::IDLE;
}

/// Reads the packet into the slot, which has its address already. Leaves the slot idle unless it
/// is a SYN that is to be recorded, or one that netfilter looks up.
#[inline(always)]
pub(crate) fn begin(
    slot: &mut Inflight,
    stats: &mut Stats,
    skb: impl Fields,
    net: impl Fields,
    family: u16,
) {
    let (head, data) = skb.read_two::<u64>(config!(off.skb_head), config!(off.skb_data));
    let head = KernelPtr(head);
    let (transport, network) = skb.read_two::<u16>(
        config!(off.skb_transport_header),
        config!(off.skb_network_header),
    );
    let (transport, network) = (u64::from(transport), u64::from(network));
    let tcp: [u8; 16] = head.at(transport).load();
    if tcp[13] & (SYN | ACK | RST | FIN) != SYN {
        stats.not_syn += 1;
        return;
    }
    let position = data.wrapping_sub(head.0);
    if position != transport && position != network {
        stats.other_stage += 1;
        return;
    }
    if !read_addresses(slot, head.at(network), family) {
        stats.not_syn += 1;
        return;
    }
    slot.family = family;
    if position != transport {
        stats.netfilter += 1;
        slot.state = state::NETFILTER;
        return;
    }
    slot.client_port_be = u16::from_ne_bytes([tcp[0], tcp[1]]);
    slot.destination_port_be = u16::from_ne_bytes([tcp[2], tcp[3]]);
    slot.seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    slot.netns = field!(net, net_inum => u32);
    slot.netns_cookie = net.read_if_there(config!(off.net_cookie));
    if !filter::passes(&slot.flow()) {
        stats.filtered += 1;
        slot.state = state::FILTERED;
        return;
    }
    stats.syns += 1;
    slot.state = state::RECEIVE;
}

/// Addresses from the IP header; false if the packet is known not to be TCP
/// (DCCP shares the lookup functions up to 6.15).
#[inline(always)]
fn read_addresses(slot: &mut Inflight, ip: KernelPtr, family: u16) -> bool {
    if family == V4 {
        let header: [u8; 12] = ip.at(8).load();
        if header[1] != IPPROTO_TCP {
            return false;
        }
        *words(&mut slot.client) = mapped([header[4], header[5], header[6], header[7]]);
        *words(&mut slot.destination) = mapped([header[8], header[9], header[10], header[11]]);
    } else {
        // No protocol check: extension headers may stand before TCP.
        ip.at(8).copy_to(slot.addresses());
    }
    true
}
