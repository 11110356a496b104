//! The listener lookup: which packet it is for, and which socket it ended with.

use sockpick_ebpf::abi::{Stats, steer};

use crate::{
    compat::debug,
    emit,
    fields::{
        Fields, KernelPtr, Traced, arg, args, field, field_if_there, mapped, two_fields, words,
    },
    filter,
    inflight::{Inflight, state},
    percpu::{inflight, own},
};
#[cfg(not(feature = "legacy"))]
use crate::{
    fields::{control, typed},
    suspects,
};

/// As a socket that a netfilter rule looked up: there is none.
const NOBODY: u64 = u64::MAX;

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
pub(crate) fn whole<const FAMILY: u16, C: Traced>(ctx: &C) {
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
fn seen_whole<const FAMILY: u16, C: Traced>(
    ctx: &C,
    skb: impl Fields,
    net: impl Fields,
    sk: impl Fields,
) {
    let Some((slot, stats)) = own() else {
        return;
    };
    let packet = of!(FAMILY, ctx, skb);
    if packet == 0 {
        stats.no_skb += 1;
        return;
    }
    give_up_unfinished(slot, stats);
    let ret = of!(FAMILY, ctx, ret);
    slot.skb = packet;
    if ret != 0 && leaves_out(slot, skb, net, sk) {
        slot.found_sk = ret;
        slot.state = state::LEFT_OUT;
        return;
    }
    if ret != 0 && put_off::<FAMILY, C>(ctx, slot, skb) {
        slot.found_sk = ret;
        return;
    }
    start::<FAMILY, C>(ctx, slot, stats, skb, net);
    end(ctx, slot, stats, ret, sk);
    // Also those of a packet that is not recorded: its memory is another packet's next.
    slot.forget_facts();
}

/// kprobe: the lookup starts.
#[inline(always)]
pub(crate) fn entry<const FAMILY: u16, C: Traced>(ctx: &C) {
    let skb = KernelPtr(of!(FAMILY, ctx, skb));
    let net = KernelPtr(of!(FAMILY, ctx, net));
    seen_entry::<FAMILY, C>(ctx, skb, net);
}

/// fentry: the same, where its end is not looked at.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn entering<const FAMILY: u16, C: Traced>(ctx: &C) {
    if FAMILY == V4 {
        seen_entry::<FAMILY, C>(ctx, typed!(ctx, lookup4.skb), typed!(ctx, lookup4.net));
    } else {
        seen_entry::<FAMILY, C>(ctx, typed!(ctx, lookup6.skb), typed!(ctx, lookup6.net));
    }
}

#[inline(always)]
fn seen_entry<const FAMILY: u16, C: Traced>(ctx: &C, skb: impl Fields, net: impl Fields) {
    let Some((slot, stats)) = own() else {
        return;
    };
    let packet = of!(FAMILY, ctx, skb);
    slot.is_aside = u8::from(packet == 0);
    if packet == 0 {
        stats.no_skb += 1;
        return;
    }
    give_up_unfinished(slot, stats);
    slot.forget_facts();
    slot.skb = packet;
    #[cfg(not(feature = "legacy"))]
    if put_off::<FAMILY, C>(ctx, slot, skb) {
        return;
    }
    start::<FAMILY, C>(ctx, slot, stats, skb, net);
}

/// kretprobe: the lookup ended.
#[inline(always)]
pub(crate) fn exit<const FAMILY: u16, C: Traced>(ctx: &C) {
    let Some((slot, stats)) = own() else {
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

/// Whether the filter leaves out the port of the listener, which is the packet's, as nothing
/// steered it: a SYN that is not to be recorded is not read.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn leaves_out(slot: &Inflight, skb: impl Fields, net: impl Fields, sk: impl Fields) -> bool {
    if filter::passes_port(field!(sk, sk_num => u16)) {
        return false;
    }
    let also_netns = control!(also_netns);
    control!(only_netns) == 0
        && (also_netns == 0 || also_netns != field!(net, net_inum => u32))
        && emit::steering(slot, steer::LOOKUP) == steer::LOOKUP
        && is_received(skb)
}

/// Leaves the packet to be read when `tcp_conn_request` takes it for processing, and it is known
/// to be a SYN: nearly none has to be, where suspects alone are recorded. False: it is to be read
/// now.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn put_off<const FAMILY: u16, C: Traced>(ctx: &C, slot: &mut Inflight, skb: impl Fields) -> bool {
    if !suspects::are_wanted() || !is_received(skb) {
        return false;
    }
    place::<FAMILY, C>(ctx, slot);
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
    let (head, data) = two_fields!(skb, skb_head, skb_data => u64);
    let transport: u16 = field!(skb, skb_transport_header => u16);
    data.wrapping_sub(head) == u64::from(transport)
}

