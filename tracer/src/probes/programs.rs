//! The programs of a session: a handle on what is attached.

use std::io;

use anyhow::{Context as _, Result};
use aya::{
    Btf as AyaBtf, Ebpf,
    maps::RingBuf,
    programs::{
        FEntry, FExit, KProbe, ProbeKind, Program, ProgramError, fexit::FExitLink,
        kprobe::KProbeLink,
    },
};
use aya_log::EbpfLogger;
use log::{debug, warn};
use sockpick_ebpf::abi::{Listener, Stats, level, maps};

use super::{
    channel::{Channel, Missing},
    counters::Counters,
    drops::Drops,
    exits::Exits,
    filters,
    holders::{self, Holders},
    maps::{EVERYBODY, Maps, NOBODY},
    missed::{Counted, names},
    object::unload,
    plan::{Decision, Hook, Plan},
    refusal::brief,
    rights::{Level, Rights},
    tracefs,
    tracepoints::{self, DROPS, EXITS},
};

pub use super::missed::Use;

/// Keeps a program attached until it is dropped.
#[expect(dead_code, reason = "held for what its end does")]
enum Link {
    Exit(FExitLink),
    Probe(KProbeLink),
}

/// Attached programs. Dropping it detaches them; so does the end of the process,
/// however it comes, because nothing is pinned.
pub struct Programs {
    ebpf: Ebpf,
    maps: Maps,
    counters: Counters,
    /// What was attached how.
    pub plan: Plan,
    /// Whether they are the programs for old kernels.
    pub legacy: bool,
    buffer_bytes: u32,
    /// Why SYNs that are dropped after their lookup are not seen, if so.
    pub drops_unseen: Option<String>,
    /// Why it is not seen when processes end, if so.
    pub exits_unseen: Option<String>,
    /// Why the kernel does not tell who holds what, if so; else what tells it.
    pub holders_unseen: Option<String>,
    holders: Option<Holders>,
    /// Probes that were made through tracefs.
    events: Vec<(String, tracefs::Event)>,
    /// While it is looked at who accepts, and that can end before the rest does.
    acceptors: Vec<Link>,
    /// For what no program saw.
    counted: Counted,
    /// What [`Programs::missed`] was when they were detached.
    missed_until_detached: Option<Missing>,
}

impl Programs {
    /// Of an object that is loaded, to be attached by that plan. `buffer_bytes` is the size of
    /// the buffer that they write to.
    ///
    /// # Errors
    /// If the object lacks a map, or the kernel refuses to have its counters mapped.
    pub(super) fn of(mut ebpf: Ebpf, plan: Plan, legacy: bool, buffer_bytes: u32) -> Result<Self> {
        Ok(Self {
            counters: Counters::of(&ebpf)?,
            maps: Maps::take(&mut ebpf)?,
            ebpf,
            plan,
            legacy,
            buffer_bytes,
            drops_unseen: None,
            exits_unseen: None,
            holders_unseen: None,
            holders: None,
            events: Vec::new(),
            acceptors: Vec::new(),
            counted: Counted::default(),
            missed_until_detached: None,
        })
    }

