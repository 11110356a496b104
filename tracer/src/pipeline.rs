//! What happens to records, wherever they come from: each gets its event, its verdict and its
//! place in the account. No command line, clock or question to the machine is in here: what is
//! asked goes to the [`crate::host::Host`].
#![forbid(unsafe_code)]

mod account;
pub mod assess;
mod balance;
pub mod enrich;
mod flows;
mod holders;
mod input;
mod latest;
mod output;
mod snapshot;
mod standing;
mod suspects;

use std::{collections::BTreeMap, slice};

use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::{HandoverRecord, Listener, ListenerRecord, Stats, SynRecord, handover};

use crate::{
    decode::Record,
    event::{Event, Handover, ListenerId, Lost, Queue, SCHEMA, Stage, Verdict, Via, Why},
    judge::{
        expectations::Expectations,
        health::{Health, Socket},
        right::Right,
        rules::Algorithm,
    },
    listeners::{Inventory, Listening},
    stock::TakeStock,
};
pub use account::{Account, LongGone, Tally};
#[cfg(test)]
pub(crate) use account::{MOST_CLOSED, MOST_TALLIES};
use assess::Assessor;
pub use balance::{Balance, Fed, GroupBalance, Is, Starvation};
use enrich::Enricher;
use flows::{Flow, Flows};
pub use holders::Holders;
pub use input::{Counted, End, Input};
use latest::Latest;
pub use output::{Gone, Output, Unrecorded};
pub use snapshot::{Bounds, Snapshot};
pub use standing::Standing;
pub use suspects::Suspects;

/// Inputs in, outputs out, and an account of them that can be looked at any time.
pub struct Pipeline {
    enricher: Enricher,
    assessor: Assessor,
    /// Listener records lost when the listeners were last taken stock of.
    resynced: u64,
    /// Nobody wants more.
    resting: bool,
    /// What came of the input at hand; of a SYN with a listener it is in `latest`.
    outputs: Vec<Output>,
    latest: Latest,
    /// Which of these it is.
    given: Option<latest::Name>,
    /// Everything that was judged.
    account: Account,
    /// SYNs of a sockpick's own, and those of them without a listener.
    own: (u64, u64),
    /// SYNs that came when nobody wanted more.
    unjudged: u64,
    /// Records that could not be read: lost on the way.
    malformed: u64,
    /// What the programs counted, as of the last batch's end.
    stats: Stats,
    /// SYNs lost, as far as it was reported.
    lost: BTreeMap<Stage, u64>,
    /// For hand-overs: what the SYN of a connection got.
    flows: Flows,
    health: Health,
    /// Where the programs tell only of these.
    suspects: Option<Suspects>,
}

impl Pipeline {
    /// Begins with the listeners that are there.
    #[must_use]
    pub fn new(enricher: Enricher, mut assessor: Assessor, inventory: &Inventory) -> Self {
        assessor.present(inventory);
        let mut health = Health::default();
        for listening in &inventory.listeners {
            health.opened(&listed(listening), None);
        }
        Self {
            enricher,
            assessor,
            resynced: 0,
            resting: false,
            outputs: Vec::new(),
            latest: Latest::default(),
            given: None,
            account: Account::default(),
            own: (0, 0),
            unjudged: 0,
            malformed: 0,
            stats: Stats::default(),
            lost: BTreeMap::new(),
            flows: Flows::default(),
            health,
            suspects: None,
        }
    }

    /// From now on something else is expected; what was learned stays.
    pub fn expect(&mut self, expectations: Expectations) {
        self.assessor.expect(expectations);
        if let Some(suspects) = &mut self.suspects {
            suspects.redrawn();
        }
    }

    /// Nobody wants more: SYNs from here on are counted, and not judged.
    pub fn rest(&mut self) {
        self.resting = true;
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
    pub fn take(&mut self, input: &Input, present: &mut dyn TakeStock) -> slice::Iter<'_, Output> {
        self.outputs.clear();
        self.given = None;
        match input {
            Input::Begin(wall_offset_ns) => self.enricher.begin_batch(*wall_offset_ns),
            Input::Record(Record::Syn(record)) => self.syn(record, present),
            Input::Record(Record::Handover(record)) => self.handover(record, present),
            Input::Record(Record::Listen(record)) => self.opened(record),
            Input::Record(Record::Close(record)) => self.closed(record),
            Input::Malformed => self.malformed += 1,
            Input::Gone(last) => self.gone(last),
            Input::Counted(counted) => self.counted(counted, present),
        }
        match self.given {
            Some(name) => self.latest.outputs(name),
            None => self.outputs.iter(),
        }
    }

    fn opened(&mut self, record: &ListenerRecord) {
        if !self.is_own(record) {
            self.enricher.opened(&record.listener, record.ktime_ns);
            self.assessor.opened(record);
            if let Some(suspects) = &mut self.suspects {
                suspects.opened(&record.listener);
            }
            let socket = (&record.listener).into();
            self.health.opened(&socket, Some(record.ktime_ns));
        }
    }

