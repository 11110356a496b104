mod machine;

use proptest::prelude::*;
use sockpick_ebpf::abi::{HandoverRecord, ListenerRecord, kind, steer};

use super::*;
use crate::{
    decode::Record,
    event::{Backend, Reason},
    judge::{
        expectations::{Address, Expectations, OwnerRule, Service},
        rules::Algorithm,
    },
    listeners::Inventory,
    pipeline::{End, Input, assess::Assessor, enrich::Enricher},
    stock::Stock,
};
use machine::Machine;

struct Nothing;

impl TakeStock for Nothing {
    fn take_stock(&mut self) -> Stock {
        Stock::default()
    }
}

/// A pipeline, its machine, and the listeners of its kernel: how often each was opened.
struct Rig {
    machine: Machine,
    pipeline: Pipeline,
    opened: [u64; 4],
    members: u16,
    now_ns: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Syn {
        listener: usize,
        destination: u8,
        client: u16,
        acceptor: u32,
        fate: u8,
    },
    Opens(usize),
    Closes(usize),
    Gone(usize),
    Handover(usize),
    GroupGrows,
    OwnerChanges,
    Batch,
    Expects(Option<bool>),
}

impl Rig {
    fn new(is_settled: bool) -> Self {
        let machine = Machine::default();
        machine.0.borrow_mut().is_settled = is_settled;
        let pipeline = Pipeline::new(
            Enricher::new(Backend::Fentry, Box::new(machine.clone())),
            Assessor::new(Expectations::default(), Algorithm::AddressFirst),
            &Inventory::default(),
        );
        Self {
            machine,
            pipeline,
            opened: [1; 4],
            members: 1,
            now_ns: 1_000_000_000,
        }
    }

    /// Any address, two addresses, and any of IPv6; they have their ports in common.
    fn listener(&self, nth: usize) -> Listener {
        let mut addr = [0; 16];
        let family = if nth == 3 { 10 } else { 2 };
        if family == 2 {
            addr[10..12].fill(0xff);
        }
        if let 1 | 2 = nth {
            addr[12..].copy_from_slice(&[10, 0, 0, nth as u8]);
        }
        let id = 10 * nth as u64 + self.opened[nth];
        Listener {
            stamp: id,
            inode: 100 + id,
            netns: 1,
            addr,
            family,
            port: 80,
            incoming_cpu: -1,
            ..Listener::default()
        }
    }

    fn syn(&self, nth: usize, to: u8, client: u16, acceptor: u32, fate: u8) -> SynRecord {
        let listener = Listener {
            accept_pid: acceptor,
            syns: self.now_ns,
            ..self.listener(nth)
        };
        let is_member = nth == 1;
        let mut address = [0; 16];
        address[10..12].fill(0xff);
        address[12..].copy_from_slice(&[10, 0, 0, to]);
        SynRecord {
            kind: kind::SYN,
            cpu: u32::from(client % 3),
            ktime_ns: self.now_ns,
            netns: 1,
            ifindex: 2,
            client: address,
            client_port_be: client,
            destination: address,
            destination_port_be: 80_u16.to_be(),
            family: 2,
            group: u64::from(is_member),
            group_size: if is_member { self.members } else { 0 },
            member: if is_member { 0 } else { u16::MAX },
            steer: if fate == 3 {
                steer::SK_LOOKUP
            } else {
                steer::LOOKUP
            },
            queue_len: if fate == 1 { 9 } else { u32::from(client % 4) },
            queue_limit: 4,
            dropped: u32::from(fate == 2),
            has_listener: 1,
            listener,
            ..SynRecord::default()
        }
    }

    fn handover(&self, nth: usize) -> HandoverRecord {
        let SynRecord {
            client,
            client_port_be,
            destination,
            destination_port_be,
            ..
        } = self.syn(nth, 1, 0, 0, 0);
        HandoverRecord {
            kind: kind::HANDOVER,
            ktime_ns: self.now_ns,
            netns: 1,
            client,
            client_port_be,
            destination,
            destination_port_be,
            family: 2,
            listener: self.listener(nth),
            ..HandoverRecord::default()
        }
    }

