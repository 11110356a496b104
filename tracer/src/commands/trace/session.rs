//! One tracing session: takes batches from the source to the sink, and keeps account
//! of every SYN that the kernel counted.

use std::time::Instant;

use anyhow::Result;
use aya_log::EbpfLogger;
use sockpick_ebpf::abi::{ListenerRecord, Stats};

use crate::{
    cli::TraceArgs,
    decode::Record,
    engine::Engine,
    host::{
        clock::{monotonic_ns, wall_offset_ns},
        noted::{NotedStock, Notes},
    },
    pipeline::{Counted, End, Input},
    probes::{channel::Missing, loader::Programs},
    recording::writer::Writer,
    sinks::summary::Summary,
    source::Source,
};

/// A closed listener is removed from the kernel's map this long after its close, when
/// no lookup can end with it any more.
const LINGER_NS: u64 = 1_000_000_000;

pub(super) struct Session {
    programs: Programs,
    source: Source,
    engine: Engine,
    recorder: Option<(Writer, Notes)>,
    /// The recording could not be written on.
    pub(super) is_cut: bool,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Counters when recording began.
    baseline: Stats,
    /// Counters after the last batch: what they count was written before this one.
    before: Stats,
    /// Listeners that closed, and are in the kernel's map still.
    closing: Vec<ListenerRecord>,
    /// Records that were written and did not arrive.
    missing: Missing,
    started: Instant,
}

impl Session {
    /// Begins to record.
    pub(super) fn begin(
        mut programs: Programs,
        source: Source,
        engine: Engine,
        recorder: Option<(Writer, Notes)>,
        args: &TraceArgs,
    ) -> Result<Self> {
        if args.probes.debug_programs && programs.legacy {
            eprintln!(
                "sockpick: the programs for old kernels have no log: --debug-programs says nothing"
            );
        }
        let log = (args.probes.debug_programs && !programs.legacy)
            .then(|| programs.debug_log())
            .transpose()?;
        let mut session = Self {
            programs,
            source,
            engine,
            recorder,
            is_cut: false,
            log,
            baseline: Stats::default(),
            before: Stats::default(),
            closing: Vec::new(),
            missing: Missing::default(),
            started: Instant::now(),
        };
        session.give(&Input::Begin(wall_offset_ns()))?;
        // SYNs before are not this session's, but listeners that came or went since the
        // inventory are.
        session.source.begin(None);
        while let Some(record) = session.source.take() {
            if let Ok(record @ (Record::Listen(_) | Record::Close(_))) = record {
                session.give(&Input::Record(record))?;
            }
        }
        session.baseline = session.programs.stats()?;
        session.before = session.baseline;
        session.programs.record()?;
        Ok(session)
    }

    pub(super) fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(super) fn source(&mut self) -> &mut Source {
        &mut self.source
    }

    /// Whether `--count` is reached.
    pub(super) fn is_complete(&self) -> bool {
        self.engine.is_complete()
    }

    /// Takes the records that are due to the sink.
    pub(super) fn batch(&mut self) -> Result<()> {
        self.take(Some(monotonic_ns()))
    }

    fn give(&mut self, input: &Input) -> Result<()> {
        if let Input::Record(Record::Close(record)) = input {
            self.closing.push(*record);
        }
        let Some((_, notes)) = &self.recorder else {
            return self.engine.take(input, &mut self.source);
        };
        let mut present = NotedStock {
            present: &mut self.source,
            notes,
        };
        self.engine.take(input, &mut present)?;
        self.record(|writer| writer.input(input));
        Ok(())
    }

    /// Writes on the recording, if there is one. Where that fails the session goes on without.
    fn record(&mut self, write: impl FnOnce(&mut Writer) -> Result<()>) {
        if let Some((writer, _)) = &mut self.recorder
            && let Err(error) = write(writer)
        {
            eprintln!("sockpick: {error:#}");
            self.recorder = None;
            self.is_cut = true;
        }
    }

    /// Takes all records to the sink that are older than what is held back.
    fn take(&mut self, now_ns: Option<u64>) -> Result<()> {
        self.give(&Input::Begin(wall_offset_ns()))?;
        self.source.begin(now_ns);
        while let Some(record) = self.source.take() {
            self.give(&match record {
                Err(_) => Input::Malformed,
                Ok(record) => Input::Record(record),
            })?;
        }
        self.sweep()?;
        let missing = self.source.missing(&self.before);
        self.before = self.programs.stats()?;
        self.missing.syns = self.missing.syns.max(missing.syns);
        self.missing.listeners = self.missing.listeners.max(missing.listeners);
        self.give(&Input::Counted(Counted {
            stats: self.before.since(&self.baseline),
            missing: (self.missing.syns, self.missing.listeners),
        }))?;
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(())
    }

    /// Detaches, takes what is left, and sums up.
    pub(super) fn end(&mut self) -> Result<Summary> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.programs.detach();
        self.before = self.programs.stats()?;
        self.take(None)?;
        self.bury(self.closing.len())?;
        let listeners = self.programs.listeners()?;
        let end = End {
            stats: self.before.since(&self.baseline),
            listeners: listeners.into_iter().map(|(_, one)| one).collect(),
            seconds,
        };
        let summary = self.engine.end(&end)?;
        self.record(|writer| writer.end(&end));
        Ok(summary)
    }

    /// Removes listeners from the kernel's map that closed a while ago.
    fn sweep(&mut self) -> Result<()> {
        let Some(newest) = self.closing.last().map(|record| record.ktime_ns) else {
            return Ok(());
        };
        let old = |record: &&ListenerRecord| record.ktime_ns + LINGER_NS <= newest;
        let due = self.closing.iter().take_while(old).count();
        self.bury(due)
    }

    /// Takes the last account of so many closed listeners. Where a new socket has the place
    /// of one already, what its closing told is all there is.
    fn bury(&mut self, due: usize) -> Result<()> {
        for record in self.closing.drain(..due).collect::<Vec<_>>() {
            let last = self
                .programs
                .forget_listener(record.sock, record.listener.stamp)?;
            self.give(&Input::Gone(last.unwrap_or(record.listener)))?;
        }
        Ok(())
    }
}
