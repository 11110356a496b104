//! What happens to records, apart from the probes: each gets its event, its verdict and
//! its place in the account.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::{HandoverRecord, Listener, ListenerRecord, SynRecord, handover};

use super::{
    filter,
    flows::{Flow, Flows},
};
use crate::{
    assess::Assessor,
    cli::{TraceArgs, UserFilterArgs},
    decode::Record,
    enrich::Enricher,
    event::{
        Event, GroupHealth, Handover, Item, ListenerId, Lost, Netns, Queue, Reason, Reuseport,
        SCHEMA, Stage, Verdict, Via, Why,
    },
    judge::{
        self,
        health::{self, Health},
    },
    listeners::Inventory,
    own::Own,
    sinks::{Sink, bound},
    stock::TakeStock,
};

mod account;

/// Most closed listeners that have a line in the summary; past that the one that closed first
/// is in a sum only.
const MOST_CLOSED: usize = 4096;

/// Most programs that the summary names.
const MOST_PROGRAMS: usize = 16;

/// What happens to records, apart from the probes.
pub(super) struct Book<'a> {
    pub(super) enricher: Enricher,
    pub(super) assessor: Assessor,
    /// Tells what this sockpick does, and others beside it.
    own: Own,
    pub(super) sink: Box<dyn Sink>,
    filter: &'a UserFilterArgs,
    limit: Option<u64>,
    shown: u64,
    filtered: u64,
    /// SYNs of a sockpick's own, and those of them without a listener.
    own_syns: u64,
    own_refused: u64,
    not_shown: u64,
    /// Records that could not be read: lost on the way.
    pub(super) malformed: u64,
    reported: FxHashMap<Stage, u64>,
    tallies: FxHashMap<u64, Tally>,
    /// Of the tallies, those of closed listeners, in that order.
    closed: VecDeque<u64>,
    dropped: Dropped,
    /// SYNs shown by verdict and cause.
    verdicts: BTreeMap<(Verdict, Option<Reason>), u64>,
    /// SYNs shown that nobody got.
    refused: u64,
    /// SYNs shown that a full accept queue dropped.
    overflowed: u64,
    /// SYNs shown that were dropped between their lookup and the listener.
    not_taken: u64,
    /// For hand-overs: what the SYN of a connection got.
    flows: Flows,
    handovers: BTreeMap<Why, u64>,
    /// Programs that were attached where SYNs were steered: id and name.
    programs: BTreeMap<u32, String>,
    pub(super) health: Health,
    pub(super) closing: Vec<ListenerRecord>,
}

/// Listeners that closed too long ago for a line of their own.
#[derive(Debug, Default)]
struct Dropped {
    listeners: u64,
    syns: u64,
}

/// What is known of a listener for the summary.
struct Tally {
    listener: Listener,
    netns: Arc<Netns>,
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

impl Tally {
    /// SYNs: those shown, or all that the kernel counted.
    fn syns(&self, shown: bool) -> u64 {
        if shown {
            self.shown
        } else {
            self.listener.syns
        }
    }
}

impl<'a> Book<'a> {
    pub(super) fn new(
        enricher: Enricher,
        assessor: Assessor,
        own: Own,
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
            own,
            sink,
            filter: &args.user_filter,
            limit: args.count,
            shown: 0,
            filtered: 0,
            own_syns: 0,
            own_refused: 0,
            not_shown: 0,
            malformed: 0,
            reported: FxHashMap::default(),
            tallies: FxHashMap::default(),
            closed: VecDeque::new(),
            dropped: Dropped::default(),
            verdicts: BTreeMap::new(),
            refused: 0,
            overflowed: 0,
            not_taken: 0,
            flows: Flows::default(),
            handovers: BTreeMap::new(),
            programs: BTreeMap::new(),
            health,
            closing: Vec::new(),
        }
    }

    /// Whether `--count` is reached.
    pub(super) fn is_complete(&self) -> bool {
        self.limit.is_some_and(|limit| self.shown >= limit)
    }

