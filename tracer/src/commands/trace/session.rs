//! One tracing session: takes batches from the source to the sink, and keeps account
//! of every SYN that the kernel counted.

use std::time::Instant;

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use sockpick_ebpf::abi::{ListenerRecord, Stats};

use super::book::Book;
use crate::{
    cli::TraceArgs,
    event::{Item, Stage},
    probes::{channel::Missing, loader::Programs},
    sinks::summary::Summary,
    source::Source,
    stock::TakeStock as _,
};

/// A closed listener is removed from the kernel's map this long after its close, when
/// no lookup can end with it any more.
const LINGER_NS: u64 = 1_000_000_000;

pub(super) struct Session<'a> {
    programs: Programs,
    source: Source,
    book: Book<'a>,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Counters when recording began.
    baseline: Stats,
    /// Counters after the last batch: what they count was written before this one.
    before: Stats,
    /// Listener records lost when the listeners were last taken stock of.
    resynced: u64,
    /// Records that were written and did not arrive.
    missing: Missing,
    started: Instant,
}

impl<'a> Session<'a> {
    /// Begins to record.
    pub(super) fn begin(
        mut programs: Programs,
        mut source: Source,
        mut book: Book<'a>,
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
        // SYNs before are not this session's, but listeners that came or went since the
        // inventory are.
        source.begin(None);
        while let Some(record) = source.take() {
            if let Ok(record) = record {
                book.listener(&record);
            }
        }
        let baseline = programs.stats()?;
        programs.record()?;
        Ok(Self {
            programs,
            source,
            book,
            resynced: baseline.lost_listener_records,
            log,
            baseline,
            before: baseline,
            missing: Missing::default(),
            started: Instant::now(),
        })
    }

    pub(super) fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(super) fn source(&mut self) -> &mut Source {
        &mut self.source
    }

    /// Whether `--count` is reached.
    pub(super) fn is_complete(&self) -> bool {
        self.book.is_complete()
    }

    /// Takes the records that are due to the sink.
    pub(super) fn batch(&mut self) -> Result<()> {
        let now_ns = self.book.enricher.now_ns();
        self.take(Some(now_ns))
    }

    /// Takes all records to the sink that are older than what is held back.
    fn take(&mut self, now_ns: Option<u64>) -> Result<()> {
        self.book.enricher.begin_batch();
        self.source.begin(now_ns);
        while let Some(record) = self.source.take() {
            match record {
                Err(_) => self.book.malformed += 1,
                Ok(record) => self.book.take(&record, &mut self.source)?,
            }
        }
        self.sweep()?;
        let missing = self.source.missing(&self.before);
        self.before = self.programs.stats()?;
        let stats = self.since_start();
        self.missing.syns = self.missing.syns.max(missing.syns);
        self.missing.listeners = self.missing.listeners.max(missing.listeners);
        self.resync(stats.lost_listener_records + self.missing.listeners);
        let unread = self.book.malformed + self.missing.syns;
        self.book.report(Stage::Queue, stats.lost_ring + unread)?;
        self.book.report(Stage::Kernel, stats.lost_return)?;
        self.book.sink.flush().context("cannot write the output")?;
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(())
    }

    /// Detaches, takes what is left, and sums up.
    pub(super) fn end(mut self) -> Result<Summary> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.programs.detach();
        self.before = self.programs.stats()?;
        self.take(None)?;
        self.bury(self.book.closing.len())?;
        let stats = self.since_start();
        // Nothing is under way any more: what was counted and has no event is lost.
        let missed = stats.syns.saturating_sub(stats.emitted + stats.lost_ring);
        self.book.report(Stage::Kernel, missed)?;
        let health = self.book.health_report();
        for group in &health {
            let item = Item::Health(Box::new(group.clone()));
            self.book
                .sink
                .write(&item)
                .context("cannot write the output")?;
        }
        self.book.sink.flush().context("cannot write the output")?;
        let listeners = self.programs.listeners()?;
        self.book.enricher.settle();
        Ok(self.book.summary(&stats, &listeners, health, seconds))
    }

    /// What was counted since recording began.
    fn since_start(&self) -> Stats {
        let (now, base) = (&self.before, &self.baseline);
        Stats {
            syns: now.syns.saturating_sub(base.syns),
            emitted: now.emitted.saturating_sub(base.emitted),
            lost_ring: now.lost_ring.saturating_sub(base.lost_ring),
            lost_return: now.lost_return.saturating_sub(base.lost_return),
            refused: now.refused.saturating_sub(base.refused),
            dropped_full: now.dropped_full.saturating_sub(base.dropped_full),
            lost_handovers: now.lost_handovers.saturating_sub(base.lost_handovers),
            ..*now
        }
    }

    /// Takes stock of the listeners anew if records of them were lost.
    fn resync(&mut self, lost: u64) {
        self.book.assessor.settle(&mut self.source);
        if lost == self.resynced {
            return;
        }
        self.resynced = lost;
        let stock = self.source.take_stock();
        self.book.assessor.resync(&stock);
    }

    /// Removes listeners from the kernel's map that closed a while ago.
    fn sweep(&mut self) -> Result<()> {
        let Some(newest) = self.book.closing.last().map(|record| record.ktime_ns) else {
            return Ok(());
        };
        let old = |record: &&ListenerRecord| record.ktime_ns + LINGER_NS <= newest;
        let due = self.book.closing.iter().take_while(old).count();
        self.bury(due)
    }

    /// Takes the last account of so many closed listeners. Where a new socket has the place
    /// of one already, what its closing told is all there is.
    fn bury(&mut self, due: usize) -> Result<()> {
        for record in self.book.closing.drain(..due).collect::<Vec<_>>() {
            let last = self
                .programs
                .forget_listener(record.sock, record.listener.stamp)?;
            self.book.gone(&last.unwrap_or(record.listener));
        }
        Ok(())
    }
}