/// kprobe on the table walk inside the lookup.
#[inline(always)]
pub(crate) fn walked<C: Traced>(_ctx: &C) {
    if let Some(slot) = inflight()
        && slot.is_looked_up()
    {
        slot.facts_for(slot.skb);
        slot.walked = 1;
    }
}

#[inline(always)]
fn start<const FAMILY: u16, C: Traced>(
    ctx: &C,
    slot: &mut Inflight,
    stats: &mut Stats,
    skb: impl Fields,
    net: impl Fields,
) {
    place::<FAMILY, C>(ctx, slot);
    begin(slot, stats, skb, net, FAMILY);
}

/// Where the lookup has it that the packet came in.
#[inline(always)]
fn place<const FAMILY: u16, C: Traced>(ctx: &C, slot: &mut Inflight) {
    let (dif, sdif) = if FAMILY == V4 {
        args!(ctx, lookup4.dif, lookup4.sdif)
    } else {
        args!(ctx, lookup6.dif, lookup6.sdif)
    };
    slot.ifindex = dif as u32;
    slot.sdif = sdif as u32;
}

/// `fields`: those of the socket `ret`.
#[inline(always)]
fn end<C: Traced>(ctx: &C, slot: &mut Inflight, stats: &mut Stats, ret: u64, fields: impl Fields) {
    let sk = KernelPtr(ret);
    if slot.state == state::FILTERED {
        slot.done(sk);
    } else if slot.state == state::NETFILTER {
        slot.state = state::IDLE;
        slot.nf_sk = if sk.is_null() { NOBODY } else { sk.0 };
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
    let (head, data) = two_fields!(skb, skb_head, skb_data => u64);
    let head = KernelPtr(head);
    let (transport, network) = two_fields!(skb, skb_transport_header, skb_network_header => u16);
    let (transport, network) = (u64::from(transport), u64::from(network));
    let (ip, tcp) = headers(head, network, transport, family);
    // Flags are in the second byte of the fourth word.
    if (tcp[3] >> 8) as u8 & (SYN | ACK | RST | FIN) != SYN {
        stats.not_syn += 1;
        return;
    }
    let position = data.wrapping_sub(head.0);
    if position != transport && position != network {
        stats.other_stage += 1;
        return;
    }
    if family == V4 {
        // DCCP shares the lookup functions up to 6.15.
        if (ip[0] >> 8) as u8 != IPPROTO_TCP {
            stats.not_syn += 1;
            return;
        }
        *words(&mut slot.client) = mapped(ip[1].to_ne_bytes());
        *words(&mut slot.destination) = mapped(ip[2].to_ne_bytes());
    } else {
        // No protocol check: extension headers may stand before TCP.
        head.at(network + 8).copy_to(slot.addresses());
    }
    slot.family = family;
    if position != transport {
        stats.netfilter += 1;
        slot.state = state::NETFILTER;
        slot.nf_skb = slot.skb;
        slot.nf_sk = 0;
        return;
    }
    slot.client_port_be = tcp[0] as u16;
    slot.destination_port_be = (tcp[0] >> 16) as u16;
    slot.seq = u32::from_be(tcp[1]);
    slot.netns = field!(net, net_inum => u32);
    slot.netns_cookie = field_if_there!(net, net_cookie => u64);
    if !filter::passes(&slot.flow()) {
        stats.filtered += 1;
        slot.state = state::FILTERED;
        return;
    }
    stats.syns += 1;
    slot.state = state::RECEIVE;
}

/// Of an IPv4 header the last three words, which are protocol and addresses; and the first four of
/// the TCP header: all in memory order, on this little-endian target. A read costs a hundred
/// instructions, so it is one where there are no IP options.
#[inline(always)]
fn headers(head: KernelPtr, network: u64, transport: u64, family: u16) -> ([u32; 3], [u32; 4]) {
    let ip = head.at(network + 8);
    if family != V4 {
        return ([0; 3], head.at(transport).load());
    }
    if transport == network + 20 {
        let both: [u32; 7] = ip.load();
        let ip = [both[0], both[1], both[2]];
        return (ip, [both[3], both[4], both[5], both[6]]);
    }
    (ip.load(), head.at(transport).load())
}
