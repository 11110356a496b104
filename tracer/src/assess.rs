//! Brings records, the picture of the listeners and what is expected together, so that
//! every event leaves with its verdict. The rules are in [`crate::judge`].
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;
use sockpick_ebpf::abi::{HandoverRecord, ListenerRecord, SynRecord};

use crate::{
    enrich::Enricher,
    event::{Event, Expected, Reason, Verdict, Via, Why},
    judge::{
        self,
        expectations::Expectations,
        picture::{Live, Picture},
        rules::{Algorithm, Packet},
        steering::Steered,
        verdict::{Chosen, Judge, Judgement, Syn},
    },
    listeners::{self, Inventory, Listening},
    probes::steering::Attachment,
};

/// How soon the picture is looked after again when it was found to be right.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A program that should have seen a listener close may have been skipped: then the picture has
/// one that is none, and it seems to be passed over.
#[derive(Debug, Default)]
struct Doubt {
    /// When the picture was held against what the kernel lists, and was right.
    right: Option<Instant>,
    /// It is to be, once all is read that was written.
    pending: bool,
}

impl Doubt {
    /// Whether the judgement is one that no kernel gives cause for.
    fn about(&mut self, judgement: &Judgement<'_>) -> bool {
        if judgement.verdict != Verdict::Misdirected {
            return false;
        }
        match judgement.reason {
            Some(Reason::Unknown) => self.is_due(),
            // A kernel does that.
            Some(Reason::DevOrder | Reason::LegacyOrder) => {
                self.pending |= self.is_due();
                false
            }
            _ => false,
        }
    }

    fn is_due(&self) -> bool {
        self.right.is_none_or(|at| at.elapsed() >= LOOK_AGAIN)
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
}

impl Assessor {
    /// Knows no listener yet.
    #[must_use]
    pub fn new(expectations: Expectations, algorithm: Algorithm) -> Self {
        let hold = expectations.hold.unwrap_or_default();
        Self {
            picture: Picture::new(u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX)),
            steered: Steered::default(),
            expectations,
            algorithm,
            doubt: Doubt::default(),
        }
    }

    /// Takes in the listeners that were there before.
    pub fn present(&mut self, inventory: &Inventory) {
        for listening in &inventory.listeners {
            self.picture.opened(listening.bound, there(listening));
        }
    }

    /// Makes the picture right again after listener records were lost.
    pub fn resync(&mut self, inventory: &Inventory, now_ns: u64) {
        self.bury(inventory, now_ns);
        self.present(inventory);
    }

    /// Takes the listeners that are not listed for closed, where the kernel could be asked.
    fn bury(&mut self, inventory: &Inventory, now_ns: u64) {
        let listed = inventory.listeners.iter();
        let listed: FxHashSet<(u32, u64)> = listed
            .map(|listening| (listening.bound.netns, listening.inode))
            .collect();
        let buried = self.picture.retain(now_ns, |bound, inode| {
            inode == 0
                || !inventory.asked.contains(&bound.netns)
                || listed.contains(&(bound.netns, inode))
        });
        self.doubt.right = (buried == 0).then(Instant::now);
    }

    /// To be called when all is read that was written: looks whether the listeners that alerts
    /// named are there, if that is in doubt.
    pub fn settle(&mut self, now_ns: u64) {
        if std::mem::take(&mut self.doubt.pending) {
            self.bury(&listeners::inventory(), now_ns);
        }
    }

    /// A listener appeared.
    pub fn opened(&mut self, record: &ListenerRecord) {
        let listener = &record.listener;
        let socket = live(listener, record.ktime_ns);
        self.picture.opened(judge::bound(listener), socket);
    }

    /// A listener went.
    pub fn closed(&mut self, record: &ListenerRecord, enricher: &Enricher) {
        let listener = &record.listener;
        self.picture.closed(
            &judge::bound(listener),
            &live(listener, 0),
            record.ktime_ns,
            enricher.last_owners(listener),
        );
    }