    fn input(&mut self, step: Step) -> Option<Input> {
        self.now_ns += 1_000_000;
        let of = |rig: &Self, nth| ListenerRecord {
            ktime_ns: rig.now_ns,
            listener: rig.listener(nth),
            ..ListenerRecord::default()
        };
        let record = match step {
            Step::Syn {
                listener,
                destination,
                client,
                acceptor,
                fate,
            } => Record::Syn(self.syn(listener, destination, client, acceptor, fate)),
            Step::Opens(nth) => {
                self.opened[nth] += 1;
                Record::Listen(of(self, nth))
            }
            Step::Closes(nth) => Record::Close(of(self, nth)),
            Step::Gone(nth) => return Some(Input::Gone(self.listener(nth))),
            Step::Handover(nth) => Record::Handover(self.handover(nth)),
            Step::Batch => return Some(Input::Begin(7)),
            Step::GroupGrows => {
                self.members += 1;
                return None;
            }
            Step::OwnerChanges => {
                self.machine.0.borrow_mut().holder += 1;
                return None;
            }
            Step::Expects(service) => {
                self.pipeline.expect(expectations(service));
                return None;
            }
        };
        Some(Input::Record(record))
    }

    /// What is said of it.
    fn step(&mut self, step: Step) -> Vec<Output> {
        let input = self.input(step);
        let outputs =
            input.map(|input| self.pipeline.take(&input, &mut Nothing).cloned().collect());
        outputs.unwrap_or_default()
    }

    /// The event of a usual SYN.
    fn event(&mut self, listener: usize, destination: u8) -> Event {
        self.event_after(0, listener, destination)
    }

    /// The same, after that process accepted.
    fn event_after(&mut self, acceptor: u32, listener: usize, destination: u8) -> Event {
        let client = self.now_ns as u16;
        let said = self.step(Step::Syn {
            listener,
            destination,
            client,
            acceptor,
            fate: 0,
        });
        match said.into_iter().next() {
            Some(Output::Syn(event, _)) => event,
            other => panic!("{other:?}"),
        }
    }

    fn asked(&self) -> usize {
        self.machine.0.borrow().asked
    }
}