    fn closed(&mut self, record: &ListenerRecord) {
        if !self.is_own(record) {
            self.assessor.closed(record, &mut self.enricher);
            self.enricher.closed(&record.listener);
            if let Some(suspects) = &mut self.suspects {
                suspects.closed(&record.listener);
            }
            let socket = (&record.listener).into();
            self.health
                .closed(&socket, record.ktime_ns, record.queue_len);
        }
    }

    /// A batch ended.
    fn counted(&mut self, counted: &Counted, present: &mut dyn TakeStock) {
        let Counted {
            stats,
            missing: (syns, listeners),
        } = counted;
        self.stats = *stats;
        self.assessor.settle(present);
        let lost = stats.lost_listener_records + listeners;
        if lost != self.resynced {
            self.resynced = lost;
            self.assessor.resync(&present.take_stock());
        }
        if self.assessor.was_redrawn()
            && let Some(suspects) = &mut self.suspects
        {
            suspects.redrawn();
        }
        self.report(Stage::Queue, stats.lost_ring + self.malformed + syns);
        self.report(Stage::Kernel, stats.lost_return);
        let balance = balance::look(&mut self.health, &mut self.enricher, present);
        let balance = balance.map(|balance| Output::Balance(Box::new(balance)));
        self.outputs.extend(balance);
    }

    /// The session ended: the last outputs, and all that is known, with the names of interfaces.
    pub fn end(&mut self, end: &End) -> (Vec<Output>, Snapshot) {
        self.outputs.clear();
        let stats = &end.stats;
        self.stats = *stats;
        self.account.counted(&end.listeners);
        // Nothing is under way any more: what was counted and has no event is lost.
        let missed = stats
            .syns
            .saturating_sub(stats.emitted + stats.counted + stats.lost_ring);
        self.report(Stage::Kernel, missed);
        let mut session = self.snapshot();
        for group in &mut session.health {
            let device = group.listener.device;
            group.listener.device_name = self.enricher.device(group.netns, device);
        }
        let health = session.health.iter().cloned().map(Box::new);
        let outputs = self.outputs.drain(..).chain(health.map(Output::Health));
        (outputs.collect(), session)
    }

