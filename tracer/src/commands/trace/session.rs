//! One tracing session: takes batches from the source to the sink, and keeps account
//! of every SYN that the kernel counted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use sockpick_ebpf::abi::{Listener, ListenerRecord, Stats, SynRecord};

use super::filter;
use crate::{
    assess::Assessor,
    cli::{TraceArgs, UserFilterArgs},
    decode::Record,
    enrich::{Enricher, comm},
    event::{Item, Lost, Queue, Reason, Reuseport, SCHEMA, Stage, Verdict},
    listeners,
    probes::loader::Programs,
    sinks::{
        Sink, bound,
        summary::{ListenerLine, Summary, Totals},
    },
    source::Source,
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
    /// Listener records lost when the listeners were last taken stock of.
    resynced: u64,
    started: Instant,
}

/// What happens to records, apart from the probes.
struct Book<'a> {
    enricher: Enricher,
    assessor: Assessor,
    sink: Box<dyn Sink>,
    filter: &'a UserFilterArgs,
    limit: Option<u64>,
    shown: u64,
    filtered: u64,
    not_shown: u64,
    /// Records that could not be read: lost on the way.
    malformed: u64,
    reported: HashMap<Stage, u64>,
    tallies: HashMap<u64, Tally>,
    /// SYNs by verdict and cause, whatever the filters in user space leave out.
    verdicts: BTreeMap<(Verdict, Option<Reason>), u64>,
    closing: Vec<ListenerRecord>,
}

/// What is known of a listener for the summary.
struct Tally {
    listener: Listener,
    group: Option<Reuseport>,
    queue: Option<Queue>,
    /// Who held it when it closed.
    owner: Option<String>,
    /// Where it is bound, as it is to be shown.
    endpoint: String,
    /// SYNs shown.
    shown: u64,
    /// Kernel time of the last one.
    last_ns: u64,
}

impl<'a> Session<'a> {
    /// Begins to record.
    pub(super) fn begin(
        mut programs: Programs,
        mut source: Source,
        enricher: Enricher,
        assessor: Assessor,
        sink: Box<dyn Sink>,
        args: &'a TraceArgs,
    ) -> Result<Self> {
        let log = args
            .probes
            .debug_programs
            .then(|| programs.debug_log())
            .transpose()?;
        let mut book = Book {
            enricher,
            assessor,
            sink,
            filter: &args.user_filter,
            limit: args.count,
            shown: 0,
            filtered: 0,
            not_shown: 0,
            malformed: 0,
            reported: HashMap::new(),
            tallies: HashMap::new(),
            verdicts: BTreeMap::new(),
            closing: Vec::new(),
        };
        // The self-check's SYNs are not this session's; but listeners that came or went
        // since the inventory are.
        source.drain(|record| {
            if let Ok(record) = record {
                book.listener(&record);
            }
        });
        let baseline = programs.stats()?;
        programs.record()?;
        Ok(Self {
            programs,
            source,
            book,
            resynced: baseline.lost_listener_records,
            log,
            baseline,
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
        self.book
            .limit
            .is_some_and(|limit| self.book.shown >= limit)
    }

    /// Takes all records there are to the sink.
    pub(super) fn batch(&mut self) -> Result<()> {
        let book = &mut self.book;
        book.enricher.begin_batch();
        let mut result = Ok(());
        self.source.drain(|record| {
            match record {
                Err(_) => book.malformed += 1,
                Ok(record) if result.is_ok() => result = book.take(&record),
                // The output failed: there is nothing to do with the rest.
                Ok(_) => {}
            }
        });
        result?;
        self.sweep()?;
        let stats = self.stats()?;
        self.resync(stats.lost_listener_records);
        let unread = self.book.malformed;
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
        self.batch()?;
        let stats = self.stats()?;
        // Nothing is under way any more: what was counted and has no event is lost.
        let missed = stats.syns.saturating_sub(stats.emitted + stats.lost_ring);
        self.book.report(Stage::Kernel, missed)?;
        self.book.sink.flush().context("cannot write the output")?;
        let listeners = self.programs.listeners()?;
        self.book.enricher.settle();
        Ok(self.book.summary(&stats, &listeners, seconds))
    }

    /// Counters since recording began.
    fn stats(&self) -> Result<Stats> {
        let now = self.programs.stats()?;
        let base = &self.baseline;
        Ok(Stats {
            syns: now.syns.saturating_sub(base.syns),
            emitted: now.emitted.saturating_sub(base.emitted),
            lost_ring: now.lost_ring.saturating_sub(base.lost_ring),
            lost_return: now.lost_return.saturating_sub(base.lost_return),
            refused: now.refused.saturating_sub(base.refused),
            ..now
        })
    }

    /// Takes stock of the listeners anew if records of them were lost.
    fn resync(&mut self, lost: u64) {
        if lost == self.resynced {
            return;
        }
        self.resynced = lost;
        let now_ns = self.book.enricher.now_ns();
        self.book.assessor.resync(&listeners::inventory(), now_ns);
    }

    /// Removes listeners from the kernel's map that closed a while ago.
    fn sweep(&mut self) -> Result<()> {
        let Some(newest) = self.book.closing.last().map(|record| record.ktime_ns) else {
            return Ok(());
        };
        let due = self
            .book
            .closing
            .iter()
            .take_while(|record| record.ktime_ns + LINGER_NS <= newest)
            .count();
        for record in self.book.closing.drain(..due).collect::<Vec<_>>() {
            let last = self
                .programs
                .forget_listener(record.sock, record.listener.stamp)?;
            self.book.gone(&last.unwrap_or(record.listener));
        }
        Ok(())
    }
}

impl Book<'_> {
    fn take(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::Syn(record) => self.syn(record),
            Record::Listen(_) | Record::Close(_) => {
                self.listener(record);
                Ok(())
            }
        }
    }

