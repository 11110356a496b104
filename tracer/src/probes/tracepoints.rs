//! Programs on tracepoints, which tell what is good to know and not needed: a session goes on
//! without those that the kernel refuses.

use aya::{
    Ebpf,
    programs::{Program, ProgramError},
};

use super::{object::unload, refusal::brief};
use crate::kernel::features::Receiver;

/// A program, in either object, and its tracepoint: category and name.
pub(super) type Tracepoint = (&'static str, &'static str, &'static str);

/// Tells of SYNs that are dropped after their lookup.
pub(super) const DROPS: Tracepoint = ("drops_t", "skb", "kfree_skb");
/// The same, where [`Receiver::Reason`] is told.
const DROPS_REASON: Tracepoint = ("drops_reason_t", "skb", "kfree_skb");
/// The same, where [`Receiver::Socket`] is.
const DROPS_SOCKET: Tracepoint = ("drops_socket_t", "skb", "kfree_skb");
/// Tells of processes that end.
pub(super) const EXITS: Tracepoint = ("exits_t", "sched", "sched_process_exit");

/// The program that makes use of what the kernel tells of a packet that it drops.
pub(super) fn drops(receiver: Receiver) -> Tracepoint {
    match receiver {
        Receiver::Unknown => DROPS,
        Receiver::Reason { .. } => DROPS_REASON,
        Receiver::Socket { .. } => DROPS_SOCKET,
    }
}

/// Attaches the program.
///
/// # Errors
/// Why it was refused.
pub(super) fn attach(ebpf: &mut Ebpf, (program, category, name): Tracepoint) -> Result<(), String> {
    let attached = match ebpf.program_mut(program) {
        // From 4.17, and at less cost.
        Some(Program::RawTracePoint(program)) => {
            program.load().and_then(|()| program.attach(name).map(drop))
        }
        Some(Program::TracePoint(program)) => program
            .load()
            .and_then(|()| program.attach(category, name).map(drop)),
        _ => Err(ProgramError::NotLoaded),
    };
    attached.map_err(|error| brief(&error))
}

/// Detaches it.
pub(super) fn detach(ebpf: &mut Ebpf, (program, ..): Tracepoint) {
    if let Some(attached) = ebpf.program_mut(program)
        && let Err(error) = unload(attached)
    {
        log::debug!("{program} did not unload: {error}");
    }
}