    /// What is known now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            stats: self.stats,
            account: self.account.clone(),
            own: self.own,
            unjudged: self.unjudged,
            lost: self.lost.clone(),
            malformed: self.malformed,
            health: self.health.report(),
            bounds: self.bounds(),
        }
    }

    /// What is bounded, and how full it is.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let [closings, steered] = self.assessor.limits();
        Bounds {
            closings,
            steered,
            groups: self.health.limit(),
            listeners: self.account.tallies(),
            closed: self.account.closed(),
        }
    }

    /// SYNs lost, by stage.
    #[must_use]
    pub fn losses(&self) -> &BTreeMap<Stage, u64> {
        &self.lost
    }

    /// How the kernel looks listeners up.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.assessor.algorithm()
    }

    /// Asks whose the listeners of an account are. The session is over: this looks at processes.
    pub fn holders(&mut self, account: &Account) -> Holders {
        Holders::of(account, &mut self.enricher)
    }

    /// What may be said of the listeners as of the last record.
    pub fn standing(&mut self) -> Standing {
        Standing::of(&self.assessor, &mut self.enricher)
    }

    /// From now on the health of groups is told over a window, and looked at while it goes on:
    /// this is a daemon's.
    #[must_use]
    pub fn over_a_window(mut self) -> Self {
        self.health.over_a_window();
        self
    }

    /// It is so late, on `CLOCK_MONOTONIC` in nanoseconds.
    pub fn pass(&mut self, now_ns: u64) {
        self.health.pass(now_ns);
    }

    /// Takes what was counted, of which there is no record.
    pub(crate) fn unrecorded(&mut self, syns: Unrecorded) {
        if let Unrecorded::Given { stamp, ipv4, ipv6 } = syns {
            self.health.counted(stamp, ipv4 + ipv6);
        }
    }

    /// All that was counted up to now was taken.
    pub(crate) fn counts_read(&mut self) {
        self.health.read();
    }

    /// From now on there are records of SYNs only that may be an alert.
    pub fn expect_suspects(&mut self) {
        self.suspects.get_or_insert_default();
        self.health.expect_counts();
    }

    /// What the programs are to be told; `None`: they tell of every SYN.
    pub fn suspects(&mut self) -> Option<&mut Suspects> {
        self.suspects.as_mut()
    }

    /// Which SYNs are right of these listeners, which are on these ports: by stamp.
    #[must_use]
    pub fn rights(&self, stamps: &FxHashMap<u64, u16>) -> Vec<(u64, Option<Right>)> {
        let Some(suspects) = &self.suspects else {
            return Vec::new();
        };
        let ports = stamps.values().copied().collect();
        self.assessor.rights(&ports, suspects.bound(stamps))
    }

    /// Whether it is the listener of a sockpick's own namespace.
    fn is_own(&mut self, record: &ListenerRecord) -> bool {
        let listener = &record.listener;
        let cookie = listener.netns_cookie;
        self.enricher
            .is_own(listener.netns, cookie, record.ktime_ns)
    }

    fn syn(&mut self, record: &SynRecord, present: &mut dyn TakeStock) {
        if self.enricher.is_own_syn(record) {
            self.own.0 += 1;
            self.own.1 += u64::from(record.has_listener == 0);
            self.outputs.push(Output::Own(record.netns));
            return;
        }
        if self.resting {
            self.unjudged += 1;
            return;
        }
        if let Some(suspects) = &mut self.suspects {
            suspects.syn(record);
        }
        self.flows.syn(record);
        if !self.judge_alike(record) {
            self.judge(record, present);
        }
    }

    /// Judges a SYN that is like the latest of its listener, if that was right and stays so: as
    /// that.
    fn judge_alike(&mut self, record: &SynRecord) -> bool {
        let as_of = (self.enricher.answers(), self.assessor.changes());
        let Some(latest) = self.latest.like(record, as_of) else {
            return false;
        };
        let (enricher, assessor) = (&self.enricher, &self.assessor);
        let holds = |record: &SynRecord, event: &Event| {
            enricher.is_settled(record) && assessor.is_plain(record, event)
        };
        if !latest.is_lasting(holds) || assessor.is_steered() {
            return false;
        }
        let Some(event) = latest.again(enricher.time(record.ktime_ns)) else {
            return false;
        };
        self.enricher.said_again(record, event);
        self.assessor.saw(record);
        count(&mut self.account, &mut self.health, event, record);
        self.given = Some(latest::name(record));
        true
    }

    /// Judges a SYN whatever was before.
    fn judge(&mut self, record: &SynRecord, present: &mut dyn TakeStock) {
        let mut event = self.enricher.event(record);
        self.assessor
            .assess(record, &mut event, &mut self.enricher, present);
        count(&mut self.account, &mut self.health, &event, record);
        if record.has_listener == 0 {
            self.outputs.push(Output::Syn(event, *record));
            return;
        }
        let as_of = (self.enricher.answers(), self.assessor.changes());
        let is_settled = self.enricher.is_settled(record);
        self.given = Some(self.latest.keep(event, record, as_of, is_settled));
    }

    /// A connection came to a listener after its SYN: told if that is another than the SYN's.
    fn handover(&mut self, record: &HandoverRecord, present: &mut dyn TakeStock) {
        let (netns, cookie) = (record.netns, record.netns_cookie);
        if self.enricher.is_own(netns, cookie, record.ktime_ns) {
            return;
        }
        // Its listener may be looked at anew.
        self.latest.forget(&record.listener);
        let syn = self.flows.handed_over(record);
        // A SYN that is sent again has the kernel choose anew, and the ACK once more.
        let is_known = |syn: Flow| [syn.listener, syn.last].contains(&record.listener.stamp);
        if self.resting || syn.is_some_and(is_known) {
            return;
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
            return;
        }
        let named = syn.map(|syn| syn.listener).filter(|&id| id != 0);
        let handover = Handover {
            why,
            event,
            syn_listener: named.map(ListenerId),
        };
        self.account.handover(&handover);
        self.outputs.push(Output::Handover(Box::new(handover)));
    }

    /// Reports losses since the last time.
    fn report(&mut self, stage: Stage, total: u64) {
        let reported = self.lost.entry(stage).or_default();
        let lost = total.saturating_sub(*reported);
        if lost > 0 {
            *reported = total;
            self.outputs.push(Output::Lost(Lost {
                schema: SCHEMA,
                lost,
                stage,
            }));
        }
    }

    /// A listener closed, and no SYN can reach it any more.
    fn gone(&mut self, last: &Listener) {
        let gone = Gone {
            last: *last,
            owner: self.enricher.told(last).into(),
        };
        self.enricher.forget(last);
        self.latest.forget(last);
        self.health.uncount(last.stamp);
        if let Some(suspects) = &mut self.suspects {
            suspects.left(last);
        }
        self.account.gone(&gone);
        self.outputs.push(Output::Gone(gone));
    }
}

/// A SYN got its event.
fn count(account: &mut Account, health: &mut Health, event: &Event, record: &SynRecord) {
    if let Some(group) = event.reuseport.filter(|_| event.listener.is_some()) {
        let by_hash = event.via == Via::ReuseportHash;
        health.syn(&(&record.listener).into(), group.size, by_hash);
    }
    account.syn(event, record);
}

fn listed(listening: &Listening) -> Socket {
    Socket {
        bound: listening.bound,
        uid: listening.uid,
        inode: listening.inode,
        id: 0,
        // The kernel does not list it.
        by_cpu: false,
    }
}
