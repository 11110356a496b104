//! Listeners come (`inet_csk_listen_start`) and go (`inet_csk_listen_stop`).
//!
//! Every socket leaves by `inet_unhash`; these are passed by listeners alone, so that ordinary
//! connections cost nothing here.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use sockpick_ebpf::abi::{Listener, Stats, kind};

#[cfg(not(feature = "legacy"))]
use crate::suspects;
use crate::{
    compat::debug,
    emit,
    fields::{KernelPtr, Traced, arg, current_comm},
    hooks::calls,
    listeners,
    percpu::stats,
};

/// fexit: socket and result at once.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn started<C: Traced>(ctx: &C) {
    note(ctx, KernelPtr(arg!(ctx, listen_sk)), arg!(ctx, listen_ret));
}

/// kprobe
#[inline(always)]
pub(crate) fn start_entry<C: Traced>(ctx: &C) {
    calls::remember(KernelPtr(arg!(ctx, listen_sk)));
}

/// kretprobe
#[inline(always)]
pub(crate) fn start_exit<C: Traced>(ctx: &C) {
    if let Some(sk) = calls::recall() {
        note(ctx, sk, arg!(ctx, listen_ret));
    }
}

/// The socket is in the table now, in the context of the process that called `listen()`.
#[inline(always)]
fn note<C: Traced>(ctx: &C, sk: KernelPtr, result: u64) {
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

/// Entry of `reuseport_stop_listen_sock` (5.14), or of `reuseport_detach_sock`: a member of a group
/// is about to leave the table, under its lock, so no SYN that another gets instead is told before.
/// Sockets of other protocols come here too, and so does what has left: neither is known as open.
#[inline(always)]
pub(crate) fn leaves_group<C: Traced>(ctx: &C) {
    let sk = KernelPtr(arg!(ctx, leave_sk));
    if let Some(stats) = stats()
        && let Some(entry) = listeners::known(sk)
    {
        ends(ctx, sk, entry, stats);
    }
}

/// Entry of `inet_csk_listen_stop`: every listener passes, having left the table a moment ago.
#[inline(always)]
pub(crate) fn stops<C: Traced>(ctx: &C) {
    let sk = KernelPtr(arg!(ctx, stop_sk));
    // One that was there before sockpick and got no SYN since is met here for the first time.
    if let Some(stats) = stats()
        && let Some(entry) = listeners::of(sk, listeners::PROCESS, stats)
    {
        ends(ctx, sk, entry, stats);
    }
}

#[inline(always)]
fn ends<C: Traced>(ctx: &C, sk: KernelPtr, entry: &mut Listener, stats: &mut Stats) {
    if entry.closed == 0 {
        // Kept, not removed: a lookup on another CPU may still end with it. User
        // space removes it some time after this record.
        entry.closed = 1;
        record(ctx, kind::CLOSE, sk, entry, stats);
    }
}

/// Tells of a listener that came or goes. In between it is known that somebody has yet to hear.
#[inline(always)]
fn record<C: Traced>(ctx: &C, what: u32, sk: KernelPtr, listener: &Listener, stats: &mut Stats) {
    #[cfg(not(feature = "legacy"))]
    suspects::changed(listener.port);
    emit::listener_record(ctx, what, sk, listener, stats);
    #[cfg(not(feature = "legacy"))]
    suspects::changed(listener.port);
}
