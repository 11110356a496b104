//! Brings records, the picture of the listeners and what is expected together, so that
//! every event leaves with its verdict. The rules are in [`crate::judge`].
#![forbid(unsafe_code)]

use rustc_hash::FxHashSet;
use sockpick_ebpf::abi::{HandoverRecord, ListenerRecord, SynRecord, steer};

use super::enrich::Enricher;
use crate::{
    event::{Event, Expected, Reason, Verdict, Via, Why},
    judge::{
        self, Limit,
        expectations::Expectations,
        picture::{Live, Picture},
        right::{Right, rights},
        rules::{Algorithm, Bound, Packet, Protocol},
        steering::Steered,
        verdict::{Chosen, Judge, Judgement, Syn},
    },
    listeners::{Inventory, Listening},
    probes::steering::Attachment,
    stock::{Stock, TakeStock},
};

/// How soon the picture is looked after again when it was found to be right.
const LOOK_AGAIN_NS: u64 = 2_000_000_000;

/// A program that should have seen a listener close may have been skipped: then the picture has
/// one that is none, and it seems to be passed over.
#[derive(Debug, Default)]
struct Doubt {
    /// When the picture was held against what the kernel lists, and was right: kernel time of
    /// the record at hand.
    right_ns: Option<u64>,
    /// It is to be, once all is read that was written.
    pending: bool,
}

impl Doubt {
    /// Whether the judgement is one that no kernel gives cause for.
    fn about(&mut self, judgement: &Judgement<'_>, now_ns: u64) -> bool {
        if judgement.verdict != Verdict::Misdirected {
            return false;
        }
        match judgement.reason {
            Some(Reason::Unknown) => self.is_due(now_ns),
            // A kernel does that.
            Some(Reason::DevOrder | Reason::LegacyOrder) => {
                self.pending |= self.is_due(now_ns);
                false
            }
            _ => false,
        }
    }

    fn is_due(&self, now_ns: u64) -> bool {
        self.right_ns
            .is_none_or(|at| now_ns.saturating_sub(at) >= LOOK_AGAIN_NS)
    }
}

/// Judges events as they come.
#[derive(Debug)]
pub struct Assessor {
    picture: Picture,
    steered: Steered,
    expectations: Expectations,
    algorithm: Algorithm,
    doubt: Doubt,
    /// Time of the last record that was taken in: what the picture is a picture of.
    seen_ns: u64,
    /// The picture changed without a record of it.
    redrawn: bool,
}

impl Assessor {
    /// Knows no listener yet.
    #[must_use]
    pub fn new(expectations: Expectations, algorithm: Algorithm) -> Self {
        Self {
            picture: Picture::new(hold_ns(&expectations)),
            steered: Steered::default(),
            expectations,
            algorithm,
            doubt: Doubt::default(),
            seen_ns: 0,
            redrawn: false,
        }
    }

    /// From now on something else is expected. What was learned stays.
    pub fn expect(&mut self, expectations: Expectations) {
        self.picture.hold_for(hold_ns(&expectations));
        self.expectations = expectations;
        self.redrawn = true;
    }

    /// What is expected.
    #[must_use]
    pub fn expectations(&self) -> &Expectations {
        &self.expectations
    }

    /// How the kernel looks listeners up.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Takes in the listeners that were there before.
    pub fn present(&mut self, inventory: &Inventory) {
        for listening in &inventory.listeners {
            self.picture.opened(listening.bound, there(listening));
        }
    }

    /// The listeners, as far as records told: where they are bound, and their inode numbers.
    pub fn listeners(&self) -> impl Iterator<Item = (Bound, u64)> {
        self.picture.live().map(|(bound, live)| (bound, live.inode))
    }

    /// Makes the picture right again after listener records were lost.
    pub fn resync(&mut self, stock: &Stock) {
        self.redrawn = true;
        self.bury(stock, self.seen_ns);
        for listening in stock.settled() {
            // A SYN of an earlier time, which is yet to be read, need not have found it.
            let socket = Live {
                opened_ns: stock.done_ns,
                ..there(listening)
            };
            self.picture.met(listening.bound, socket);
        }
    }