    /// Steered SYNs of whose destinations nothing was remembered.
    #[must_use]
    pub fn untaught(&self) -> u64 {
        self.steered.untaught()
    }

    /// Remembers where the SYN went, for later ones.
    fn learn(&mut self, record: &SynRecord, via: Via, packet: &Packet) {
        if self.expectations.hold.is_none() {
            return;
        }
        let now_ns = record.ktime_ns;
        match via {
            // On purpose, to nobody.
            Via::SkLookup | Via::SkAssign | Via::Tproxy if record.has_listener == 0 => {}
            Via::SkLookup | Via::SkAssign | Via::Tproxy => {
                let target = judge::bound(&record.listener);
                self.steered.to(packet, target, now_ns, &self.picture);
            }
            _ => self.steered.past(packet, now_ns, &self.picture),
        }
    }

    /// Closings that were forgotten before their time.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.picture.forgotten()
    }

    /// Gives the event its verdict, and learns from it for those that follow.
    pub fn assess(&mut self, record: &SynRecord, event: &mut Event, enricher: &mut Enricher) {
        let packet = packet(record, event, enricher);
        self.decide(record, event, packet, enricher);
        self.learn(record, event.via, &packet);
    }

    fn decide(
        &mut self,
        record: &SynRecord,
        event: &mut Event,
        packet: Packet,
        enricher: &mut Enricher,
    ) {
        if record.has_listener != 0 {
            let bound = judge::bound(&record.listener);
            self.picture
                .met(bound, live(&record.listener, record.ktime_ns));
        }
        let mut judge = with(
            &self.picture,
            &self.steered,
            &self.expectations,
            self.algorithm,
        );
        let mut judgement = judge.judge(&syn(record, event, packet));
        if self.doubt.about(&judgement) {
            // Not those that are new: they may have come after the SYN.
            self.bury(&listeners::inventory(), record.ktime_ns);
            judge = with(
                &self.picture,
                &self.steered,
                &self.expectations,
                self.algorithm,
            );
            judgement = judge.judge(&syn(record, event, packet));
        }
        // A process may hold a socket that another opened, and what a service closed it may have
        // opened elsewhere: look closely before blaming.
        let by_owner = matches!(
            (judgement.verdict, judgement.reason),
            (Verdict::Misdirected, Some(Reason::WrongOwner))
                | (
                    Verdict::Uncovered,
                    Some(Reason::RestartGap | Reason::DualStack)
                )
        );
        if by_owner && enricher.look_closely(record, event) {
            judgement = judge.judge(&syn(record, event, packet));
        }
        write(record, event, &judgement, enricher);
        // Since when it stands where it does: the evidence.
        if matches!(event.reason, Some(Reason::LegacyOrder | Reason::DevOrder))
            && let Some(listener) = &mut event.listener
        {
            let bound = judge::bound(&record.listener);
            let opened = self.picture.opened_ns(&bound, record.listener.stamp);
            listener.opened = opened.map(|opened_ns| enricher.time(opened_ns));
        }
        let full = event.listener.as_ref().is_some_and(|l| l.queue.is_full());
        if event.verdict == Verdict::Ok && full {
            event.reason = Some(Reason::AcceptOverflow);
            event.expected = None;
        }
    }

    /// Judges a hand-over, as a SYN that the listener would have been given just then. `syn`
    /// has what only the SYN's record knows.
    pub fn hand_over(
        &mut self,
        why: Why,
        record: &HandoverRecord,
        syn: &SynRecord,
        enricher: &mut Enricher,
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
        let packet = packet(&record, &event, enricher);
        self.decide(&record, &mut event, packet, enricher);
        if event.verdict == Verdict::Ok {
            event.expected = None;
            event.reason = Some(why.reason());
        }
        event
    }
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
        bound: judge::rules::Bound {
            device: record.bound_dev_if,
            ..judge::bound(&record.listener)
        },
        id: record.listener.stamp,
        uid: record.listener.uid,
        owners: &listener.owners,
    });
    Syn {
        packet,
        ktime_ns: record.ktime_ns,
        cpu: record.cpu,
        via: event.via,
        chosen,
    }
}