    pub(super) fn take(&mut self, record: &Record, present: &mut dyn TakeStock) -> Result<()> {
        match record {
            Record::Syn(record) => self.syn(record, present),
            Record::Handover(record) => self.handover(record, present),
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
            Record::Listen(record) if self.is_own(record) => {}
            Record::Close(record) if self.is_own(record) => self.closing.push(*record),
            Record::Listen(record) => {
                self.enricher.opened(&record.listener, record.ktime_ns);
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

    /// Whether it is the listener of a sockpick's own namespace.
    fn is_own(&mut self, record: &ListenerRecord) -> bool {
        let listener = &record.listener;
        let cookie = listener.netns_cookie;
        self.own.did(listener.netns, cookie, record.ktime_ns)
    }

    fn syn(&mut self, record: &SynRecord, present: &mut dyn TakeStock) -> Result<()> {
        let (netns, cookie) = (record.netns, record.netns_cookie);
        let own = self
            .own
            .sent(netns, cookie, record.ifindex, record.ktime_ns);
        if own {
            self.own_syns += 1;
            self.own_refused += u64::from(record.has_listener == 0);
            return Ok(());
        }
        if self.is_complete() {
            self.not_shown += 1;
            return Ok(());
        }
        let mut event = self.enricher.event(record);
        self.assessor
            .assess(record, &mut event, &mut self.enricher, present);
        self.flows.syn(record);
        if let Some(group) = event.reuseport.filter(|_| event.listener.is_some()) {
            let by_hash = event.via == Via::ReuseportHash;
            self.health
                .syn(&socket(&record.listener), group.size, by_hash);
        }
        if !filter::passes(self.filter, &event) {
            self.filtered += 1;
            return Ok(());
        }
        self.sum_up(&event);
        self.not_taken += u64::from(record.dropped);
        if let Some(listener) = &event.listener {
            let tally = self
                .tallies
                .entry(record.listener.stamp)
                .or_insert_with(|| Tally {
                    listener: record.listener,
                    netns: event.netns.clone(),
                    group: None,
                    queue: None,
                    owner: None,
                    endpoint: bound(listener),
                    shown: 0,
                    last_ns: 0,
                });
            tally.netns = event.netns.clone();
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

    /// Takes what is shown into the sums.
    fn sum_up(&mut self, event: &Event) {
        *self
            .verdicts
            .entry((event.verdict, event.reason))
            .or_default() += 1;
        match &event.listener {
            None => self.refused += 1,
            Some(listener) => self.overflowed += u64::from(listener.queue.is_full()),
        }
        for program in event.steered_by.iter().flat_map(|all| all.iter()) {
            if self.programs.len() < MOST_PROGRAMS && !self.programs.contains_key(&program.id) {
                self.programs.insert(program.id, program.name.clone());
            }
        }
    }

    /// A connection came to a listener after its SYN: told if that is another than the SYN's.
    fn handover(&mut self, record: &HandoverRecord, present: &mut dyn TakeStock) -> Result<()> {
        let (netns, cookie) = (record.netns, record.netns_cookie);
        if self.own.did(netns, cookie, record.ktime_ns) {
            return Ok(());
        }
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
            .hand_over(why, record, &of_syn, &mut self.enricher, present);
        if syn.is_none() && event.verdict == Verdict::Ok {
            return Ok(());
        }
        if !filter::passes(self.filter, &event) {
            return Ok(());
        }
        *self.handovers.entry(why).or_default() += 1;
        if event.verdict.is_alert() {
            *self
                .verdicts
                .entry((event.verdict, event.reason))
                .or_default() += 1;
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
        let owner = self.enricher.told(last);
        self.enricher.forget(last);
        if let Some(tally) = self.tallies.get_mut(&last.stamp) {
            tally.listener = *last;
            tally.listener.closed = 1;
            tally.owner = Some(owner);
            self.closed.push_back(last.stamp);
        }
        if self.closed.len() > MOST_CLOSED
            && let Some(first) = self.closed.pop_front()
            && let Some(tally) = self.tallies.remove(&first)
        {
            self.dropped.listeners += 1;
            self.dropped.syns += tally.syns(self.asks_about_events());
        }
    }

    /// How the groups fared, with the names of their interfaces.
    pub(super) fn health_report(&mut self) -> Vec<GroupHealth> {
        let mut groups = self.health.report();
        for GroupHealth {
            netns, listener, ..
        } in &mut groups
        {
            listener.device_name = self.enricher.device(*netns, listener.device);
        }
        groups
    }

    /// The kernel's counters are exact whatever was lost, but know nothing of a filter that
    /// asks about events.
    fn asks_about_events(&self) -> bool {
        !self.filter.matched.is_empty()
            || !self.filter.verdict.is_empty()
            || self.filter.only_alerts
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

#[cfg(test)]
mod tests {
    use std::io;

    use clap::Parser as _;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        event::Backend,
        judge::{expectations::Expectations, rules::Algorithm},
        stock::Stock,
    };
    use sockpick_ebpf::abi::{Stats, kind};

    struct Nowhere;

    struct Nothing;

    impl TakeStock for Nothing {
        fn take_stock(&mut self) -> Stock {
            Stock::default()
        }
    }

    impl Sink for Nowhere {
        fn write(&mut self, _: &Item) -> io::Result<()> {
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn listeners_that_come_and_go_all_day_end_in_a_sum() -> Result<()> {
        let all = MOST_CLOSED + 3;
        let Command::Trace(args) = Cli::try_parse_from(["sockpick", "trace"])?.command else {
            panic!("trace is trace");
        };
        let expectations = Expectations::default();
        let assessor = Assessor::new(expectations, Algorithm::AddressFirst);
        let enricher = Enricher::new(Backend::Fentry);
        let mut book = Book::new(
            enricher,
            assessor,
            Own::default(),
            &Inventory::default(),
            Box::new(Nowhere),
            &args,
        );
        for stamp in 1..=all as u64 {
            let listener = Listener {
                stamp,
                syns: 2,
                port: 80,
                ..Listener::default()
            };
            let record = SynRecord {
                kind: kind::SYN,
                has_listener: 1,
                listener,
                ..SynRecord::default()
            };
            book.take(&Record::Syn(record), &mut Nothing)?;
            book.gone(&listener);
        }
        let summary = book.summary(&Stats::default(), &[], Vec::new(), 1.0);
        assert_eq!(summary.listeners.len(), MOST_CLOSED);
        let note = "No line above for 3 listeners that closed long ago, with 6 SYNs.";
        assert_eq!(summary.notes, [note]);
        Ok(())
    }
}
