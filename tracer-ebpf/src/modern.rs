//! Entries that kernels before 5.5 do not know.

use aya_ebpf::{
    EbpfContext as _,
    macros::{classifier, fentry, fexit, raw_tracepoint},
    programs::{FEntryContext, FExitContext, RawTracePointContext, TcContext},
};

use crate::{
    fields::KernelPtr,
    hooks::{
        accept, ask, drops, exits, handover,
        holders::{self, TaskFile},
        listen,
        lookup::{self, V4, V6},
        request, reuseport, steer,
    },
    programs,
};

programs! {
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
    // SAFETY: the context begins with the arguments, each of eight bytes.
    let skb = KernelPtr(unsafe { *ctx.as_ptr().cast::<u64>() });
    drops::dropped(&ctx, skb);
    0
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
