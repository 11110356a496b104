//! Programs on tracepoints, which tell what is good to know and not needed: a session goes on
//! without those that the kernel refuses.

use aya::programs::{Program, ProgramError};

use super::{object::unload, programs::Programs, refusal::brief};

/// A program, in either object, and its tracepoint: category and name.
type Tracepoint = (&'static str, &'static str, &'static str);

const DROPS: Tracepoint = ("drops_t", "skb", "kfree_skb");
const EXITS: Tracepoint = ("exits_t", "sched", "sched_process_exit");

impl Programs {
    /// Attaches to all; why one was refused is kept.
    pub(super) fn attach_tracepoints(&mut self) {
        self.drops_unseen = self.attach_tracepoint(DROPS).err();
        self.exits_unseen = self.attach_tracepoint(EXITS).err();
    }

    fn attach_tracepoint(&mut self, (program, category, name): Tracepoint) -> Result<(), String> {
        let attached = match self.ebpf.program_mut(program) {
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

    /// Detaches from those that write events; who ended is asked of until the last event is told.
    pub(super) fn detach_tracepoints(&mut self) {
        let (program, ..) = DROPS;
        if let Some(drops) = self.ebpf.program_mut(program)
            && let Err(error) = unload(drops)
        {
            log::debug!("{program} did not unload: {error}");
        }
    }
}
