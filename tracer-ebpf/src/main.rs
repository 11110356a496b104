//! The programs: one entry per kernel function and mechanism, and nothing else.
//! What they do is in [`hooks`]; the mechanisms differ only in where arguments
//! lie, which user space says at load time.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
// Programs are found by the loader through their ELF sections, not by callers.
#![allow(
    missing_docs,
    reason = "the entries repeat the names of the functions they hook"
)]
#![allow(
    unreachable_pub,
    reason = "entries are exported to the object file, not to Rust"
)]
#![allow(
    clippy::inline_always,
    reason = "a call between functions hides from the verifier what it knows of the arguments"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the signature that the macros of aya want"
)]

mod compat;
mod emit;
mod fields;
mod filter;
mod hooks;
mod inflight;
mod listeners;
#[cfg(not(feature = "legacy"))]
mod modern;
mod percpu;
mod record;
#[cfg(not(feature = "legacy"))]
mod suspects;

#[cfg(feature = "legacy")]
use aya_ebpf::{EbpfContext as _, macros::tracepoint, programs::TracePointContext};
#[cfg(not(feature = "legacy"))]
use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use aya_ebpf::{
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use hooks::{
    accept, handover, listen,
    lookup::{self, V4, V6},
    request, reuseport, steer,
};

/// Declares program entries: `mechanism name(context type) => body;`.
macro_rules! programs {
    ($($mechanism:ident $name:ident($context:ty) => $body:expr;)*) => {$(
        #[$mechanism]
        #[inline(always)]
        pub fn $name(ctx: $context) -> u32 {
            let body: fn(&$context) = $body;
            body(&ctx);
            0
        }
    )*};
}

programs! {
    // __inet_lookup_listener, inet6_lookup_listener
    kprobe lookup4_k(ProbeContext) => lookup::entry::<V4, _>;
    kprobe lookup6_k(ProbeContext) => lookup::entry::<V6, _>;
    kretprobe lookup4_r(RetProbeContext) => lookup::exit::<V4, _>;
    kretprobe lookup6_r(RetProbeContext) => lookup::exit::<V6, _>;
    // inet_lhash2_lookup, inet6_lhash2_lookup
    kprobe walk4_k(ProbeContext) => lookup::walked;
    kprobe walk6_k(ProbeContext) => lookup::walked;
    // inet_lookup_run_sk_lookup, inet6_lookup_run_sk_lookup
    kretprobe steer4_r(RetProbeContext) => steer::exit_in_lookup::<V4, _>;
    kretprobe steer6_r(RetProbeContext) => steer::exit_in_lookup::<V6, _>;
    // bpf_run_sk_reuseport
    kprobe group_prog_k(ProbeContext) => reuseport::entry_in_lookup;
    kretprobe group_prog_r(RetProbeContext) => reuseport::exit_in_lookup;
    // tcp_conn_request
    kprobe request_k(ProbeContext) => request::entry;
    // inet_csk_listen_start
    kprobe listen_k(ProbeContext) => listen::start_entry;
    kretprobe listen_r(RetProbeContext) => listen::start_exit;
    // inet_csk_listen_stop
    kprobe stop_k(ProbeContext) => listen::stops;
    // reuseport_stop_listen_sock, reuseport_detach_sock
    kprobe leave_k(ProbeContext) => listen::leaves_group;
    kprobe detach_k(ProbeContext) => listen::leaves_group;
    // inet_csk_accept
    kprobe accept_k(ProbeContext) => accept::entry;
    kretprobe accept_r(RetProbeContext) => accept::exit;
    // tcp_get_cookie_sock
    kprobe cookie_k(ProbeContext) => handover::cookie;
    // reuseport_migrate_sock
    kprobe migrate_k(ProbeContext) => handover::migrating;
    kretprobe migrate_r(RetProbeContext) => handover::migrated_since;
}

// By fentry and fexit, which kernels before 5.5 do not know.
#[cfg(not(feature = "legacy"))]
programs! {
    fentry lookup4_e(FEntryContext) => lookup::entering::<V4, _>;
    fentry lookup6_e(FEntryContext) => lookup::entering::<V6, _>;
    fexit lookup4_x(FExitContext) => lookup::whole::<V4, _>;
    fexit lookup6_x(FExitContext) => lookup::whole::<V6, _>;
    fexit steer4_x(FExitContext) => steer::exit::<V4, _>;
    fexit steer6_x(FExitContext) => steer::exit::<V6, _>;
    fexit group_prog_x(FExitContext) => reuseport::exit;
    fentry request_e(FEntryContext) => request::entering;
    fexit listen_x(FExitContext) => listen::started;
    fentry stop_e(FEntryContext) => listen::stops;
    fentry leave_e(FEntryContext) => listen::leaves_group;
    fentry detach_e(FEntryContext) => listen::leaves_group;
    fexit accept_x(FExitContext) => accept::accepted;
    fentry cookie_e(FEntryContext) => handover::cookie;
    fexit migrate_x(FExitContext) => handover::migrated;
}

#[cfg(feature = "legacy")]
programs! {
    kprobe peek_k(ProbeContext) => hooks::peek::entry;
}

/// `skb:kfree_skb`; after eight bytes that all events have, its first field is the packet.
#[cfg(feature = "legacy")]
#[tracepoint]
pub fn drops_t(ctx: TracePointContext) -> u32 {
    // SAFETY: the context is as long as the event, of which this is the first field.
    let skb = unsafe { *ctx.as_ptr().cast::<u64>().wrapping_add(1) };
    hooks::drops::dropped(fields::KernelPtr(skb));
    0
}

/// `sched:sched_process_exit`
#[cfg(feature = "legacy")]
#[tracepoint]
pub fn exits_t(_ctx: TracePointContext) -> u32 {
    hooks::exits::ended();
    0
}

/// The kernel offers its tracing helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The package builds on the host too, so that lints and tools see it.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
