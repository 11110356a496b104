//! Whatever opens and closes while batches are read: at the level of suspects the same alerts are
//! told as where there is a record of each SYN.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, Ipv6Addr},
    rc::Rc,
};

use proptest::prelude::*;
use sockpick_ebpf::abi::{Listener, ListenerRecord, Stats, SynRecord, kind};

use super::*;
use crate::{
    decode::Record,
    event::Backend,
    host::unknown::Nobody,
    judge::{
        expectations::Expectations,
        rules::{ANY_MAPPED, Algorithm},
    },
    listeners::Inventory,
    pipeline::{Counted, Input, Output, assess::Assessor, enrich::Enricher},
    stock::{Stock, TakeStock},
};

const PORT: u16 = 80;
const NETNS: u32 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

struct Nothing;

impl TakeStock for Nothing {
    fn take_stock(&mut self) -> Stock {
        Stock::default()
    }
}

fn v4(last: u8) -> Ipv6Addr {
    Ipv4Addr::new(6, 6, 6, last).to_ipv6_mapped()
}

/// Where somebody may listen: the first two are addresses, the others any.
fn site(number: usize) -> (Ipv6Addr, u16) {
    match number {
        0 | 1 => (v4(number as u8), AF_INET),
        2 => (ANY_MAPPED, AF_INET),
        _ => (Ipv6Addr::UNSPECIFIED, AF_INET6),
    }
}

const SITES: usize = 4;

/// What is told to the programs and what they count, shared with the kernel of the test.
#[derive(Clone, Default)]
struct Memory {
    generation: Rc<Cell<u64>>,
    rights: Rc<RefCell<HashMap<u64, (u64, Right)>>>,
    /// By stamp.
    counted: Rc<RefCell<HashMap<u64, u64>>>,
    record: Rc<RefCell<HashSet<u64>>>,
    refused_in: Rc<Cell<u32>>,
    refused: Rc<Cell<u64>>,
}

impl Tell for Memory {
    fn generation(&self, port: u16) -> u64 {
        assert_eq!(port, PORT);
        self.generation.get()
    }

    fn set(&self, stamp: u64, generation: u64, right: Option<&Right>) {
        let mut rights = self.rights.borrow_mut();
        match right {
            Some(right) => drop(rights.insert(stamp, (generation, right.clone()))),
            None => drop(rights.remove(&stamp)),
        }
    }

    fn doubt(&self, port: u16) {
        assert_eq!(port, PORT);
        self.generation.set(self.generation.get() + 1);
    }

    fn record_next(&self, stamp: u64) {
        self.record.borrow_mut().insert(stamp);
    }

    fn counted(&self, stamp: u64) -> [u64; 2] {
        let counted = self.counted.borrow();
        [counted.get(&stamp).copied().unwrap_or_default(), 0]
    }

    fn leave(&self, stamp: u64) -> [u64; 2] {
        let last = self.counted(stamp);
        self.rights.borrow_mut().remove(&stamp);
        self.counted.borrow_mut().remove(&stamp);
        last
    }

    fn refused(&self, port: u16) -> u64 {
        assert_eq!(port, PORT);
        self.refused.get()
    }

    fn count_refused(&self, port: u16, netns: u32) {
        assert_eq!(port, PORT);
        self.refused_in.set(netns);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Listens there, or closes. The session goes on so often before there is a record; a SYN may
    /// come just after.
    Changes {
        site: usize,
        within: usize,
        syn: Option<u8>,
    },
    /// For the address with this number, which may be nobody's.
    Syn(u8),
    /// The session goes on.
    Session,
    /// The counts are taken, and each counted listener is to have a record again.
    Renew,
    /// There is to be a record of each SYN, or not any more.
    Hold(bool),
}

/// What the session does next.
#[derive(Clone, Copy, Debug)]
enum Next {
    Note,
    Read,
    Tell,
}

fn step() -> impl Strategy<Value = Step> {
    let syn = || 0..3_u8;
    let changes = (0..SITES, 0..3_usize, prop::option::of(syn()));
    prop_oneof![
        2 => changes.prop_map(|(site, within, syn)| Step::Changes { site, within, syn }),
        6 => syn().prop_map(Step::Syn),
        8 => Just(Step::Session),
        1 => Just(Step::Renew),
        1 => any::<bool>().prop_map(Step::Hold),
    ]
}

/// Kernel, programs and session: at the level of suspects, or without.
struct World {
    memory: Memory,
    told: Option<Told<Memory>>,
    pipeline: Pipeline,
    /// By address, or by age alone: where what opens takes nothing from those before it.
    algorithm: Algorithm,
    next: Next,
    now_ns: u64,
    live: [Option<Listener>; SITES],
    /// Stamps of those that closed.
    gone: Vec<u64>,
    buffer: Vec<Record>,
    stats: Stats,
    /// Times of SYNs that alerted.
    alerts: Vec<u64>,
    /// SYNs for each listener, by stamp; 0: that nobody got.
    truth: HashMap<u64, u64>,
    /// Those of them that the session knows of.
    known: HashMap<u64, u64>,
    held: bool,
}

impl World {
    fn new(algorithm: Algorithm, only_suspects: bool) -> Self {
        let mut pipeline = Pipeline::new(
            Enricher::new(Backend::Fentry, Box::new(Nobody)),
            Assessor::new(Expectations::default(), algorithm),
            &Inventory::default(),
        );
        let memory = Memory::default();
        let told = only_suspects.then(|| Told::new(memory.clone()));
        if only_suspects {
            pipeline.expect_suspects();
        }
        Self {
            memory,
            told,
            pipeline,
            algorithm,
            next: Next::Note,
            now_ns: 0,
            live: [None; SITES],
            gone: Vec::new(),
            buffer: Vec::new(),
            stats: Stats::default(),
            alerts: Vec::new(),
            truth: HashMap::new(),
            known: HashMap::new(),
            held: false,
        }
    }

