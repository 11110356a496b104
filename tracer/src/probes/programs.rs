//! The programs of a session: a handle on what is attached.

use std::io;

use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{FEntry, FExit, KProbe, ProbeKind, ProgramError},
};
use log::debug;

use super::{
    channel::Missing,
    counters::Counters,
    missed::Links,
    object::unload,
    plan::{Decision, Plan},
    tracefs,
};

/// Attached programs. Dropping it detaches them; so does the end of the process,
/// however it comes, because nothing is pinned.
pub struct Programs {
    pub(super) ebpf: Ebpf,
    pub(super) counters: Counters,
    /// What was attached how.
    pub plan: Plan,
    /// Whether they are the programs for old kernels.
    pub legacy: bool,
    pub(super) buffer_bytes: u32,
    /// Why SYNs that are dropped after their lookup are not seen, if so.
    pub drops_unseen: Option<String>,
    /// Why it is not seen when processes end, if so.
    pub exits_unseen: Option<String>,
    /// Whether to show all that a verifier says against a program.
    pub(super) verbose: bool,
    /// Probes that were made through tracefs.
    pub(super) events: Vec<(String, tracefs::Event)>,
    /// For what no program saw.
    pub(super) links: Links,
    /// What [`Programs::missed`] was when they were detached.
    pub(super) missed_until_detached: Option<Missing>,
}

impl Programs {
    /// Logs what the verifier needed for a program.
    pub(super) fn describe(&self, name: &str) {
        if let Some(info) = self
            .ebpf
            .program(name)
            .and_then(|program| program.info().ok())
        {
            debug!(
                "{name}: {} instructions verified, {} bytes of machine code",
                info.verified_instruction_count().unwrap_or(0),
                info.size_jitted()
            );
        }
    }

    pub(super) fn attach_fentry(
        &mut self,
        name: &str,
        is_return: bool,
        function: &str,
        targets: &AyaBtf,
    ) -> Result<(), ProgramError> {
        let Some(program) = self.ebpf.program_mut(name) else {
            return Err(ProgramError::NotLoaded);
        };
        if is_return {
            let program: &mut FExit = program.try_into()?;
            program.load(function, targets)?;
            program.attach().map(|_| ())
        } else {
            let program: &mut FEntry = program.try_into()?;
            program.load(function, targets)?;
            program.attach().map(|_| ())
        }
    }

    pub(super) fn attach_kprobe(&mut self, name: &str, symbol: &str) -> Result<(), ProgramError> {
        let Some(program) = self.ebpf.program_mut(name) else {
            return Err(ProgramError::NotLoaded);
        };
        let program: &mut KProbe = program.try_into()?;
        program.load()?;
        if !tracefs::needed() {
            return program.attach(symbol, 0).map(|_| ());
        }
        let is_return = matches!(program.kind(), ProbeKind::Return);
        let event = tracefs::attach(program.fd()?, name, is_return, symbol);
        let event = event.map_err(|error| ProgramError::IOError(io::Error::other(error)))?;
        self.events.push((name.to_owned(), event));
        Ok(())
    }

    /// What the kernel has counted of probes made through tracefs; nothing where there are none.
    pub(super) fn kprobe_profile(&self) -> String {
        let first = self.events.first();
        first.map_or_else(String::new, |(_, event)| event.profile())
    }

    /// The probe that a program was attached to through tracefs.
    pub(super) fn event(&self, program: &str) -> Option<&tracefs::Event> {
        let mut events = self.events.iter();
        events.find_map(|(name, event)| (name == program).then_some(event))
    }

    /// Detaches everything, entries before returns, so that the counters stand still.
    pub fn detach(&mut self) {
        self.missed_until_detached = Some(self.missed());
        self.links.clear();
        self.detach_tracepoints();
        for wanted in [false, true] {
            for (hook, decision) in self.plan.hooks.clone() {
                let Decision::Attach { mechanism, .. } = decision else {
                    continue;
                };
                for &(name, is_return) in hook.programs(mechanism) {
                    if is_return == wanted {
                        self.events.retain(|(event, _)| event != name);
                    }
                    if is_return == wanted
                        && let Some(program) = self.ebpf.program_mut(name)
                        && let Err(error) = unload(program)
                    {
                        debug!("{name} did not unload: {error}");
                    }
                }
            }
        }
    }
}
