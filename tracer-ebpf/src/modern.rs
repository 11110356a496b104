//! Entries that kernels before 5.5 do not know.

use aya_ebpf::{
    EbpfContext as _,
    macros::{classifier, fentry, fexit, raw_tracepoint},
    programs::{FEntryContext, FExitContext, RawTracePointContext, TcContext},
};

use crate::{
    fields::{KernelPtr, arg},
    hooks::{
        accept, ask,
        drops::{self, Receiver},
        exits, handover,
        holders::{self, TaskFile},
        listen,
        lookup::{self, V4, V6},
        request, reuseport, steer,
    },
    programs,
};

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

/// `skb:kfree_skb`; its first argument is the packet.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn drops_t(ctx: RawTracePointContext) -> i32 {
    drops::dropped(&ctx, packet(&ctx), Receiver::Unknown);
    0
}

/// The same, where it says why it drops the packet.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn drops_reason_t(ctx: RawTracePointContext) -> i32 {
    let reason = arg!(&ctx, drop_reason) as u32;
    drops::dropped(&ctx, packet(&ctx), Receiver::Reason(reason));
    0
}

/// The same, where it says for which socket the packet was.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn drops_socket_t(ctx: RawTracePointContext) -> i32 {
    let socket = KernelPtr(arg!(&ctx, drop_sk));
    drops::dropped(&ctx, packet(&ctx), Receiver::Socket(socket));
    0
}

#[inline(always)]
fn packet(ctx: &RawTracePointContext) -> KernelPtr {
    // SAFETY: the context begins with the arguments, each of eight bytes.
    KernelPtr(unsafe { *ctx.as_ptr().cast::<u64>() })
}

/// `sched:sched_process_exit`
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exits_t(_ctx: RawTracePointContext) -> i32 {
    exits::ended();
    0
}

/// Over the descriptors of all processes, when user space reads it.
#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
pub extern "C" fn holders_i(context: &TaskFile<'_>) -> i32 {
    holders::each(context);
    0
}

/// Never attached: run by user space, on no packet of anybody's.
#[classifier]
pub fn ask_lookup(ctx: TcContext) -> i32 {
    ask::ask(&ctx);
    0
}
