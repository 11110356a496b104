//! One tracing session: takes batches from the source to the engine, and keeps account
//! of every SYN that the kernel counted.

pub mod recorded;
pub(crate) mod resident;
pub mod start;
mod suspects;
pub(crate) mod unseen;

use std::time::Instant;

use anyhow::Result;
use aya_log::EbpfLogger;
use rustc_hash::FxHashSet;
use sockpick_ebpf::abi::{Listener, ListenerRecord, Stats};

use crate::{
    clock::{monotonic_ns, wall_offset_ns},
    decode::Record,
    engine::Engine,
    host::{answers::Listeners, noted::NotedStock},
    outlets::Outlet,
    pipeline::{Counted, End, Input, Pipeline, enrich::Enricher},
    probes::{
        channel::Missing,
        programs::Programs,
        rights::{Level, Rights},
    },
    recording::{Header, Position},
    remark::remark,
    source::Source,
};
use recorded::Recording;
use start::Attached;
use suspects::Told;

/// A closed listener is removed from the kernel's map this long after its close, when
/// no lookup can end with it any more.
const LINGER_NS: u64 = 1_000_000_000;
/// Room is kept for so many that closed.
const CLOSING_ROOM: usize = 1024;

/// How often a batch is taken again at once, while there is something to tell the programs.
const MOST_TURNS: u32 = 3;

/// Attached programs, what reads them, and the engine that has what they wrote.
pub struct Session<O> {
    programs: Programs,
    source: Source,
    engine: Engine<O>,
    recording: Option<Recording>,
    /// The recording could not be written on.
    is_cut: bool,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Where there are records only of SYNs that may be an alert.
    told: Option<Told<Rights>>,
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

/// What the programs say of what they do, if that is wanted and they can.
fn log_of(
    programs: &mut Programs,
    debug: bool,
) -> Result<Option<EbpfLogger<&'static dyn log::Log>>> {
    if debug && programs.legacy {
        remark("the programs for old kernels have no log: --debug-programs says nothing");
    }
    (debug && !programs.legacy)
        .then(|| programs.debug_log())
        .transpose()
}

impl<O: Outlet> Session<O> {
    /// Begins to record. `debug`: has the programs say what they do.
    ///
    /// # Errors
    /// If the kernel refuses it, or the outlet takes no more.
    pub fn begin(
        attached: Attached,
        mut engine: Engine<O>,
        recording: Option<Recording>,
        debug: bool,
    ) -> Result<Self> {
        let Attached {
            mut programs,
            source,
            rights,
        } = attached;
        let told = Told::of(engine.pipeline(), rights);
        let mut session = Self {
            told,
            log: log_of(&mut programs, debug)?,
            programs,
            source,
            engine,
            recording,
            is_cut: false,
            baseline: Stats::default(),
            before: Stats::default(),
            closing: Vec::new(),
            missing: Missing::default(),
            started: Instant::now(),
        };
        session.record_from_now()?;
        Ok(session)
    }

    /// Goes on with other programs, of a session that was detached: the outlet stays.
    ///
    /// # Errors
    /// As [`Session::begin`].
    pub fn go_on(&mut self, attached: Attached, mut pipeline: Pipeline, debug: bool) -> Result<()> {
        self.programs = attached.programs;
        self.source = attached.source;
        self.log = log_of(&mut self.programs, debug)?;
        self.told = Told::of(&mut pipeline, attached.rights);
        *self.engine.pipeline() = pipeline;
        self.missing = Missing::default();
        self.started = Instant::now();
        self.record_from_now()
    }

    fn record_from_now(&mut self) -> Result<()> {
        self.give(&Input::Begin(wall_offset_ns()))?;
        // SYNs before are not this session's, but listeners that came or went since the
        // inventory are.
        self.source.begin(None);
        while let Some(record) = self.source.take() {
            if let Ok(record @ (Record::Listen(_) | Record::Close(_))) = record {
                self.give(&Input::Record(record))?;
            }
        }
        self.baseline = self.programs.stats()?;
        self.before = self.baseline;
        self.programs.record()
    }

    /// What is attached.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// What reads it.
    pub fn source(&mut self) -> &mut Source {
        &mut self.source
    }

    /// Who has what comes of it.
    pub fn engine(&mut self) -> &mut Engine<O> {
        &mut self.engine
    }

