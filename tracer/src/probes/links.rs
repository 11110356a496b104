//! What keeps programs attached, so that one can be detached, and attached again, while the others
//! stay.

use aya::{
    Ebpf,
    programs::{Program, ProgramError, fentry::FEntryLink, fexit::FExitLink, kprobe::KProbeLink},
};

/// Keeps a program attached until it is dropped.
#[expect(dead_code, reason = "held for what its end does")]
enum Link {
    Entry(FEntryLink),
    Exit(FExitLink),
    Probe(KProbeLink),
}

/// Those of a session, by the names of their programs.
#[derive(Default)]
pub(super) struct Links(Vec<(&'static str, Link)>);

impl Links {
    /// Attaches a program, which is loaded; by kprobe to that symbol. One that is attached stays
    /// so.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        name: &'static str,
        symbol: &str,
    ) -> Result<(), ProgramError> {
        if self.has(name) {
            return Ok(());
        }
        let link = match ebpf.program_mut(name) {
            Some(Program::FEntry(program)) => {
                let id = program.attach()?;
                Link::Entry(program.take_link(id)?)
            }
            Some(Program::FExit(program)) => {
                let id = program.attach()?;
                Link::Exit(program.take_link(id)?)
            }
            Some(Program::KProbe(program)) => {
                let id = program.attach(symbol, 0)?;
                Link::Probe(program.take_link(id)?)
            }
            _ => return Err(ProgramError::NotLoaded),
        };
        self.0.push((name, link));
        Ok(())
    }

    /// Whether it is attached.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(one, _)| *one == name)
    }

    /// Detaches it.
    pub(super) fn detach(&mut self, name: &str) {
        self.0.retain(|(one, _)| *one != name);
    }
}