    /// Takes the listeners that are not there any more for closed, as far as no record of their
    /// closing is yet to be read, and those that are bound to another device by now for that.
    fn bury(&mut self, stock: &Stock, closed_ns: u64) {
        let keep = |bound: &Bound, inode| stock.may_be_there(bound, inode);
        let mut wrong = self.picture.retain(closed_ns, keep);
        for listening in stock.settled().filter(|listening| listening.complete) {
            wrong += usize::from(self.picture.moved(listening.bound, listening.inode));
        }
        self.doubt.right_ns = (wrong == 0).then_some(self.seen_ns);
        self.redrawn |= wrong > 0;
    }

    /// To be called after a batch: looks whether the listeners that alerts named are there, if
    /// that is in doubt.
    pub fn settle(&mut self, present: &mut dyn TakeStock) {
        if std::mem::take(&mut self.doubt.pending) {
            self.bury(&present.take_stock(), self.seen_ns);
        }
    }

    /// A listener appeared.
    pub fn opened(&mut self, record: &ListenerRecord) {
        self.seen_ns = record.ktime_ns;
        let listener = &record.listener;
        let socket = live(listener, record.ktime_ns);
        self.picture.opened(judge::bound(listener), socket);
    }

    /// A listener went.
    pub fn closed(&mut self, record: &ListenerRecord, enricher: &mut Enricher) {
        self.seen_ns = record.ktime_ns;
        let listener = &record.listener;
        self.picture.closed(
            &judge::bound(listener),
            &live(listener, 0),
            record.ktime_ns,
            enricher.last_owners(listener),
        );
    }

    /// Whether listeners or what is expected changed without a record, since this was last asked.
    pub(super) fn was_redrawn(&mut self) -> bool {
        std::mem::take(&mut self.redrawn)
    }

    /// [`rights`]
    pub(super) fn rights(
        &self,
        ports: &FxHashSet<u16>,
        listeners: impl Iterator<Item = (u64, Bound)>,
    ) -> Vec<(u64, Option<Right>)> {
        rights(&self.picture, &self.expectations, ports, listeners)
    }

    /// Remembers where the SYN went, for later ones.
    fn learn(&mut self, record: &SynRecord, packet: &Packet) {
        if self.expectations.hold.is_none() {
            return;
        }
        let now_ns = record.ktime_ns;
        match record.steer {
            steer::LOOKUP => self.steered.past(packet, now_ns, &self.picture),
            // Its lookup was not seen, nor who chose.
            steer::UNSEEN => {}
            // On purpose, to nobody.
            _ if record.has_listener == 0 => {}
            _ => {
                let target = judge::bound(&record.listener);
                self.steered.to(packet, target, now_ns, &self.picture);
            }
        }
    }

    /// Closings that are remembered, and destinations of steered SYNs.
    #[must_use]
    pub fn limits(&self) -> [Limit; 2] {
        [self.picture.limit(), self.steered.limit()]
    }

