//! Of which SYNs the programs write records, and which of them need to be attached for that.

use anyhow::{Context as _, Result};
use aya::{
    Btf as AyaBtf,
    programs::{FEntry, ProgramError},
};
use log::{debug, info, warn};
use sockpick_ebpf::abi::{level, maps};

use super::{Ends, Programs};
use crate::{
    kernel::features::Receiver,
    probes::{
        missed::names,
        plan::{Decision, Hook, Mechanism},
        refusal::brief,
        rights::{Level, Rights},
        tracepoints::{self, DROPS},
    },
};

const LOOKUPS: [Hook; 2] = [Hook::Lookup4, Hook::Lookup6];

impl Programs {
    /// From the next [`Programs::record`] on there is a record only of SYNs that may be an alert:
    /// gives what says which are none. `None`, and a record of all, where these programs cannot.
    ///
    /// # Errors
    /// If the kernel refuses to have it mapped.
    pub fn record_suspects(&mut self) -> Result<Option<Rights>> {
        if self.legacy {
            return Ok(None);
        }
        let map = |name| {
            let map = self.ebpf.map(name);
            map.with_context(|| format!("no map {name} in the object"))
        };
        let rights = Rights::of(map(maps::RIGHT)?, map(maps::PORTS)?)?;
        self.set_level(Level::Suspects);
        if self.ends == Ends::Spared {
            self.spare_ends();
        }
        Ok(Some(rights))
    }

    /// The level of a daemon, from the next [`Programs::record`] on.
    pub fn serve(&mut self, level: Level) {
        self.set_level(level);
        self.attach_for(level);
    }

