//! Brings records, the picture of the listeners and what is expected together, so that
//! every event leaves with its verdict. The rules are in [`crate::judge`].
#![forbid(unsafe_code)]

use sockpick_ebpf::abi::{HandoverRecord, ListenerRecord, SynRecord};

use crate::{
    enrich::Enricher,
    event::{Event, Expected, Reason, Verdict, Via, Why},
    judge::{
        self,
        expectations::Expectations,
        picture::{Live, Picture},
        rules::{Algorithm, Packet},
        verdict::{Chosen, Judge, Judgement, Syn},
    },
    listeners::{Inventory, Listening},
    probes::steering::Attachment,
};

/// Judges events as they come.
#[derive(Debug)]
pub struct Assessor {
    picture: Picture,
    expectations: Expectations,
    algorithm: Algorithm,
}

impl Assessor {
    /// Knows no listener yet.
    #[must_use]
    pub fn new(expectations: Expectations, algorithm: Algorithm) -> Self {
        let hold = expectations.hold.unwrap_or_default();
        Self {
            picture: Picture::new(u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX)),
            expectations,
            algorithm,
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
        let alive = |netns, inode| {
            let is =
                |listening: &Listening| (listening.bound.netns, listening.inode) == (netns, inode);
            inventory.listeners.iter().any(is)
        };
        self.picture.retain(now_ns, |bound, inode| {
            inode == 0 || alive(bound.netns, inode)
        });
        self.present(inventory);
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

    /// Closings that were forgotten before their time.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.picture.forgotten()
    }

    /// Gives the event its verdict.
    pub fn assess(&mut self, record: &SynRecord, event: &mut Event, enricher: &mut Enricher) {
        if record.has_listener != 0 {
            let bound = judge::bound(&record.listener);
            self.picture
                .met(bound, live(&record.listener, record.ktime_ns));
        }
        let judge = Judge {
            picture: &self.picture,
            expectations: &self.expectations,
            algorithm: self.algorithm,
        };
        let packet = packet(record, event, enricher);
        let mut judgement = judge.judge(&syn(record, event, packet));
        // A process may hold a socket that another opened: look closely before blaming.
        if judgement.reason == Some(Reason::WrongOwner) && enricher.look_closely(record, event) {
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
        self.assess(&record, &mut event, enricher);
        if event.verdict == Verdict::Ok {
            event.reason = Some(why.reason());
        }
        event
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