    /// Records the SYNs of one namespace only, past the filters.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn record_only(&mut self, netns: u32) -> Result<()> {
        self.maps.record(netns, 0, self.knows_walks())
    }

    /// Records nothing until told otherwise.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn record_nothing(&mut self) -> Result<()> {
        self.maps.record(NOBODY, 0, self.knows_walks())
    }

    /// Records what passes the filters, in all namespaces.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn record(&mut self) -> Result<()> {
        self.maps.record(EVERYBODY, 0, self.knows_walks())
    }

    /// The same, and what happens in this namespace past the filters.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn record_also(&mut self, netns: u32) -> Result<()> {
        self.maps.record(EVERYBODY, netns, self.knows_walks())
    }

    /// Whether every walk of the table in a lookup is seen.
    fn knows_walks(&self) -> bool {
        let attached = |hook| matches!(self.plan.decision(hook), Some(Decision::Attach { .. }));
        attached(Hook::Walk4) && (attached(Hook::Walk6) || !attached(Hook::Lookup6))
    }

    /// The buffer that the programs write to, to be read by [`crate::source`]. Can be taken once.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn take_events(&mut self) -> Result<Channel> {
        let map = self.maps.events.take();
        let map = map.context("the buffer was taken before")?;
        if self.legacy {
            return Channel::per_cpu(map, self.buffer_bytes);
        }
        Ok(Channel::Ring(RingBuf::try_from(map)?))
    }

    /// What was dropped after its lookup. Can be taken once.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn take_drops(&mut self) -> Result<Drops> {
        let map = self.maps.dropped.take();
        let map = map.context("what was dropped was taken before")?;
        Drops::of(self.drops_unseen.is_none().then_some(map))
    }

    /// When processes end; `None` where the kernel does not tell. Can be taken once.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn take_exits(&mut self) -> Result<Option<Exits>> {
        let map = self.maps.holders.take();
        let map = map.context("what tells who ended was taken before")?;
        let map = self.exits_unseen.is_none().then_some(map);
        map.map(Exits::of).transpose()
    }

    /// Who holds what; `None` where the kernel does not tell. Can be taken once.
    pub fn take_holders(&mut self) -> Option<Holders> {
        self.holders.take()
    }

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
        Ok(Some(rights))
    }

    /// At this level they record, from when they are told to record. For those that can tell
    /// suspects.
    fn set_level(&mut self, level: Level) {
        self.maps.level = match level {
            Level::All => level::ALL,
            Level::Suspects => level::SUSPECTS,
        };
    }

    /// The same for a daemon. Where most SYNs are only counted, it does not look who accepts: each
    /// connection would pay for it, and alerts name who holds a listener.
    pub fn serve(&mut self, level: Level) {
        self.set_level(level);
        match level {
            Level::All => self.watch_acceptors(),
            Level::Suspects => {
                for name in names(&self.plan, Hook::Accept) {
                    self.counted.release(name);
                }
                self.acceptors.clear();
            }
        }
    }

    fn watch_acceptors(&mut self) {
        let Some(Decision::Attach { mechanism, symbol }) = self.plan.decision(Hook::Accept) else {
            return;
        };
        if !self.acceptors.is_empty() {
            return;
        }
        let symbol = symbol.clone();
        let mut programs = Hook::Accept.programs(*mechanism).iter().rev();
        let linked = programs.try_for_each(|&(name, _)| self.link_acceptors(name, &symbol));
        if let Err(error) = linked {
            self.acceptors.clear();
            // A session goes on without, as where it cannot be hooked from the start.
            warn!(
                "{} cannot be hooked again ({}): who accepts is not known",
                Hook::Accept,
                brief(&error)
            );
        }
    }

    /// Attaches a program of that hook, which is loaded.
    fn link_acceptors(&mut self, name: &str, symbol: &str) -> Result<(), ProgramError> {
        let link = match self.ebpf.program_mut(name) {
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
        self.acceptors.push(link);
        Ok(())
    }

    /// From now on these namespaces pass the filter, instead of those `before`.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn filter_namespaces(&mut self, before: &[u32], now: &[u32]) -> Result<()> {
        filters::renew(&mut self.ebpf, before, now)
    }

    /// The counters, summed over the CPUs, with what no program saw, as far as the kernel
    /// counts that.
    ///
    /// # Errors
    /// If the kernel refuses to read the map.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = self.counters.sum(&self.ebpf)?;
        let missed = self.missed();
        stats.syns += missed.syns;
        stats.lost_return += missed.syns;
        stats.lost_listener_records += missed.listeners;
        Ok(stats)
    }

    fn missed(&self) -> Missing {
        self.missed_until_detached
            .unwrap_or_else(|| self.counted.missed(&self.ebpf, &self.plan, &self.events))
    }

    /// What the kernel counts of a hook's programs.
    #[must_use]
    pub fn use_of(&self, hook: Hook) -> Use {
        self.counted
            .use_of(&self.ebpf, &self.plan, hook, &self.events)
    }

    /// Every listener the programs know, with its address as key.
    #[must_use]
    pub fn listeners(&self) -> Vec<(u64, Listener)> {
        self.maps.listeners()
    }

    /// Forgets a closed listener, and gives its last state. Nothing happens if its
    /// place was taken by another since.
    ///
    /// # Errors
    /// If the kernel refuses to remove it.
    pub fn forget_listener(&mut self, sock: u64, stamp: u64) -> Result<Option<Listener>> {
        self.maps.forget_listener(sock, stamp)
    }

    /// Forwards what the programs log to this process's log.
    ///
    /// # Errors
    /// If the programs' log buffer cannot be read.
    pub fn debug_log(&mut self) -> Result<EbpfLogger<&'static dyn log::Log>> {
        EbpfLogger::init(&mut self.ebpf).context("cannot read the programs' log")
    }

    /// Attaches to the tracepoints, has the kernel tell who holds what, and looks for what it
    /// counts of all that is attached. A session goes on without any of them; why one was refused
    /// is kept. `targets` as for [`Holders::of`], where the kernel's structures are known by it.
    pub(super) fn complete(&mut self, targets: Option<&AyaBtf>) {
        let program = self.ebpf.program_mut(holders::PROGRAM);
        match Holders::of(program, targets) {
            Ok(holders) => self.holders = Some(holders),
            Err(error) => self.holders_unseen = Some(format!("{error:#}")),
        }
        self.drops_unseen = tracepoints::attach(&mut self.ebpf, DROPS).err();
        self.exits_unseen = tracepoints::attach(&mut self.ebpf, EXITS).err();
        self.counted = Counted::of(&self.ebpf, &self.plan);
    }

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
        hook: Hook,
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
            if hook == Hook::Accept {
                return self.link_acceptors(name, function);
            }
            program.attach().map(|_| ())
        } else {
            let program: &mut FEntry = program.try_into()?;
            program.load(function, targets)?;
            program.attach().map(|_| ())
        }
    }

    pub(super) fn attach_kprobe(
        &mut self,
        hook: Hook,
        name: &str,
        symbol: &str,
    ) -> Result<(), ProgramError> {
        let Some(program) = self.ebpf.program_mut(name) else {
            return Err(ProgramError::NotLoaded);
        };
        let program: &mut KProbe = program.try_into()?;
        program.load()?;
        if !tracefs::needed() {
            if hook == Hook::Accept {
                return self.link_acceptors(name, symbol);
            }
            return program.attach(symbol, 0).map(|_| ());
        }
        let is_return = matches!(program.kind(), ProbeKind::Return);
        let event = tracefs::attach(program.fd()?, name, is_return, symbol);
        let event = event.map_err(|error| ProgramError::IOError(io::Error::other(error)))?;
        self.events.push((name.to_owned(), event));
        Ok(())
    }

    /// Detaches everything, entries before returns, so that the counters stand still.
    pub fn detach(&mut self) {
        self.missed_until_detached = Some(self.missed());
        self.counted = Counted::default();
        self.acceptors.clear();
        // Who ended is asked of until the last event is told.
        tracepoints::detach(&mut self.ebpf, DROPS);
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