    /// [`Picture::changes`]; counts what is expected, too.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.picture.changes()
    }

    /// Whether SYNs were steered that count for others.
    #[must_use]
    pub fn is_steered(&self) -> bool {
        !self.steered.is_empty()
    }

    /// [`Judge::is_plain`], of an event that has its verdict. Through a VRF it hangs on more.
    #[must_use]
    pub fn is_plain(&self, record: &SynRecord, event: &Event) -> bool {
        let packet = packet(record, event, false);
        let judge = with(
            &self.picture,
            &self.steered,
            &self.expectations,
            self.algorithm,
        );
        record.sdif == 0 && judge.is_plain(&syn(record, event, packet))
    }

    /// A SYN came of which nothing is to be learned.
    pub fn saw(&mut self, record: &SynRecord) {
        self.seen_ns = record.ktime_ns;
    }

    /// Gives the event its verdict, and learns from it for those that follow.
    pub fn assess(
        &mut self,
        record: &SynRecord,
        event: &mut Event,
        enricher: &mut Enricher,
        present: &mut dyn TakeStock,
    ) {
        let packet = asked(record, event, enricher);
        self.decide(record, event, packet, enricher, present);
        self.learn(record, &packet);
    }

    fn decide(
        &mut self,
        record: &SynRecord,
        event: &mut Event,
        packet: Packet,
        enricher: &mut Enricher,
        present: &mut dyn TakeStock,
    ) {
        self.seen_ns = record.ktime_ns;
        if record.has_listener != 0 {
            let socket = live(&record.listener, record.ktime_ns);
            self.picture.met(bound_now(record), socket);
        }
        if self.asks_owners(record, event) {
            // Who holds it decides: those who were seen to may have let go of it.
            enricher.recheck(record, event);
        }
        let mut judge = with(
            &self.picture,
            &self.steered,
            &self.expectations,
            self.algorithm,
        );
        let mut judgement = judge.judge(&syn(record, event, packet));
        if self.doubt.about(&judgement, record.ktime_ns) {
            // Not those that are new: they may have come after the SYN.
            self.bury(&present.take_stock(), record.ktime_ns);
            judge = with(
                &self.picture,
                &self.steered,
                &self.expectations,
                self.algorithm,
            );
            judgement = judge.judge(&syn(record, event, packet));
        }
        // Another may hold it that nobody looked at yet, and what a service closed it may have
        // opened elsewhere: look again before blaming.
        let by_owner = matches!(
            (judgement.verdict, judgement.reason),
            (Verdict::Misdirected, Some(Reason::WrongOwner))
                | (
                    Verdict::Uncovered,
                    Some(Reason::RestartGap | Reason::DualStack)
                )
        );
        if by_owner {
            enricher.look_again(record, event);
            judgement = judge.judge(&syn(record, event, packet));
        }
        write(record, event, &judgement, enricher);
        // Since when it stands where it does: the evidence.
        if matches!(event.reason, Some(Reason::LegacyOrder | Reason::DevOrder))
            && let Some(listener) = &mut event.listener
        {
            let bound = bound_now(record);
            let opened = self.picture.opened_ns(&bound, record.listener.stamp);
            listener.opened = opened.map(|opened_ns| enricher.time(opened_ns));
        }
        let full = event.listener.as_ref().is_some_and(|l| l.queue.is_full());
        let fate = match (full, record.dropped != 0) {
            (true, _) => Some(Reason::AcceptOverflow),
            (false, true) => Some(Reason::NotTaken),
            (false, false) => None,
        };
        if event.verdict == Verdict::Ok && fate.is_some() {
            event.reason = fate;
            event.expected = None;
        }
    }

    /// Whether it is for the processes that hold the listener to be right or wrong.
    fn asks_owners(&self, record: &SynRecord, event: &Event) -> bool {
        let packet = packet(record, event, false);
        record.has_listener != 0
            && self
                .expectations
                .claim(&event.netns, &packet)
                .is_some_and(|claim| claim.service.owner.asks_processes())
    }

    /// Judges a hand-over, as a SYN that the listener would have been given just then. `syn`
    /// has what only the SYN's record knows.
    pub fn hand_over(
        &mut self,
        why: Why,
        record: &HandoverRecord,
        syn: &SynRecord,
        enricher: &mut Enricher,
        present: &mut dyn TakeStock,
    ) -> Event {
        let record = SynRecord {
            ktime_ns: record.ktime_ns,
            cpu: record.cpu,
            netns: record.netns,
            netns_cookie: record.netns_cookie,
            client: record.client,
            client_port_be: record.client_port_be,
            destination: record.destination,
            destination_port_be: record.destination_port_be,
            family: record.family,
            bound_dev_if: record.bound_dev_if,
            queue_len: record.queue_len,
            queue_limit: record.queue_limit,
            has_listener: 1,
            listener: record.listener,
            member: u16::MAX,
            ..*syn
        };
        let mut event = enricher.event(&record);
        let packet = asked(&record, &event, enricher);
        self.decide(&record, &mut event, packet, enricher, present);
        if event.verdict == Verdict::Ok {
            event.expected = None;
            event.reason = Some(why.reason());
        }
        event
    }
}

