//! Entries at other places than functions, that kernels before 5.5 do not know.

use aya_ebpf::{
    EbpfContext as _,
    macros::{classifier, raw_tracepoint},
    programs::{RawTracePointContext, TcContext},
};

use crate::{
    fields::{KernelPtr, arg},
    hooks::{
        ask,
        drops::{self, Receiver},
        exits,
        holders::{self, Task},
    },
};

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

/// Over all tasks, when user space reads it.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
pub extern "C" fn holders_i(context: &Task<'_>) -> i32 {
    holders::each(context);
    0
}

/// Never attached: run by user space, on no packet of anybody's.
#[classifier]
pub fn ask_lookup(ctx: TcContext) -> i32 {
    ask::ask(&ctx);
    0
}
