//! A pipeline, a machine and a kernel that are made up.

use proptest::prelude::*;
use sockpick_ebpf::abi::{HandoverRecord, ListenerRecord, kind, steer};

use super::{super::*, machine::Machine};
use crate::{
    decode::Record,
    event::Backend,
    host::Host,
    judge::{
        expectations::{Address, Expectations, OwnerRule, Service},
        rules::{Algorithm, Protocol},
    },
    listeners::Inventory,
    pipeline::{Input, Pipeline, assess::Assessor, enrich::Enricher},
    stock::{Stock, TakeStock},
};

pub(super) struct Nothing;

impl TakeStock for Nothing {
    fn take_stock(&mut self) -> Stock {
        Stock::default()
    }
}

/// A pipeline, its machine, and the listeners of its kernel: how often each was opened.
pub(super) struct Rig {
    machine: Machine,
    pub(super) pipeline: Pipeline,
    opened: [u64; 4],
    members: u16,
    now_ns: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
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
    pub(super) fn new(is_settled: bool) -> Self {
        let machine = Machine::default();
        machine.0.borrow_mut().is_settled = is_settled;
        Self::asking(Box::new(machine.clone()), machine)
    }

    /// Its pipeline asks `host`.
    pub(super) fn asking(host: Box<dyn Host>, machine: Machine) -> Self {
        let pipeline = Pipeline::new(
            Enricher::new(Backend::Fentry, host),
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

    pub(super) fn syn(
        &self,
        nth: usize,
        to: u8,
        client: u16,
        acceptor: u32,
        fate: u8,
    ) -> SynRecord {
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

    pub(super) fn input(&mut self, step: Step) -> Option<Input> {
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
    pub(super) fn step(&mut self, step: Step) -> Vec<Output> {
        let input = self.input(step);
        let outputs =
            input.map(|input| self.pipeline.take(&input, &mut Nothing).cloned().collect());
        outputs.unwrap_or_default()
    }

    /// The event of a usual SYN.
    pub(super) fn event(&mut self, listener: usize, destination: u8) -> Event {
        self.event_after(0, listener, destination)
    }

    /// The same, after that process accepted.
    pub(super) fn event_after(&mut self, acceptor: u32, listener: usize, destination: u8) -> Event {
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

    pub(super) fn asked(&self) -> usize {
        self.machine.0.borrow().asked
    }
}

/// A service on 10.0.0.1, whose owner may be prescribed.
pub(super) fn expectations(service: Option<bool>) -> Expectations {
    let service = service.map(|owned| Service {
        name: "web".into(),
        listen: vec![Address {
            protocol: Protocol::Tcp,
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

pub(super) fn step() -> impl Strategy<Value = Step> {
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
