//! What happens to records, apart from the probes: each gets its event, its verdict and
//! its place in the account.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::{HandoverRecord, Listener, ListenerRecord, Stats, SynRecord, handover};

use super::{
    filter,
    flows::{Flow, Flows},
};
use crate::{
    assess::Assessor,
    cli::{TraceArgs, UserFilterArgs},
    decode::Record,
    enrich::{Enricher, comm},
    event::{
        GroupHealth, Handover, Item, ListenerId, Lost, Queue, Reason, Reuseport, SCHEMA, Stage,
        Verdict, Via, Why,
    },
    judge::{
        self,
        health::{self, Health},
    },
    listeners::Inventory,
    sinks::{
        Sink, bound,
        summary::{ListenerLine, Summary, Totals},
    },
};

/// What happens to records, apart from the probes.
pub(super) struct Book<'a> {
    pub(super) enricher: Enricher,
    pub(super) assessor: Assessor,
    pub(super) sink: Box<dyn Sink>,
    filter: &'a UserFilterArgs,
    limit: Option<u64>,
    shown: u64,
    filtered: u64,
    not_shown: u64,
    /// Records that could not be read: lost on the way.
    pub(super) malformed: u64,
    reported: FxHashMap<Stage, u64>,
    tallies: FxHashMap<u64, Tally>,
    /// SYNs by verdict and cause, whatever the filters in user space leave out.
    verdicts: BTreeMap<(Verdict, Option<Reason>), u64>,
    /// SYNs that a full accept queue dropped.
    overflowed: u64,
    /// For hand-overs: what the SYN of a connection got.
    flows: Flows,
    handovers: BTreeMap<Why, u64>,
    pub(super) health: Health,
    pub(super) closing: Vec<ListenerRecord>,
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

impl<'a> Book<'a> {
    pub(super) fn new(
        enricher: Enricher,
        assessor: Assessor,
        inventory: &Inventory,
        sink: Box<dyn Sink>,
        args: &'a TraceArgs,
    ) -> Self {
        let mut health = Health::default();
        for listening in &inventory.listeners {
            let socket = health::Socket {
                bound: listening.bound,
                uid: listening.uid,
                inode: listening.inode,
                id: 0,
            };
            health.opened(&socket, None);
        }
        Self {
            enricher,
            assessor,
            sink,
            filter: &args.user_filter,
            limit: args.count,
            shown: 0,
            filtered: 0,
            not_shown: 0,
            malformed: 0,
            reported: FxHashMap::default(),
            tallies: FxHashMap::default(),
            verdicts: BTreeMap::new(),
            overflowed: 0,
            flows: Flows::default(),
            handovers: BTreeMap::new(),
            health,
            closing: Vec::new(),
        }
    }

    /// Whether `--count` is reached.
    pub(super) fn is_complete(&self) -> bool {
        self.limit.is_some_and(|limit| self.shown >= limit)
    }

    pub(super) fn take(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::Syn(record) => self.syn(record),
            Record::Handover(record) => self.handover(record),
            Record::Listen(_) | Record::Close(_) => {
                self.listener(record);
                Ok(())
            }
        }
    }

    /// A listener came or went.
    pub(super) fn listener(&mut self, record: &Record) {
        match record {
            Record::Syn(_) | Record::Handover(_) => {}
            Record::Listen(record) => {
                self.enricher.expect(record.listener.inode);
                self.assessor.opened(record);
                self.health
                    .opened(&socket(&record.listener), Some(record.ktime_ns));
            }
            Record::Close(record) => {
                self.assessor.closed(record, &self.enricher);
                self.enricher.closed(&record.listener);
                let socket = socket(&record.listener);
                self.health
                    .closed(&socket, record.ktime_ns, record.queue_len);
                self.closing.push(*record);
            }
        }
    }

    fn syn(&mut self, record: &SynRecord) -> Result<()> {
        if self.is_complete() {
            self.not_shown += 1;
            return Ok(());
        }
        let mut event = self.enricher.event(record);
        self.assessor.assess(record, &mut event, &mut self.enricher);
        self.flows.syn(record);
        if event.listener.as_ref().is_some_and(|l| l.queue.is_full()) {
            self.overflowed += 1;
        }
        if let Some(group) = event.reuseport {
            let by_hash = event.via == Via::ReuseportHash;
            self.health
                .syn(&socket(&record.listener), group.size, by_hash);
        }
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

    /// A connection came to a listener after its SYN: told if that is another than the SYN's.
    fn handover(&mut self, record: &HandoverRecord) -> Result<()> {
        let syn = self.flows.of(record);
        if self.is_complete() || syn.is_some_and(|syn| syn.listener == record.listener.stamp) {
            return Ok(());
        }
        let why = match record.why {
            handover::COOKIE_ACK => Why::CookieAck,
            _ => Why::Migrated,
        };
        let of_syn = syn.unwrap_or_else(|| Flow::unknown(record)).record();
        let event = self
            .assessor
            .hand_over(why, record, &of_syn, &mut self.enricher);
        if syn.is_none() && event.verdict == Verdict::Ok {
            return Ok(());
        }
        *self.handovers.entry(why).or_default() += 1;
        if event.verdict.is_alert() {
            *self
                .verdicts
                .entry((event.verdict, event.reason))
                .or_default() += 1;
        }
        if !filter::passes(self.filter, &event) {
            return Ok(());
        }
        let named = syn.map(|syn| syn.listener).filter(|&id| id != 0);
        let handover = Handover {
            why,
            event,
            syn_listener: named.map(ListenerId),
        };
        self.sink
            .write(&Item::Handover(Box::new(handover)))
            .context("cannot write the output")
    }

    /// Tells the sink of losses since the last time.
    pub(super) fn report(&mut self, stage: Stage, total: u64) -> Result<()> {
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
    pub(super) fn gone(&mut self, last: &Listener) {
        let owner = self.owner(last.stamp, last);
        self.enricher.forget(last);
        if let Some(tally) = self.tallies.get_mut(&last.stamp) {
            tally.listener = *last;
            tally.listener.closed = 1;
            tally.owner = Some(owner);
        }
    }

    pub(super) fn summary(
        mut self,
        stats: &Stats,
        listeners: &[(u64, Listener)],
        health: Vec<GroupHealth>,
        seconds: f64,
    ) -> Summary {
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
        if self.health.unwatched() > 0 {
            notes.push(
                "More listeners than sockpick watches the health of: some groups are missing from it."
                    .to_owned(),
            );
        }
        if stats.lost_handovers > 0 {
            notes.push(format!(
                "{} connections that may have come to another listener than their SYN were not \
                 looked at: the ring buffer was full.",
                stats.lost_handovers
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
            overflowed: self.overflowed,
            handovers: self.handovers.into_iter().collect(),
            listeners: lines,
            health,
            notes,
        }
    }

    /// Members of the groups seen that got no SYN: without them a group would look
    /// better balanced than it is.
    fn idle_members(&self) -> Vec<ListenerLine> {
        let mut groups: FxHashMap<u32, (&Tally, BTreeSet<u16>)> = FxHashMap::default();
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

fn socket(listener: &Listener) -> health::Socket {
    health::Socket {
        bound: judge::bound(listener),
        uid: listener.uid,
        inode: listener.inode,
        id: listener.stamp,
    }
}
