//! What happens to records, wherever they come from: each gets its event, its verdict and its
//! place in the account. No command line, clock or question to the machine is in here: what is
//! asked goes to the [`crate::host::Host`].
#![forbid(unsafe_code)]

mod account;
pub mod assess;
pub mod enrich;
mod flows;
pub mod selection;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use sockpick_ebpf::abi::{HandoverRecord, Listener, ListenerRecord, Stats, SynRecord, handover};

use crate::{
    decode::Record,
    event::{
        Event, GroupHealth, Handover, Item, ListenerId, Lost, Netns, Queue, Reason, Reuseport,
        SCHEMA, Stage, Verdict, Via, Why,
    },
    judge::{
        self,
        health::{self, Health},
    },
    listeners::{Inventory, Listening},
    sinks::{Quiet, Sink, bound, summary::Summary},
    stock::TakeStock,
};
use assess::Assessor;
use enrich::Enricher;
use flows::{Flow, Flows};
use selection::{Selection, passes};

/// Most closed listeners that have a line in the summary; past that the one that closed first
/// is in a sum only.
const MOST_CLOSED: usize = 4096;

/// Most programs that the summary names.
const MOST_PROGRAMS: usize = 16;

/// What the pipeline takes, in this order: batches of a beginning, what happened and an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// A batch begins; the wall clock minus `CLOCK_MONOTONIC`, in nanoseconds.
    Begin(i64),
    /// What the kernel wrote.
    Record(Record),
    /// Bytes that are no record: lost on the way.
    Malformed,
    /// A listener closed a while ago, and no SYN can reach it any more: its last account.
    Gone(Listener),
    /// What was counted since the session began, as of a batch's end.
    Counted(Counted),
}

/// What was counted since the session began.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// By the programs.
    pub stats: Stats,
    /// Records that were written and did not arrive: of SYNs, of listeners.
    pub missing: (u64, u64),
}

/// How a session ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct End {
    /// What was counted, all told.
    pub stats: Stats,
    /// Listeners as the kernel has them.
    pub listeners: Vec<Listener>,
    /// How long it took.
    pub seconds: f64,
}

/// Records in, items to the sink, an account at the end.
pub struct Pipeline {
    enricher: Enricher,
    assessor: Assessor,
    sink: Box<dyn Sink>,
    selection: Selection,
    /// Listener records lost when the listeners were last taken stock of.
    resynced: u64,
    shown: u64,
    filtered: u64,
    /// SYNs of a sockpick's own, and those of them without a listener.
    own_syns: u64,
    own_refused: u64,
    not_shown: u64,
    /// Records that could not be read: lost on the way.
    malformed: u64,
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
    health: Health,
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

impl Pipeline {
    /// Begins with the listeners that are there.
    #[must_use]
    pub fn new(
        enricher: Enricher,
        mut assessor: Assessor,
        inventory: &Inventory,
        sink: Box<dyn Sink>,
        selection: Selection,
    ) -> Self {
        assessor.present(inventory);
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
            selection,
            resynced: 0,
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
        }
    }