    /// A listener came or went.
    fn listener(&mut self, record: &Record) {
        match record {
            Record::Syn(_) => {}
            Record::Listen(record) => {
                self.enricher.expect(record.listener.inode);
                self.assessor.opened(record);
            }
            Record::Close(record) => {
                self.assessor.closed(record, &self.enricher);
                self.enricher.closed(&record.listener);
                self.closing.push(*record);
            }
        }
    }

    fn syn(&mut self, record: &SynRecord) -> Result<()> {
        if self.limit.is_some_and(|limit| self.shown >= limit) {
            self.not_shown += 1;
            return Ok(());
        }
        let mut event = self.enricher.event(record);
        self.assessor.assess(record, &mut event, &mut self.enricher);
        *self
            .verdicts
            .entry((event.verdict, event.reason))
            .or_default() += 1;
        if !filter::passes(self.filter, &event) {
            self.filtered += 1;
            return Ok(());
        }
        if let Some(listener) = &event.listener {
            let tally = self
                .tallies
                .entry(record.listener.stamp)
                .or_insert_with(|| Tally {
                    listener: record.listener,
                    group: None,
                    queue: None,
                    owner: None,
                    endpoint: bound(listener),
                    shown: 0,
                    last_ns: 0,
                });
            tally.group = event.reuseport;
            tally.queue = Some(listener.queue);
            tally.shown += 1;
            tally.last_ns = record.ktime_ns;
        }
        self.shown += 1;
        self.sink
            .write(&Item::Syn(event))
            .context("cannot write the output")
    }

    /// Tells the sink of losses since the last time.
    fn report(&mut self, stage: Stage, total: u64) -> Result<()> {
        let reported = self.reported.entry(stage).or_default();
        let lost = total.saturating_sub(*reported);
        if lost > 0 {
            *reported = total;
            let lost = Lost {
                schema: SCHEMA,
                lost,
                stage,
            };
            self.sink
                .write(&Item::Lost(lost))
                .context("cannot write the output")?;
        }
        Ok(())
    }

    /// A listener closed, and no SYN can reach it any more.
    fn gone(&mut self, last: &Listener) {
        let owner = self.owner(last.stamp, last);
        self.enricher.forget(last);
        if let Some(tally) = self.tallies.get_mut(&last.stamp) {
            tally.listener = *last;
            tally.listener.closed = 1;
            tally.owner = Some(owner);
        }
    }