fn hold_ns(expectations: &Expectations) -> u64 {
    let hold = expectations.hold.unwrap_or_default();
    u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX)
}

fn with<'a>(
    picture: &'a Picture,
    steered: &'a Steered,
    expectations: &'a Expectations,
    algorithm: Algorithm,
) -> Judge<'a> {
    Judge {
        picture,
        steered,
        expectations,
        algorithm,
    }
}

fn syn<'a>(record: &SynRecord, event: &'a Event, packet: Packet) -> Syn<'a> {
    let chosen = event.listener.as_ref().map(|listener| Chosen {
        bound: bound_now(record),
        id: record.listener.stamp,
        uid: record.listener.uid,
        owners: &listener.owners,
    });
    Syn {
        packet,
        netns: &event.netns,
        ktime_ns: record.ktime_ns,
        cpu: record.cpu,
        via: event.via,
        is_steered: !matches!(record.steer, steer::LOOKUP | steer::UNSEEN),
        chosen,
    }
}

/// Where the listener is bound: to another device perhaps than when it was opened.
fn bound_now(record: &SynRecord) -> Bound {
    Bound {
        device: record.bound_dev_if,
        ..judge::bound(&record.listener)
    }
}

fn asked(record: &SynRecord, event: &Event, enricher: &mut Enricher) -> Packet {
    let l3mdev_accept = record.sdif != 0 && enricher.l3mdev_accept(record.netns);
    packet(record, event, l3mdev_accept)
}

fn packet(record: &SynRecord, event: &Event, l3mdev_accept: bool) -> Packet {
    Packet {
        netns: record.netns,
        protocol: Protocol::Tcp,
        destination: event.destination.address,
        port: event.destination.port,
        dif: record.ifindex,
        sdif: record.sdif,
        l3mdev_accept,
    }
}

fn write(
    record: &SynRecord,
    event: &mut Event,
    judgement: &Judgement<'_>,
    enricher: &mut Enricher,
) {
    event.verdict = judgement.verdict;
    event.reason = judgement.reason;
    if judgement.reason.is_none() {
        return;
    }
    let listener = judgement.listener.as_ref();
    let listener = listener.map(|listener| enricher.other(listener, record.ktime_ns));
    let service = judgement.service.cloned();
    if service.is_some() || listener.is_some() {
        event.expected = Some(Box::new(Expected { service, listener }));
    }
    if judgement.reason == Some(Reason::Unknown) {
        let candidates = judgement.candidates.iter();
        let candidates = candidates.filter_map(|place| judge::verdict::expected_live(place));
        event.candidates = Some(
            candidates
                .map(|live| enricher.other(&live, record.ktime_ns))
                .collect(),
        );
    }
    if let Some(place) = chosen_at(record, event.via) {
        let programs = enricher.programs(place);
        event.steered_by = (!programs.is_empty()).then_some(programs);
    }
}

/// Where the program is attached that chose.
fn chosen_at(record: &SynRecord, via: Via) -> Option<Attachment> {
    match via {
        Via::SkLookup => Some(Attachment::SkLookup(record.netns)),
        // Of a packet that came through a VRF, `sdif` is the interface.
        Via::SkAssign if record.sdif != 0 => Some(Attachment::Ingress(record.netns, record.sdif)),
        Via::SkAssign => Some(Attachment::Ingress(record.netns, record.ifindex)),
        Via::ReuseportBpf if record.has_listener == 0 && record.prog_id != 0 => {
            Some(Attachment::Group(record.prog_id))
        }
        _ => None,
    }
}

fn live(listener: &sockpick_ebpf::abi::Listener, opened_ns: u64) -> Live {
    Live {
        inode: listener.inode,
        id: listener.stamp,
        opened_ns,
        incoming_cpu: u32::try_from(listener.incoming_cpu).ok(),
    }
}

fn there(listening: &Listening) -> Live {
    Live {
        inode: listening.inode,
        id: 0,
        opened_ns: 0,
        incoming_cpu: None,
    }
}

#[cfg(test)]
mod tests;