    /// The same, while they record: nothing is missed or seen twice.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn change_level(&mut self, level: Level) -> Result<()> {
        if level == Level::All {
            self.attach_for(level);
        }
        self.set_level(level);
        self.record()?;
        if level == Level::Suspects {
            self.attach_for(level);
        }
        Ok(())
    }

    /// To be told of a SYN whose listener is not known.
    pub fn lost_one(&mut self) {
        if self.ends == Ends::SparedUntilDrop && self.is_an_end_spared() {
            info!("a SYN was dropped and its listener is not known: lookups are seen to end now");
            self.ends = Ends::Needed;
            self.watch_ends();
        }
    }

    fn is_an_end_spared(&self) -> bool {
        LOOKUPS.into_iter().any(|hook| {
            let mechanism = self.plan.mechanism(hook);
            let programs = mechanism.map_or(&[] as &[_], |mechanism| hook.programs(mechanism));
            let mut returns = programs.iter().filter(|(_, is_return)| *is_return);
            returns.any(|(name, _)| !self.links.has(name))
        })
    }

    fn set_level(&mut self, level: Level) {
        self.maps.level = match level {
            Level::All => level::ALL,
            Level::Suspects => level::SUSPECTS,
        };
    }

    /// Where most SYNs are only counted, a daemon does not look who accepts, nor how lookups end:
    /// each connection would pay for it, and alerts name who holds a listener.
    fn attach_for(&mut self, level: Level) {
        if level == Level::All {
            self.watch_ends();
            self.watch_acceptors();
            return;
        }
        for name in names(&self.plan, Hook::Accept) {
            self.release(name);
        }
        if self.ends != Ends::Needed {
            self.spare_ends();
        }
    }

    fn watch_acceptors(&mut self) {
        if let Err(error) = self.attach_again(Hook::Accept) {
            for name in names(&self.plan, Hook::Accept) {
                self.release(name);
            }
            // A session goes on without, as where it cannot be hooked from the start.
            warn!(
                "{} cannot be hooked again ({}): who accepts is not known",
                Hook::Accept,
                brief(&error)
            );
        }
    }

    /// Sees lookups end again. Both see those of the moment in which both are attached, which is
    /// no harm where most SYNs are only counted.
    fn watch_ends(&mut self) {
        for hook in LOOKUPS {
            match self.attach_again(hook) {
                Ok(()) => self.detach_beginning(hook),
                Err(error) => warn!(
                    "{hook} cannot be hooked again ({}): a SYN that is dropped before it is taken \
                     may be lost",
                    brief(&error)
                ),
            }
        }
    }

    /// Sees lookups begin only.
    fn spare_ends(&mut self) {
        for hook in LOOKUPS {
            if let Err(error) = self.spare_end(hook) {
                debug!("{hook} is seen to end: {}", brief(&error));
            }
        }
    }

    fn spare_end(&mut self, hook: Hook) -> Result<(), ProgramError> {
        let Some(Decision::Attach { mechanism, symbol }) = self.plan.decision(hook) else {
            return Ok(());
        };
        if let Some(name) = hook.beginning(*mechanism) {
            let symbol = symbol.clone();
            self.links.attach(&mut self.ebpf, name, &symbol)?;
        }
        for &(name, is_return) in hook.programs(*mechanism) {
            if is_return {
                self.release(name);
            }
        }
        Ok(())
    }

    fn attach_again(&mut self, hook: Hook) -> Result<(), ProgramError> {
        let Some(Decision::Attach { mechanism, symbol }) = self.plan.decision(hook) else {
            return Ok(());
        };
        let (mechanism, symbol) = (*mechanism, symbol.clone());
        // Return probes first: a lookup seen to start must be seen to end.
        let mut programs = hook.programs(mechanism).iter().rev();
        programs.try_for_each(|&(name, _)| self.links.attach(&mut self.ebpf, name, &symbol))
    }

    fn release(&mut self, name: &str) {
        self.counted.release(name);
        self.links.detach(name);
    }

    fn detach_beginning(&mut self, hook: Hook) {
        if let Some(name) = hook.beginning(Mechanism::Fentry) {
            self.links.detach(name);
        }
    }

    pub(super) fn detach_beginnings(&mut self) {
        for hook in LOOKUPS {
            self.detach_beginning(hook);
        }
    }

    /// Attaches to the tracepoint of dropped packets, and finds out whether lookups have to be seen
    /// to end: at that level, by what is told there.
    pub(in crate::probes) fn settle_ends(
        &mut self,
        level: Level,
        receiver: Receiver,
        targets: &AyaBtf,
    ) {
        self.drops = tracepoints::drops(receiver);
        let mut attached = tracepoints::attach(&mut self.ebpf, self.drops);
        if let (Err(error), true) = (&attached, self.drops != DROPS) {
            debug!("{} is not attached: {error}", self.drops.0);
            self.drops = DROPS;
            attached = tracepoints::attach(&mut self.ebpf, DROPS);
        } else if level == Level::Suspects && self.can_spare(targets) {
            self.ends = match receiver {
                Receiver::Unknown => Ends::Needed,
                Receiver::Reason { .. } => Ends::SparedUntilDrop,
                Receiver::Socket { .. } => Ends::Spared,
            };
        }
        debug!(
            "{} is attached; ends of lookups: {:?}",
            self.drops.0, self.ends
        );
        self.drops_unseen = attached.err();
    }

    /// Whether there is what takes the place of the lookups' end, and tells that a packet is done
    /// with. Loads the programs for it: later the right to do so may be gone.
    fn can_spare(&mut self, targets: &AyaBtf) -> bool {
        let attached = |hook| self.plan.mechanism(hook).is_some();
        if !attached(Hook::Request) || !attached(Hook::Cookie) {
            return false;
        }
        LOOKUPS.into_iter().all(|hook| {
            let loaded = self.load_beginning(hook, targets);
            if let Err(error) = &loaded {
                debug!("{hook} has to be seen to end: {}", brief(error));
            }
            loaded.is_ok()
        })
    }

    fn load_beginning(&mut self, hook: Hook, targets: &AyaBtf) -> Result<(), ProgramError> {
        let Some(Decision::Attach { mechanism, symbol }) = self.plan.decision(hook) else {
            return Ok(());
        };
        let Some(name) = hook.beginning(*mechanism) else {
            return Ok(());
        };
        let program = self.ebpf.program_mut(name);
        let program: &mut FEntry = program.ok_or(ProgramError::NotLoaded)?.try_into()?;
        program.load(symbol, targets)
    }
}