    fn changes(&mut self, site: usize, within: usize, syn: Option<u8>) {
        let bump = |world: &Self| {
            let generation = &world.memory.generation;
            generation.set(generation.get() + 1);
        };
        let (address, family) = self::site(site);
        let opens = self.live[site].is_none();
        let listener = self.live[site].unwrap_or(Listener {
            stamp: self.now_ns << 8,
            inode: self.now_ns,
            netns: NETNS,
            addr: address.octets(),
            port: PORT,
            family,
            ..Listener::default()
        });
        if opens {
            self.live[site] = Some(listener);
        }
        bump(self);
        (0..within).for_each(|_| self.session());
        let record = ListenerRecord {
            ktime_ns: self.now_ns,
            listener,
            ..ListenerRecord::default()
        };
        self.buffer.push(if opens {
            Record::Listen(record)
        } else {
            Record::Close(record)
        });
        if let Some(address) = syn {
            self.now_ns += 100;
            self.syn(address);
        }
        bump(self);
        if !opens {
            self.live[site] = None;
            self.gone.push(listener.stamp);
        }
    }

    /// As `suspects.rs` of the programs has it.
    fn is_right(&self, listener: &Listener, destination: Ipv6Addr) -> bool {
        let rights = self.memory.rights.borrow();
        let Some((generation, right)) = rights.get(&listener.stamp) else {
            return false;
        };
        *generation == self.memory.generation.get()
            && match right {
                Right::Exact => Ipv6Addr::from(listener.addr) == destination,
                Right::AnyBut(but) => !but.contains(&destination),
            }
    }

    fn is_counted(&self, chosen: Option<&Listener>, destination: Ipv6Addr) -> bool {
        let memory = &self.memory;
        match chosen {
            Some(listener) if self.is_right(listener, destination) => {
                if memory.record.borrow_mut().remove(&listener.stamp) {
                    return false;
                }
                let mut counted = memory.counted.borrow_mut();
                *counted.entry(listener.stamp).or_default() += 1;
                true
            }
            None if memory.refused_in.get() == NETNS => {
                memory.refused.set(memory.refused.get() + 1);
                true
            }
            _ => false,
        }
    }

    /// Takes what was counted.
    fn count(&mut self, counts: impl IntoIterator<Item = Unrecorded>) {
        for counted in counts {
            let (stamp, syns) = match counted {
                Unrecorded::Given { stamp, ipv4, ipv6 } => (stamp, ipv4 + ipv6),
                Unrecorded::Refused { netns, port, syns } => {
                    assert_eq!((netns, port), (NETNS, PORT));
                    (0, syns)
                }
            };
            *self.known.entry(stamp).or_default() += syns;
        }
    }

    fn renew(&mut self) {
        self.now_ns += RENEW_NS;
        if let Some(told) = &mut self.told {
            assert!(told.is_due(self.now_ns));
            let counts = told.counts(self.now_ns);
            self.count(counts);
        }
    }

    fn hold(&mut self, is_held: bool) {
        if let Some(told) = &mut self.told {
            told.hold(is_held.then_some(PORT).into_iter().collect());
            self.held = is_held;
        }
    }

    fn syn(&mut self, address: u8) {
        let destination = v4(address);
        let by_address = (0..2).filter(|&site| self::site(site).0 == destination);
        let mut all = by_address
            .chain(2..SITES)
            .filter_map(|site| self.live[site]);
        let chosen = match self.algorithm {
            Algorithm::AddressFirst => all.next(),
            Algorithm::PortOnly | Algorithm::Hybrid => all.min_by_key(|listener| listener.stamp),
        };
        self.stats.syns += 1;
        let stamp = chosen.map_or(0, |listener| listener.stamp);
        *self.truth.entry(stamp).or_default() += 1;
        if self.is_counted(chosen.as_ref(), destination) {
            assert!(
                !self.held || chosen.is_none(),
                "a record of each is wanted that somebody gets"
            );
            self.stats.counted += 1;
            return;
        }
        self.stats.emitted += 1;
        self.buffer.push(Record::Syn(SynRecord {
            kind: kind::SYN,
            ktime_ns: self.now_ns,
            netns: NETNS,
            family: AF_INET,
            destination: destination.octets(),
            destination_port_be: PORT.to_be(),
            has_listener: u32::from(chosen.is_some()),
            listener: chosen.unwrap_or_default(),
            ..SynRecord::default()
        }));
    }