fn packet(record: &SynRecord, event: &Event, enricher: &mut Enricher) -> Packet {
    Packet {
        netns: record.netns,
        destination: event.destination.address,
        port: event.destination.port,
        dif: record.ifindex,
        sdif: record.sdif,
        l3mdev_accept: record.sdif != 0 && enricher.l3mdev_accept(record.netns),
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
    let listener = listener.map(|listener| enricher.other(listener));
    let service = judgement.service.cloned();
    if service.is_some() || listener.is_some() {
        event.expected = Some(Box::new(Expected { service, listener }));
    }
    if judgement.reason == Some(Reason::Unknown) {
        let candidates = judgement.candidates.iter();
        let candidates = candidates.filter_map(|place| judge::verdict::expected_live(place));
        event.candidates = Some(candidates.map(|live| enricher.other(&live)).collect());
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{event::Family, event::Queue, judge::rules::Bound};

    fn listening(netns: u32, inode: u64) -> Listening {
        Listening {
            bound: Bound {
                netns,
                address: std::net::Ipv6Addr::LOCALHOST,
                port: 80,
                family: Family::Ipv6,
                device: 0,
                v6only: false,
            },
            inode,
            cookie: 0,
            uid: 0,
            queue: Queue {
                length: 0,
                limit: 0,
            },
            complete: true,
        }
    }

    fn inventory(asked: &[u32], listeners: &[(u32, u64)]) -> Inventory {
        Inventory {
            listeners: listeners.iter().map(|&(n, i)| listening(n, i)).collect(),
            asked: asked.iter().copied().collect(),
            ..Inventory::default()
        }
    }

    /// Buries nothing, and says who is there.
    fn alive(assessor: &mut Assessor) -> BTreeSet<u64> {
        let seen = std::cell::RefCell::new(BTreeSet::new());
        assessor.picture.retain(0, |_, inode| {
            seen.borrow_mut().insert(inode);
            true
        });
        seen.into_inner()
    }

    #[test]
    fn only_who_is_not_listed_where_the_kernel_was_asked_is_buried() {
        let mut assessor = Assessor::new(Expectations::default(), Algorithm::AddressFirst);
        assessor.present(&inventory(&[1, 2], &[(1, 10), (1, 11), (2, 20)]));
        let now = inventory(&[1], &[(1, 11), (1, 12)]);
        assessor.bury(&now, 5);
        assert_eq!(alive(&mut assessor), [11, 20].into());
        assessor.resync(&now, 6);
        assert_eq!(alive(&mut assessor), [11, 12, 20].into());
    }

    #[test]
    fn who_looked_and_found_all_right_does_not_look_again_at_once() {
        let mut assessor = Assessor::new(Expectations::default(), Algorithm::AddressFirst);
        assessor.present(&inventory(&[1], &[(1, 10)]));
        let said = |reason| Judgement {
            verdict: Verdict::Misdirected,
            reason: Some(reason),
            ..Judgement::OK
        };
        assert!(!assessor.doubt.about(&said(Reason::WrongOwner)));
        assert!(assessor.doubt.about(&said(Reason::Unknown)));
        assessor.bury(&inventory(&[1], &[]), 5);
        assert!(assessor.doubt.about(&said(Reason::Unknown)), "it was wrong");
        assert!(!assessor.doubt.about(&said(Reason::LegacyOrder)));
        assert!(assessor.doubt.pending);
        assessor.doubt.pending = false;
        assessor.bury(&inventory(&[1], &[]), 6);
        assert!(!assessor.doubt.about(&said(Reason::Unknown)));
        assert!(!assessor.doubt.about(&said(Reason::LegacyOrder)));
        assert!(!assessor.doubt.pending);
    }
}
