//! Listeners come (`inet_csk_listen_start`) and go (`inet_unhash`).

use aya_ebpf::{EbpfContext, helpers::bpf_get_current_pid_tgid};
use sockpick_ebpf::abi::{Listener, Stats, kind};

use crate::{
    compat::debug,
    counters::stats,
    emit,
    fields::{Fields, KernelPtr, arg, current_comm, field},
    hooks::calls,
    listeners::{self, TCP_LISTEN},
};
#[cfg(not(feature = "legacy"))]
use crate::{fields::typed, suspects};

/// fexit: socket and result at once.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn started<C: EbpfContext>(ctx: &C) {
    note(ctx, KernelPtr(arg!(ctx, listen_sk)), arg!(ctx, listen_ret));
}

/// kprobe
#[inline(always)]
pub(crate) fn start_entry<C: EbpfContext>(ctx: &C) {
    calls::remember(KernelPtr(arg!(ctx, listen_sk)));
}

/// kretprobe
#[inline(always)]
pub(crate) fn start_exit<C: EbpfContext>(ctx: &C) {
    if let Some(sk) = calls::recall() {
        note(ctx, sk, arg!(ctx, listen_ret));
    }
}

/// The socket is in the table now, in the context of the process that called `listen()`.
#[inline(always)]
fn note<C: EbpfContext>(ctx: &C, sk: KernelPtr, result: u64) {
    if result as u32 != 0 {
        return;
    }
    let Some(stats) = stats() else { return };
    // A SYN may have met it already, between its hashing and this return: then it
    // has its name. Another inode means that the address was used again.
    let entry = match listeners::known(sk) {
        Some(entry) if entry.closed == 0 && entry.inode == listeners::inode(sk) => Some(entry),
        _ => listeners::replace(sk, stats),
    };
    let Some(entry) = entry else { return };
    entry.listen_pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(comm) = current_comm() {
        entry.listen_comm = comm;
    }
    debug!(ctx, "listener on port {} opened", entry.port);
    record(ctx, kind::LISTEN, sk, entry, stats);
}

/// fentry of `inet_unhash`
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn unhashing<C: EbpfContext>(ctx: &C) {
    leaves(ctx, typed!(ctx, unhash_sk));
}

/// kprobe
#[inline(always)]
pub(crate) fn unhash<C: EbpfContext>(ctx: &C) {
    leaves(ctx, KernelPtr(arg!(ctx, unhash_sk)));
}

/// Every TCP socket passes there on its way out. The state is still `TCP_LISTEN` for a listener
/// (`tcp_set_state`, net/ipv4/tcp.c).
#[inline(always)]
fn leaves<C: EbpfContext>(ctx: &C, fields: impl Fields) {
    if field!(fields, sk_state => u8) != TCP_LISTEN {
        return;
    }
    let sk = KernelPtr(arg!(ctx, unhash_sk));
    // One that was there before sockpick and got no SYN since is met here for the first time.
    if let Some(stats) = stats()
        && let Some(entry) = listeners::of(sk, listeners::PROCESS, stats)
        && entry.closed == 0
    {
        // Kept, not removed: a lookup on another CPU may still end with it. User
        // space removes it some time after this record.
        entry.closed = 1;
        record(ctx, kind::CLOSE, sk, entry, stats);
    }
}

/// Tells of a listener that came or goes. In between it is known that somebody has yet to hear.
#[inline(always)]
fn record<C: EbpfContext>(
    ctx: &C,
    what: u32,
    sk: KernelPtr,
    listener: &Listener,
    stats: &mut Stats,
) {
    #[cfg(not(feature = "legacy"))]
    suspects::changed(listener.port);
    emit::listener_record(ctx, what, sk, listener, stats);
    #[cfg(not(feature = "legacy"))]
    suspects::changed(listener.port);
}