    /// A third of a batch.
    fn session(&mut self) {
        self.next = match self.next {
            Next::Note => {
                if let Some(told) = &mut self.told {
                    told.note(&mut self.pipeline);
                }
                Next::Read
            }
            Next::Read => {
                self.read();
                Next::Tell
            }
            Next::Tell => {
                if let Some(told) = &mut self.told {
                    told.tell(&mut self.pipeline, self.now_ns);
                }
                Next::Note
            }
        }
    }

    fn read(&mut self) {
        let mut inputs: Vec<Input> = self.buffer.drain(..).map(Input::Record).collect();
        inputs.push(Input::Counted(Counted {
            stats: self.stats,
            missing: (0, 0),
        }));
        for input in &inputs {
            for output in self.pipeline.take(input, &mut Nothing) {
                if let Output::Syn(event, record) = output {
                    *self.known.entry(record.listener.stamp).or_default() += 1;
                    if event.verdict.is_alert() {
                        self.alerts.push(event.ktime_ns);
                    }
                }
            }
        }
    }

    fn step(&mut self, step: Step) {
        self.now_ns += 1_000;
        match step {
            Step::Changes { site, within, syn } => self.changes(site, within, syn),
            Step::Syn(address) => self.syn(address),
            Step::Session => self.session(),
            Step::Renew => self.renew(),
            Step::Hold(is_held) => self.hold(is_held),
        }
    }

    fn run(mut self, steps: &[Step]) -> Self {
        for &step in steps {
            self.step(step);
        }
        // What is under way, and whatever is written then.
        (0..4).for_each(|_| self.session());
        if let Some(told) = &mut self.told {
            let gone = self.gone.drain(..);
            let counts: Vec<_> = gone.filter_map(|stamp| told.left(stamp)).collect();
            assert!(self.live.iter().flatten().count() >= told.listeners.len());
            self.count(counts);
        }
        if let Some(told) = &mut self.told {
            let counts = told.counts(self.now_ns);
            self.count(counts);
        }
        self
    }
}

proptest! {
    #[test]
    fn alerts_are_the_same_and_every_syn_is_somewhere(
        steps in prop::collection::vec(step(), 0..120),
        algorithm in prop::sample::select(vec![Algorithm::AddressFirst, Algorithm::PortOnly]),
    ) {
        let run = |only_suspects| World::new(algorithm, only_suspects).run(&steps);
        let (all, suspects) = (run(false), run(true));
        prop_assert_eq!(all.alerts, suspects.alerts);
        let Stats { syns, emitted, counted, .. } = suspects.stats;
        prop_assert_eq!(syns, emitted + counted);
        prop_assert_eq!(syns, all.stats.emitted);
        // Each listener's, and those that nobody got.
        prop_assert_eq!(&all.known, &all.truth);
        prop_assert_eq!(&suspects.known, &suspects.truth);
    }
}

#[test]
fn what_is_right_is_counted_two_batches_after_its_first_syn() {
    use Step::{Renew, Session, Syn};
    let opens = |site| Step::Changes {
        site,
        within: 0,
        syn: None,
    };
    let batch = [Session; 3];
    let mut world = World::new(Algorithm::AddressFirst, true);
    let mut after = |steps: &[Step]| {
        let before = world.stats;
        for &step in steps {
            world.step(step);
        }
        let Stats {
            emitted, counted, ..
        } = world.stats.since(&before);
        (emitted, counted)
    };
    // The listener for all addresses, and one for the first.
    assert_eq!(after(&[opens(2), opens(0), Syn(0), Syn(1)]), (2, 0));
    after(&batch);
    after(&batch);
    assert_eq!(after(&[Syn(0), Syn(1), Syn(2)]), (0, 3));
    // The next of each has a record again.
    assert_eq!(after(&[Renew, Syn(0), Syn(1)]), (2, 0));
    after(&batch);
    after(&batch);
    assert_eq!(after(&[Syn(0), Syn(1), Syn(2)]), (0, 3));
    // It closes: what was its own is looked at, as long as it is expected back.
    assert_eq!(after(&[opens(0), Syn(0), Syn(1)]), (2, 0));
    after(&batch);
    after(&batch);
    assert_eq!(after(&[Syn(0), Syn(1), Syn(2)]), (1, 2));
    // Nobody listens: the first that is refused has a record.
    assert_eq!(after(&[opens(2), Syn(1), Syn(2)]), (2, 0));
    after(&batch);
    assert_eq!(after(&[Syn(1), Syn(2)]), (0, 2));
    assert_eq!(world.alerts.len(), 2);
}