    /// Whether `--count` is reached.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.selection
            .count
            .is_some_and(|limit| self.shown >= limit)
    }

    /// Goes on without telling anybody of SYNs.
    pub fn mute(&mut self) {
        self.sink = Box::new(Quiet);
    }

    /// The listeners as of the last record, in no order: what a replay may begin with that knows
    /// nothing from before. Cookies and queues are not among what is known of them.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listening> {
        let uids = self.health.uids();
        let listening = |(bound, inode)| Listening {
            bound,
            inode,
            cookie: 0,
            uid: uids.get(&(bound, inode)).copied().unwrap_or_default(),
            queue: Queue {
                length: 0,
                limit: 0,
            },
            complete: false,
        };
        self.assessor.listeners().map(listening).collect()
    }

    /// Takes what comes next. `present` is asked where the listeners are in doubt.
    ///
    /// # Errors
    /// If the sink takes no more.
    pub fn take(&mut self, input: &Input, present: &mut dyn TakeStock) -> Result<()> {
        match input {
            Input::Begin(wall_offset_ns) => self.enricher.begin_batch(*wall_offset_ns),
            Input::Record(Record::Syn(record)) => self.syn(record, present)?,
            Input::Record(Record::Handover(record)) => self.handover(record, present)?,
            Input::Record(Record::Listen(record)) => self.opened(record),
            Input::Record(Record::Close(record)) => self.closed(record),
            Input::Malformed => self.malformed += 1,
            Input::Gone(last) => self.gone(last),
            Input::Counted(counted) => self.counted(counted, present)?,
        }
        Ok(())
    }

    fn opened(&mut self, record: &ListenerRecord) {
        if !self.is_own(record) {
            self.enricher.opened(&record.listener, record.ktime_ns);
            self.assessor.opened(record);
            let socket = socket(&record.listener);
            self.health.opened(&socket, Some(record.ktime_ns));
        }
    }

    fn closed(&mut self, record: &ListenerRecord) {
        if !self.is_own(record) {
            self.assessor.closed(record, &mut self.enricher);
            self.enricher.closed(&record.listener);
            let socket = socket(&record.listener);
            self.health
                .closed(&socket, record.ktime_ns, record.queue_len);
        }
    }

    /// A batch ended.
    fn counted(&mut self, counted: &Counted, present: &mut dyn TakeStock) -> Result<()> {
        let Counted {
            stats,
            missing: (syns, listeners),
        } = counted;
        self.assessor.settle(present);
        let lost = stats.lost_listener_records + listeners;
        if lost != self.resynced {
            self.resynced = lost;
            self.assessor.resync(&present.take_stock());
        }
        self.report(Stage::Queue, stats.lost_ring + self.malformed + syns)?;
        self.report(Stage::Kernel, stats.lost_return)?;
        self.sink.flush().context("cannot write the output")
    }

    /// The session ended: how the groups fared goes to the sink, the account is returned.
    ///
    /// # Errors
    /// If the sink takes no more.
    pub fn end(&mut self, end: &End) -> Result<Summary> {
        let End {
            stats,
            listeners,
            seconds,
        } = end;
        // Nothing is under way any more: what was counted and has no event is lost.
        let missed = stats.syns.saturating_sub(stats.emitted + stats.lost_ring);
        self.report(Stage::Kernel, missed)?;
        let health = self.health_report();
        for group in &health {
            let item = Item::Health(Box::new(group.clone()));
            self.sink.write(&item).context("cannot write the output")?;
        }
        self.sink.flush().context("cannot write the output")?;
        self.enricher.settle();
        Ok(self.summary(stats, listeners, health, *seconds))
    }

    /// Whether it is the listener of a sockpick's own namespace.
    fn is_own(&mut self, record: &ListenerRecord) -> bool {
        let listener = &record.listener;
        let cookie = listener.netns_cookie;
        self.enricher
            .is_own(listener.netns, cookie, record.ktime_ns)
    }

    fn syn(&mut self, record: &SynRecord, present: &mut dyn TakeStock) -> Result<()> {
        if self.enricher.is_own_syn(record) {
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
        if !passes(&self.selection, &event) {
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
        if self.enricher.is_own(netns, cookie, record.ktime_ns) {
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
        if !passes(&self.selection, &event) {
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
            self.dropped.syns += tally.syns(self.selection.asks_about_events());
        }
    }

    /// How the groups fared, with the names of their interfaces.
    fn health_report(&mut self) -> Vec<GroupHealth> {
        let mut groups = self.health.report();
        for GroupHealth {
            netns, listener, ..
        } in &mut groups
        {
            listener.device_name = self.enricher.device(*netns, listener.device);
        }
        groups
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
    use super::*;
    use crate::{
        event::Backend,
        host::unknown::Nobody,
        judge::{expectations::Expectations, rules::Algorithm},
        stock::Stock,
    };
    use sockpick_ebpf::abi::kind;

    struct Nothing;

    impl TakeStock for Nothing {
        fn take_stock(&mut self) -> Stock {
            Stock::default()
        }
    }

    #[test]
    fn listeners_that_come_and_go_all_day_end_in_a_sum() -> Result<()> {
        let all = MOST_CLOSED + 3;
        let expectations = Expectations::default();
        let assessor = Assessor::new(expectations, Algorithm::AddressFirst);
        let enricher = Enricher::new(Backend::Fentry, Box::new(Nobody));
        let mut pipeline = Pipeline::new(
            enricher,
            assessor,
            &Inventory::default(),
            Box::new(Quiet),
            Selection::default(),
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
            pipeline.take(&Input::Record(Record::Syn(record)), &mut Nothing)?;
            pipeline.take(&Input::Gone(listener), &mut Nothing)?;
        }
        let summary = pipeline.end(&End::default())?;
        assert_eq!(summary.listeners.len(), MOST_CLOSED);
        let note = "No line above for 3 listeners that closed long ago, with 6 SYNs.";
        assert_eq!(summary.notes, [note]);
        Ok(())
    }
}