    /// Whether a recording goes along.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// Whether a recording could not be written on.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// From now on what happens in this namespace is recorded past the filters, or in none.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn record_also(&mut self, netns: Option<u32>) -> Result<()> {
        match netns {
            Some(netns) => self.programs.record_also(netns),
            None => self.programs.record(),
        }
    }

    /// From now on these namespaces pass the filter, instead of those `before`.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn filter_namespaces(&mut self, before: &[u32], now: &[u32]) -> Result<()> {
        self.programs.filter_namespaces(before, now)
    }

    /// Takes the records that are due to the engine.
    ///
    /// # Errors
    /// If the kernel refuses to be asked, or the outlet takes no more.
    pub fn batch(&mut self) -> Result<()> {
        self.next_part();
        self.engine.pipeline().pass(monotonic_ns());
        self.take(Some(monotonic_ns()))?;
        // What somebody changed a moment ago can be told as soon as all up to then is read.
        for _ in 0..MOST_TURNS {
            let Some(told) = &self.told else { break };
            if self.source.has_more() || !told.is_behind(self.engine.pipeline()) {
                break;
            }
            self.take(Some(monotonic_ns()))?;
        }
        let is_due = |told: &Told<Rights>| told.is_due(monotonic_ns());
        if self.told.as_ref().is_some_and(is_due) {
            self.count()?;
        }
        Ok(())
    }

    /// Has the outlet take what was counted and not recorded, up to now.
    ///
    /// # Errors
    /// If it takes no more.
    pub fn count(&mut self) -> Result<()> {
        let Some(told) = &mut self.told else {
            return Ok(());
        };
        self.engine.counts(told.counts(monotonic_ns()))
    }

    /// From now on there is a record of each SYN to these ports, at any level, and of no other
    /// ones for that.
    pub fn hold(&mut self, ports: FxHashSet<u16>) {
        if let Some(told) = &mut self.told {
            told.hold(ports);
        }
    }

    /// From now on there are a daemon's records at this level, as far as the programs can.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub fn set_level(&mut self, level: Level) -> Result<()> {
        if self.told.is_none() {
            return Ok(());
        }
        self.programs.change_level(level)
    }

    fn give(&mut self, input: &Input) -> Result<()> {
        if let Input::Record(Record::Close(record)) = input {
            self.closing.push(*record);
        }
        let Some(Recording { notes, .. }) = &self.recording else {
            return self.engine.take(input, &mut self.source);
        };
        let mut present = NotedStock {
            present: &mut self.source,
            notes,
        };
        let taken = self.engine.take(input, &mut present);
        // It was taken in, even if nobody could be told.
        self.record(|recording| recording.recorder.input(input));
        taken
    }

    /// Writes on the recording, if there is one. Where that fails the session goes on without.
    fn record(&mut self, write: impl FnOnce(&mut Recording) -> Result<()>) {
        if let Some(recording) = &mut self.recording
            && let Err(error) = write(recording)
        {
            remark(format_args!("{error:#}"));
            self.recording = None;
            self.is_cut = true;
        }
    }

    /// Has what comes now go to another file, if the recording is in parts and one is full.
    fn next_part(&mut self) {
        let is_due = |recording: &Recording| recording.recorder.is_due();
        if !self.recording.as_ref().is_some_and(is_due) {
            return;
        }
        let listeners = Listeners::present(self.engine.listeners());
        let now = Position {
            counted: self.counted(),
            seconds: self.started.elapsed().as_secs_f64(),
            ..Position::default()
        };
        self.record(|recording| {
            let header = Header {
                began: Enricher::wall_ns(monotonic_ns(), wall_offset_ns()),
                listeners,
                ..recording.header.clone()
            };
            recording.recorder.next_part(header, now)
        });
    }

    /// What was counted since the session began, as of the last batch.
    fn counted(&self) -> Counted {
        Counted {
            stats: self.before.since(&self.baseline),
            missing: (self.missing.syns, self.missing.listeners),
        }
    }

    /// Takes all records to the engine that are older than what is held back; with a time, of those
    /// that are written meanwhile not all.
    fn take(&mut self, now_ns: Option<u64>) -> Result<()> {
        if let Some(told) = &mut self.told {
            told.note(self.engine.pipeline());
        }
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
        let lost_before = self.before.lost_return;
        self.before = self.programs.stats()?;
        if self.before.lost_return > lost_before {
            self.programs.lost_one();
        }
        self.missing.syns = self.missing.syns.max(missing.syns);
        self.missing.listeners = self.missing.listeners.max(missing.listeners);
        self.give(&Input::Counted(self.counted()))?;
        if let Some(told) = &mut self.told {
            told.tell(self.engine.pipeline(), monotonic_ns());
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(())
    }

    /// Detaches, and takes what is left.
    ///
    /// # Errors
    /// As [`Session::batch`].
    pub fn detach(&mut self) -> Result<End> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.programs.detach();
        self.before = self.programs.stats()?;
        self.take(None)?;
        self.count()?;
        self.bury(self.closing.len())?;
        let told = self.told.as_ref();
        let counted = |stamp| told.map_or(0, |told| told.counted(stamp));
        let all = |(_, one): (u64, Listener)| Listener {
            syns: one.syns + counted(one.stamp),
            ..one
        };
        Ok(End {
            stats: self.before.since(&self.baseline),
            listeners: self.programs.listeners().into_iter().map(all).collect(),
            seconds,
        })
    }

    /// Gives the recording, if there is one, its proper end.
    pub fn end_recording(&mut self, end: &End) {
        self.record(|recording| recording.recorder.end(end));
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
            let mut last = last.unwrap_or(record.listener);
            if let Some(told) = &mut self.told {
                last.syns += told.counted(last.stamp);
                if let Some(counted) = told.left(last.stamp) {
                    self.engine.unrecorded(counted)?;
                }
            }
            self.give(&Input::Gone(last))?;
        }
        // After many that closed at once.
        self.closing.shrink_to(CLOSING_ROOM);
        Ok(())
    }
}
