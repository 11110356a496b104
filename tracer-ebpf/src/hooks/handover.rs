//! A connection comes to a listener after its SYN: when the ACK of a SYN cookie is looked up
//! anew (`tcp_get_cookie_sock`), or when its listener closes and another of the group takes it
//! over (`reuseport_migrate_sock`, 5.14).

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::PerCpuArray};
use sockpick_ebpf::abi::{ABSENT, HandoverRecord, handover, kind};

use crate::{
    emit,
    fields::{KernelPtr, Traced, arg, config, field, mapped, words},
    filter::{self, Flow},
    hooks::lookup::{V4, V6},
    listeners,
    percpu::stats,
    record,
};
#[cfg(not(feature = "legacy"))]
use crate::{inflight::state, percpu::inflight};

/// The connection that this CPU migrates, and the thread it does so in: the kernel has softirqs
/// disabled from before the call until after it, so one is enough.
#[map]
static MIGRATING: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// Entry of `tcp_get_cookie_sock(sk, skb, req, dst)`: the cookie is valid.
#[inline(always)]
pub(crate) fn cookie<C: Traced>(ctx: &C) {
    #[cfg(not(feature = "legacy"))]
    if let Some(slot) = inflight()
        && slot.state == state::UNREAD
    {
        // The lookup was this ACK's, whose memory may be another packet's next.
        slot.state = state::IDLE;
    }
    let sk = KernelPtr(arg!(ctx, cookie_sk));
    let length: u32 = sk.read_if_there(config!(off.sk_ack_backlog));
    let limit: u32 = sk.read_if_there(config!(off.sk_max_ack_backlog));
    // A full accept queue drops the ACK.
    if length <= limit {
        let request = KernelPtr(arg!(ctx, cookie_req));
        note(ctx, sk, request, handover::COOKIE_ACK);
    }
}

/// fexit: connection and new listener at once.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn migrated<C: Traced>(ctx: &C) {
    let connection = KernelPtr(arg!(ctx, migrate_sk));
    to_listener(ctx, connection);
}

/// kprobe
#[inline(always)]
pub(crate) fn migrating<C: Traced>(ctx: &C) {
    if let Some(place) = MIGRATING.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU, which no other program uses.
        let place = unsafe { &mut *place };
        place[0] = arg!(ctx, migrate_sk);
        place[1] = bpf_get_current_pid_tgid();
    }
}

/// kretprobe
#[inline(always)]
pub(crate) fn migrated_since<C: Traced>(ctx: &C) {
    let Some(place) = MIGRATING.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as above.
    let place = unsafe { &mut *place };
    let connection = KernelPtr(place[0]);
    place[0] = 0;
    if !connection.is_null() && place[1] == bpf_get_current_pid_tgid() {
        to_listener(ctx, connection);
    }
}

/// Without a new listener the connection ends with its old one.
#[inline(always)]
fn to_listener<C: Traced>(ctx: &C, connection: KernelPtr) {
    let sk = KernelPtr(arg!(ctx, migrate_ret));
    if !sk.is_null() {
        note(ctx, sk, connection, handover::MIGRATED);
    }
}

/// `sk` listens; `connection`, a request or a child, has the addresses and ports.
#[inline(always)]
fn note<C: Traced>(ctx: &C, sk: KernelPtr, connection: KernelPtr, why: u8) {
    let Some(stats) = stats() else { return };
    let mut family = field!(connection, sk_family => u16);
    let (client, destination);
    if family == V6 && config!(off.sk_v6_daddr) != ABSENT {
        client = field!(connection, sk_v6_daddr => [u64; 2]);
        destination = field!(connection, sk_v6_rcv_saddr => [u64; 2]);
        // An IPv4 connection of an IPv6 listener.
        if destination[0] == 0 && destination[1] as u32 == 0xffff_0000 {
            family = V4;
        }
    } else {
        client = mapped(field!(connection, sk_daddr => [u8; 4]));
        destination = mapped(field!(connection, sk_rcv_saddr => [u8; 4]));
    }
    let client_port_be = field!(connection, sk_dport => u16);
    let destination_port_be = field!(connection, sk_num => u16).to_be();
    let net = sk.follow(config!(off.sk_net));
    let netns = field!(net, net_inum => u32);
    let flow = Flow {
        netns,
        family,
        destination_port_be,
        client: bytes(&client),
        destination: bytes(&destination),
    };
    if !filter::passes(&flow) {
        return;
    }
    let Some(listener) = listeners::of(sk, listeners::SOFTIRQ, stats) else {
        return;
    };
    let written = record::write(
        ctx,
        #[inline(always)]
        |record: &mut HandoverRecord| {
            record.kind = kind::HANDOVER;
            record.cpu = emit::cpu();
            record.ktime_ns = emit::now();
            record.netns_cookie = net.read_if_there(config!(off.net_cookie));
            put(&client, &mut record.client);
            put(&destination, &mut record.destination);
            record.netns = netns;
            record.bound_dev_if = field!(sk, sk_bound_dev_if => u32);
            record.queue_len = sk.read_if_there(config!(off.sk_ack_backlog));
            record.queue_limit = sk.read_if_there(config!(off.sk_max_ack_backlog));
            record.client_port_be = client_port_be;
            record.destination_port_be = destination_port_be;
            record.family = family;
            record.why = why;
            record.reserved = 0;
            emit::copy(listener, &mut record.listener);
        },
    );
    if written {
        stats.listener_records += 1;
    } else {
        stats.lost_handovers += 1;
    }
}

#[inline(always)]
fn bytes(address: &[u64; 2]) -> &[u8; 16] {
    // SAFETY: the same bytes.
    unsafe { &*core::ptr::from_ref(address).cast() }
}

/// Word by word: see [`emit::copy`].
#[inline(always)]
fn put(from: &[u64; 2], to: &mut [u8; 16]) {
    let to = words(to);
    to[0] = from[0];
    to[1] = from[1];
}