/// A service on 10.0.0.1, whose owner may be prescribed.
fn expectations(service: Option<bool>) -> Expectations {
    let service = service.map(|owned| Service {
        name: "web".into(),
        listen: vec![Address {
            address: Some([10, 0, 0, 1].into()),
            port: 80,
        }],
        netns: None,
        owner: OwnerRule {
            comm: owned.then(|| "server0".to_owned()),
            ..OwnerRule::default()
        },
    });
    Expectations {
        services: service.into_iter().collect(),
        ..Expectations::default()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let syn = (0..4_usize, 1..4_u8, any::<u16>(), 0..3_u32, 0..30_u8);
    let syn = syn.prop_map(
        |(listener, destination, client, acceptor, fate)| Step::Syn {
            listener,
            destination,
            client,
            acceptor: acceptor * u32::from(fate > 10),
            fate,
        },
    );
    prop_oneof![
        40 => syn,
        1 => (0..4_usize).prop_map(Step::Opens),
        1 => (0..4_usize).prop_map(Step::Closes),
        1 => (0..4_usize).prop_map(Step::Gone),
        1 => (0..4_usize).prop_map(Step::Handover),
        1 => Just(Step::GroupGrows),
        1 => Just(Step::OwnerChanges),
        1 => Just(Step::Batch),
        1 => any::<Option<bool>>().prop_map(Step::Expects),
    ]
}

proptest! {
    #[test]
    fn what_is_said_is_what_would_be_said_without_a_memory(
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let (mut rig, mut plain) = (Rig::new(true), Rig::new(false));
        for step in steps {
            prop_assert_eq!(format!("{:?}", rig.step(step)), format!("{:?}", plain.step(step)));
        }
        prop_assert!(rig.asked() <= plain.asked());
        let ends = [rig, plain].map(|mut rig| format!("{:?}", rig.pipeline.end(&End::default())));
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}

fn pid(event: &Event) -> u32 {
    event
        .listener
        .as_ref()
        .map_or(0, |listener| listener.owners[0].pid)
}

#[test]
fn nothing_is_asked_for_one_that_is_like_the_latest() {
    let mut rig = Rig::new(true);
    let first = rig.event(0, 3);
    let asked = rig.asked();
    let second = rig.event(0, 3);
    assert_eq!(rig.asked(), asked);
    assert_ne!(
        (first.ktime_ns, first.client),
        (second.ktime_ns, second.client)
    );
    assert_eq!((second.verdict, second.reason), (Verdict::Ok, None));
    rig.event(0, 2);
    assert!(rig.asked() > asked, "another destination");
}

#[test]
fn workers_that_take_turns_are_named_without_being_asked_about() {
    let mut rig = Rig::new(true);
    let accepted = |event: Event| event.listener?.accepted_by.map(|process| process.pid);
    for worker in [1, 2] {
        rig.event_after(worker, 0, 3);
    }
    let asked = rig.asked();
    for worker in [1, 2, 2, 1, 2] {
        assert_eq!(accepted(rig.event_after(worker, 0, 3)), Some(worker));
    }
    assert_eq!(rig.asked(), asked);
}

#[test]
fn a_look_for_another_worker_shows_at_once_in_all() {
    let mut rig = Rig::new(true);
    for _ in 0..2 {
        assert_eq!(pid(&rig.event_after(1, 0, 3)), 0);
    }
    rig.step(Step::OwnerChanges);
    assert_eq!(pid(&rig.event_after(2, 0, 3)), 1);
    assert_eq!(pid(&rig.event_after(1, 0, 3)), 1);
}

#[test]
fn a_new_owner_is_named_from_the_next_batch_on() {
    let mut rig = Rig::new(true);
    rig.event(0, 3);
    rig.step(Step::OwnerChanges);
    assert_eq!(pid(&rig.event(0, 3)), 0);
    rig.step(Step::Batch);
    assert_eq!(pid(&rig.event(0, 3)), 1);
}

#[test]
fn who_was_looked_at_for_a_hand_over_is_named_at_once() {
    let mut rig = Rig::new(true);
    rig.step(Step::Expects(Some(true)));
    rig.event(0, 3);
    rig.step(Step::OwnerChanges);
    assert_eq!(pid(&rig.event(0, 3)), 0);
    rig.step(Step::Handover(0));
    assert_eq!(pid(&rig.event(0, 3)), 1);
}

#[test]
fn what_is_expected_counts_from_then_on() {
    let mut rig = Rig::new(true);
    rig.event(0, 1);
    assert_eq!(rig.event(0, 1).verdict, Verdict::Ok);
    rig.step(Step::Expects(Some(false)));
    let event = rig.event(0, 1);
    assert_eq!(
        (event.verdict, event.reason),
        (Verdict::Uncovered, Some(Reason::NotListening))
    );
    rig.step(Step::Expects(None));
    assert_eq!(rig.event(0, 1).verdict, Verdict::Ok);
}

#[test]
fn a_group_has_the_size_that_the_kernel_told() {
    let mut rig = Rig::new(true);
    let size = |event: Event| event.reuseport.map(|group| group.size);
    assert_eq!([size(rig.event(1, 1)), size(rig.event(1, 1))], [Some(1); 2]);
    rig.step(Step::GroupGrows);
    assert_eq!(size(rig.event(1, 1)), Some(2));
}

#[test]
fn whoever_listens_at_the_address_of_one_that_closed_is_another() {
    let mut rig = Rig::new(true);
    rig.event(0, 1);
    rig.event(1, 1);
    let before = rig.event(1, 1);
    rig.step(Step::Closes(1));
    // Another takes them meanwhile, and is not what it was before.
    let gap = rig.event(0, 1);
    assert_eq!(
        (gap.verdict, gap.reason),
        (Verdict::Uncovered, Some(Reason::RestartGap))
    );
    rig.step(Step::Gone(1));
    rig.step(Step::Opens(1));
    let after = rig.event(1, 1);
    let id = |event: &Event| event.listener.as_ref().map(|listener| listener.id);
    assert_ne!(id(&before), id(&after));
    assert_eq!(after.verdict, Verdict::Ok);
}

#[test]
fn so_many_are_remembered_and_no_more() {
    let mut rig = Rig::new(true);
    let event = rig.event(0, 3);
    let mut latest = Latest::default();
    for stamp in 1..=3 * MOST as u64 {
        let mut record = rig.syn(0, 3, 0, 0, 0);
        record.listener.stamp = stamp;
        record.listener.accept_pid = stamp as u32 % 5;
        record.listener.stamp /= 7;
        let name = latest.keep(event.clone(), &record, (1, 1), true);
        let count: usize = latest.syns.values().map(Vec::len).sum();
        assert_eq!(latest.count, count);
        assert!(count <= MOST);
        assert_eq!(latest.outputs(name).len(), 1);
    }
    let listener = rig.syn(0, 3, 0, 0, 0).listener;
    latest.forget(&Listener {
        stamp: 3 * MOST as u64 / 7,
        ..listener
    });
    let count: usize = latest.syns.values().map(Vec::len).sum();
    assert_eq!(latest.count, count);
}
