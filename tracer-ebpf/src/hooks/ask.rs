//! A question to the kernel's own listener lookup, in a test run: which socket would a SYN
//! get? Nothing is sent, and nothing is attached.

use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock,
    helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp},
    macros::map,
    maps::Array,
    programs::TcContext,
};
use sockpick_ebpf::abi::{Ask, asked, group_prog};

use crate::{
    emit::{self, PROG_TYPE_CLASSIC},
    fields::{KernelPtr, config, field},
    listeners::{self, TCP_LISTEN},
};

/// `BPF_F_CURRENT_NETNS`: the namespace of the test run's device, which is the caller's.
const CURRENT_NETNS: u64 = u64::MAX;
const AF_INET: u32 = 2;
/// Sizes of the two members of `struct bpf_sock_tuple`.
const IPV4_TUPLE: u32 = 12;
const IPV6_TUPLE: u32 = 36;

/// The question, and then the answer.
#[map]
static ASK: Array<Ask> = Array::with_max_entries(1, 0);

/// Looks the tuple up and describes the listener that was found.
///
/// The lookup is the receive path's (`__inet_lookup`, `__inet6_lookup`): connections first,
/// then `sk_lookup` programs, then the tables. It has no packet, so a group's program is
/// passed over and the hash chooses (`reuseport_select_sock`,
/// `net/core/sock_reuseport.c`).
#[inline(always)]
pub(crate) fn ask(ctx: &TcContext) {
    let Some(ask) = ASK.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a live map value; user space leaves it alone while the program runs.
    let ask = unsafe { &mut *ask };
    let sk = if ask.family == AF_INET {
        lookup(ctx, ask, IPV4_TUPLE)
    } else {
        lookup(ctx, ask, IPV6_TUPLE)
    };
    if sk.is_null() {
        ask.status = asked::NOTHING;
        return;
    }
    describe(ask, sk);
    // SAFETY: the socket that the lookup gave, with the reference it may have taken.
    unsafe { bpf_sk_release(sk.cast()) };
}

#[inline(always)]
fn lookup(ctx: &TcContext, ask: &mut Ask, size: u32) -> *mut bpf_sock {
    let tuple = (&raw mut ask.tuple).cast();
    // SAFETY: the helper reads `size` bytes of the tuple, which has as many.
    unsafe { bpf_skc_lookup_tcp(ctx.as_ptr(), tuple, size, CURRENT_NETNS, 0) }
}

#[inline(always)]
fn describe(ask: &mut Ask, sk: *mut bpf_sock) {
    let sk = parked(ask, sk);
    let state = field!(sk, sk_state => u8);
    ask.state = state.into();
    // A request or a TIME_WAIT socket has no more than the common fields.
    if state != TCP_LISTEN {
        ask.status = asked::CONNECTION;
        return;
    }
    let Some(listener) = listeners::read(sk, listeners::PROCESS) else {
        return;
    };
    emit::copy(listener, &mut ask.listener);
    ask.listener.cookie = sk.read_if_there(config!(off.sk_cookie));
    ask.queue_len = field!(sk, sk_ack_backlog => u32);
    ask.queue_limit = field!(sk, sk_max_ack_backlog => u32);
    group(ask, sk);
    ask.status = asked::LISTENER;
}

#[inline(always)]
fn group(ask: &mut Ask, sk: KernelPtr) {
    let reuse = sk.follow(config!(off.sk_reuseport_cb));
    if reuse.is_null() {
        return;
    }
    ask.group_size = field!(reuse, reuse_num_socks => u16);
    ask.member = emit::member(reuse, sk, ask.group_size, 0);
    let prog = reuse.follow(config!(off.reuse_prog));
    if prog.is_null() {
        return;
    }
    if field!(prog, prog_type => u32) == PROG_TYPE_CLASSIC {
        ask.group_prog = group_prog::CLASSIC.into();
    } else {
        ask.prog_id = field!(prog.follow(config!(off.prog_aux)), aux_id => u32);
        ask.group_prog = group_prog::EBPF.into();
    }
}

/// The socket's address as a plain number, by way of the map: the verifier allows no
/// arithmetic on its own pointers ("pointer arithmetic on `sock_common` prohibited").
#[inline(always)]
fn parked(ask: &mut Ask, sk: *mut bpf_sock) -> KernelPtr {
    let place = &raw mut ask.sock;
    // SAFETY: an aligned u64 in a live map value; volatile so that it is not folded away.
    unsafe { place.write_volatile(sk.addr() as u64) };
    // SAFETY: as above.
    KernelPtr(unsafe { place.read_volatile() })
}