    fn summary(mut self, stats: &Stats, listeners: &[(u64, Listener)], seconds: f64) -> Summary {
        for (_, listener) in listeners {
            if let Some(tally) = self.tallies.get_mut(&listener.stamp) {
                tally.listener = *listener;
            }
        }
        // The kernel's counters are exact whatever was lost, but know nothing of a
        // filter that asks about events.
        let by_event = !self.filter.matched.is_empty()
            || !self.filter.verdict.is_empty()
            || self.filter.only_alerts;
        let mut lines: Vec<ListenerLine> = self
            .tallies
            .iter()
            .map(|(stamp, tally)| ListenerLine {
                netns: tally.listener.netns,
                endpoint: tally.endpoint.clone(),
                group: tally.group.map(|group| group.group),
                member: tally.group.and_then(|group| group.member),
                syns: if by_event {
                    tally.shown
                } else {
                    tally.listener.syns
                },
                queue: tally.queue,
                owner: tally
                    .owner
                    .clone()
                    .unwrap_or_else(|| self.owner(*stamp, &tally.listener)),
                closed: tally.listener.closed != 0,
            })
            .collect();
        lines.extend(self.idle_members());
        let mut notes = Vec::new();
        if stats.listeners_full > 0 {
            notes.push("More listeners than sockpick keeps: some have no lasting id.".to_owned());
        }
        if self.assessor.forgotten() > 0 {
            notes.push(format!(
                "{} closed listeners were forgotten before their time: too many closed within \
                 the hold time, so some uncovered SYNs may have passed as ok.",
                self.assessor.forgotten()
            ));
        }
        if self.malformed > 0 {
            notes.push(format!(
                "{} records could not be read; they are counted as lost in the queue.",
                self.malformed
            ));
        }
        Summary {
            seconds,
            totals: Totals {
                syns: stats.syns,
                shown: self.shown,
                filtered: self.filtered,
                not_shown: self.not_shown,
                refused: stats.refused,
                lost: self.reported.into_iter().collect(),
            },
            verdicts: self.verdicts.into_iter().collect(),
            listeners: lines,
            notes,
        }
    }

    /// Members of the groups seen that got no SYN: without them a group would look
    /// better balanced than it is.
    fn idle_members(&self) -> Vec<ListenerLine> {
        let mut groups: HashMap<u32, (&Tally, BTreeSet<u16>)> = HashMap::new();
        for tally in self
            .tallies
            .values()
            .filter(|tally| tally.listener.closed == 0)
        {
            if let Some(group) = tally.group {
                let (last, seen) = groups
                    .entry(group.group)
                    .or_insert_with(|| (tally, BTreeSet::new()));
                seen.extend(group.member);
                if tally.last_ns > last.last_ns {
                    *last = tally;
                }
            }
        }
        let idle = |(number, (last, seen)): (u32, (&Tally, BTreeSet<u16>))| {
            let size = last.group.map_or(0, |group| group.size);
            let line = ListenerLine {
                netns: last.listener.netns,
                endpoint: last.endpoint.clone(),
                group: Some(number),
                ..ListenerLine::default()
            };
            (0..size)
                .filter(move |member| !seen.contains(member))
                .map(move |member| ListenerLine {
                    member: Some(member),
                    ..line.clone()
                })
        };
        groups.into_iter().flat_map(idle).collect()
    }

    fn owner(&self, stamp: u64, listener: &Listener) -> String {
        match self.enricher.owners_of(stamp) {
            Some([first, rest @ ..]) => {
                let more = if rest.is_empty() {
                    String::new()
                } else {
                    format!(" +{}", rest.len())
                };
                format!("{}({}){more}", first.comm, first.pid)
            }
            _ if listener.listen_pid != 0 => {
                format!("{}({})", comm(&listener.listen_comm), listener.listen_pid)
            }
            _ => String::new(),
        }
    }
}
