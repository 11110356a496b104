//! `inet_csk_accept`: who takes connections from a listener, in process context.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::{
    fields::{KernelPtr, Traced, arg, current_comm},
    hooks::calls,
    listeners,
};

/// fexit: listener and connection at once.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
pub(crate) fn accepted<C: Traced>(ctx: &C) {
    note(KernelPtr(arg!(ctx, accept_sk)), arg!(ctx, accept_ret));
}

/// kprobe
#[inline(always)]
pub(crate) fn entry<C: Traced>(ctx: &C) {
    let sk = KernelPtr(arg!(ctx, accept_sk));
    // Nearly always it is who accepted last, and there is nothing to note.
    if listeners::known(sk).is_none_or(|listener| listener.accept_pid != process()) {
        calls::remember(sk);
    }
}

/// kretprobe
#[inline(always)]
pub(crate) fn exit<C: Traced>(ctx: &C) {
    if let Some(sk) = calls::recall() {
        note(sk, arg!(ctx, accept_ret));
    }
}

#[inline(always)]
fn note(sk: KernelPtr, connection: u64) {
    if connection == 0 {
        return;
    }
    let process = process();
    if let Some(listener) = listeners::known(sk)
        && listener.accept_pid != process
        && let Some(comm) = current_comm()
    {
        listener.accept_comm = comm;
        listener.accept_pid = process;
    }
}

#[inline(always)]
fn process() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}
