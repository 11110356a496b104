//! The programs of a session: a handle on what is attached.

use std::io;

use anyhow::{Context as _, Result};
use aya::{
    Btf as AyaBtf, Ebpf,
    maps::RingBuf,
    programs::{FEntry, FExit, KProbe, ProbeKind, ProgramError},
};
use aya_log::EbpfLogger;
use log::debug;
use sockpick_ebpf::abi::{Listener, Stats};

use super::{
    channel::{Channel, Missing},
    counters::Counters,
    drops::Drops,
    exits::Exits,
    filters,
    holders::{self, Holders},
    links::Links,
    maps::{EVERYBODY, Maps, NOBODY},
    missed::Counted,
    object::unload,
    plan::{Decision, Hook, Plan},
    tracefs,
    tracepoints::{self, DROPS, EXITS, Tracepoint},
};

mod level;

pub use super::missed::Use;

/// Whether lookups have to be seen to end, where most SYNs are only counted. Their beginning is
/// less for the kernel to tell; which listener one ended with, `tcp_conn_request` says, of those
/// that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// They have to.
    Needed,
    /// They need not: who drops a SYN names its listener.
    Spared,
    /// A daemon can do without until a listener drops a SYN before `tcp_conn_request`.
    SparedUntilDrop,
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
    links: Links,
    /// Tells of packets that are dropped.
    drops: Tracepoint,
    ends: Ends,
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
            maps: Maps::take(&mut ebpf, legacy)?,
            ebpf,
            plan,
            legacy,
            buffer_bytes,
            drops_unseen: None,
            exits_unseen: None,
            holders_unseen: None,
            holders: None,
            events: Vec::new(),
            links: Links::default(),
            drops: DROPS,
            ends: Ends::Needed,
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

    /// Attaches to the tracepoint of processes that end, has the kernel tell who holds what, and
    /// looks for what it counts of all that is attached. A session goes on without any of them; why one was refused
    /// is kept. `targets` as for [`Holders::of`], where the kernel's structures are known by it.
    pub(super) fn complete(&mut self, targets: Option<&AyaBtf>) {
        match Holders::of(&mut self.ebpf, targets) {
            Ok(holders) => {
                self.describe(holders::PROGRAM);
                self.holders = Some(holders);
            }
            Err(error) => self.holders_unseen = Some(format!("{error:#}")),
        }
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
        name: &'static str,
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
        } else {
            let program: &mut FEntry = program.try_into()?;
            program.load(function, targets)?;
        }
        self.links.attach(&mut self.ebpf, name, function)
    }

    pub(super) fn attach_kprobe(
        &mut self,
        name: &'static str,
        symbol: &str,
    ) -> Result<(), ProgramError> {
        let Some(program) = self.ebpf.program_mut(name) else {
            return Err(ProgramError::NotLoaded);
        };
        let program: &mut KProbe = program.try_into()?;
        program.load()?;
        if !tracefs::needed() {
            return self.links.attach(&mut self.ebpf, name, symbol);
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
        // Who ended is asked of until the last event is told.
        tracepoints::detach(&mut self.ebpf, self.drops);
        self.detach_beginnings();
        for wanted in [false, true] {
            for (hook, decision) in self.plan.hooks.clone() {
                let Decision::Attach { mechanism, .. } = decision else {
                    continue;
                };
                for &(name, is_return) in hook.programs(mechanism) {
                    if is_return == wanted {
                        self.links.detach(name);
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
