//! Whatever comes, and whatever is asked to be shown: the account is right.

use std::{cell::RefCell, io, rc::Rc};

use proptest::prelude::*;
use sockpick_ebpf::abi::{Listener, ListenerRecord, Stats, SynRecord, kind};

use super::*;
use crate::{
    decode::Record,
    event::{Backend, Item, Match, Verdict},
    host::unknown::Nobody,
    judge::{expectations::Expectations, rules::Algorithm},
    listeners::Inventory,
    outlets::selection::Selection,
    pipeline::{
        Bounds, Counted, MOST_CLOSED, MOST_TALLIES, Output, assess::Assessor, enrich::Enricher,
    },
    settings::place::ListenerPattern,
    sinks::{Quiet, Sink},
    stock::Stock,
};

mod feed;
mod groups;

struct Nothing;

impl TakeStock for Nothing {
    fn take_stock(&mut self) -> Stock {
        Stock::default()
    }
}

/// Keeps what it is given.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<Item>>>);

impl Sink for Kept {
    fn write(&mut self, item: &Item) -> io::Result<()> {
        self.0.borrow_mut().push(item.clone());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Something that happens; listeners are known by their port, and 0 is none.
#[derive(Clone, Copy, Debug)]
enum Step {
    Syn(u16),
    Opened(u16),
    Closed(u16),
    Gone(u16),
    Malformed,
    RingFull(u8),
    ReturnMissed(u8),
    BatchEnds,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6_u16).prop_map(Step::Syn),
        1 => (1..6_u16).prop_map(Step::Opened),
        1 => (1..6_u16).prop_map(Step::Closed),
        1 => (1..6_u16).prop_map(Step::Gone),
        1 => Just(Step::Malformed),
        1 => any::<u8>().prop_map(Step::RingFull),
        1 => any::<u8>().prop_map(Step::ReturnMissed),
        2 => Just(Step::BatchEnds),
    ]
}

fn selection() -> impl Strategy<Value = Selection> {
    let everything = Selection::default();
    let refused = Selection {
        verdicts: vec![Verdict::Refused],
        ..everything.clone()
    };
    let port = ListenerPattern {
        address: None,
        device: None,
        port: Some(2),
    };
    let listener = Selection {
        listeners: vec![port],
        ..everything.clone()
    };
    let few = Selection {
        count: Some(3),
        ..everything.clone()
    };
    let few_refused = Selection {
        count: Some(2),
        ..refused.clone()
    };
    prop::sample::select(vec![everything, refused, listener, few, few_refused])
}

/// What the kernel would count and write.
#[derive(Default)]
struct Kernel {
    stats: Stats,
    now_ns: u64,
    syns: [u64; 6],
}

impl Kernel {
    fn listener(&self, port: u16) -> Listener {
        Listener {
            stamp: port.into(),
            netns: 1,
            inode: 100 + u64::from(port),
            port,
            syns: self.syns[usize::from(port)],
            ..Listener::default()
        }
    }

    fn record(&self, port: u16) -> ListenerRecord {
        ListenerRecord {
            ktime_ns: self.now_ns,
            listener: self.listener(port),
            ..ListenerRecord::default()
        }
    }

    fn syn(&mut self, port: u16) -> SynRecord {
        self.stats.syns += 1;
        self.stats.emitted += 1;
        self.stats.refused += u64::from(port == 0);
        self.syns[usize::from(port)] += 1;
        SynRecord {
            kind: kind::SYN,
            ktime_ns: self.now_ns,
            netns: 1,
            has_listener: u32::from(port != 0),
            listener: self.listener(port),
            group: u64::from(port % 2),
            group_size: 2,
            destination_port_be: port.to_be(),
            ..SynRecord::default()
        }
    }

    fn input(&mut self, step: Step) -> Input {
        self.now_ns += 1_000;
        match step {
            Step::Syn(port) => Input::Record(Record::Syn(self.syn(port))),
            Step::Opened(port) => Input::Record(Record::Listen(self.record(port))),
            Step::Closed(port) => Input::Record(Record::Close(self.record(port))),
            Step::Gone(port) => Input::Gone(self.listener(port)),
            Step::Malformed => {
                self.stats.syns += 1;
                self.stats.emitted += 1;
                Input::Malformed
            }
            Step::RingFull(lost) => {
                self.stats.syns += u64::from(lost);
                self.stats.lost_ring += u64::from(lost);
                self.batch()
            }
            Step::ReturnMissed(lost) => {
                self.stats.syns += u64::from(lost);
                self.stats.lost_return += u64::from(lost);
                self.batch()
            }
            Step::BatchEnds => self.batch(),
        }
    }

    fn batch(&self) -> Input {
        Input::Counted(Counted {
            stats: self.stats,
            missing: (0, 0),
        })
    }

    fn end(&self) -> End {
        End {
            stats: self.stats,
            ..End::default()
        }
    }
}

fn pipeline() -> Pipeline {
    Pipeline::new(
        Enricher::new(Backend::Fentry, Box::new(Nobody)),
        Assessor::new(Expectations::default(), Algorithm::AddressFirst),
        &Inventory::default(),
    )
}

fn run(steps: &[Step], selection: Selection) -> Result<(Summary, Vec<Item>)> {
    let kept = Kept::default();
    let foreground = Foreground::new(Box::new(kept.clone()), 0, selection);
    let mut engine = Engine::new(pipeline(), foreground);
    let mut kernel = Kernel::default();
    for &step in steps {
        engine.take(&kernel.input(step), &mut Nothing)?;
    }
    engine.take(&kernel.batch(), &mut Nothing)?;
    let summary = engine.sum_up(&kernel.end())?;
    let items = kept.0.borrow().clone();
    Ok((summary, items))
}

proptest! {
    #[test]
    fn every_syn_is_shown_or_there_is_a_word_for_why_not(
        steps in prop::collection::vec(step(), 0..200),
        selection in selection(),
    ) {
        let (summary, items) = run(&steps, selection).expect("the sink takes all");
        let totals = &summary.totals;
        let lost: u64 = totals.lost.iter().map(|(_, lost)| lost).sum();
        let told = totals.shown + totals.filtered + totals.own + totals.not_shown + lost;
        prop_assert_eq!(totals.syns, told);
        let mut seen = (0, 0);
        for item in &items {
            match item {
                Item::Syn(_) => seen.0 += 1,
                Item::Lost(one) => seen.1 += one.lost,
                Item::Health(_) | Item::Handover(_) => {}
            }
        }
        prop_assert_eq!(seen, (totals.shown, lost));
        let verdicts: u64 = summary.verdicts.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(verdicts, totals.shown);
    }

    #[test]
    fn a_filter_that_lets_all_pass_changes_nothing(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        use Match::{DualStack, Exact, None, Wildcard};
        let all = Selection {
            matched: vec![Exact, Wildcard, DualStack, None],
            ..Selection::default()
        };
        let plain = run(&steps, Selection::default()).expect("the sink takes all");
        let filtered = run(&steps, all).expect("the sink takes all");
        prop_assert_eq!(plain.1, filtered.1);
        prop_assert_eq!(plain.0.verdicts, filtered.0.verdicts);
        prop_assert_eq!(plain.0.notes, filtered.0.notes);
        prop_assert_eq!(plain.0.health, filtered.0.health);
        prop_assert_eq!(plain.0.listeners.len(), filtered.0.listeners.len());
    }

    #[test]
    fn a_snapshot_adds_up_and_taking_it_changes_nothing(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let (mut watched, mut alone) = (pipeline(), pipeline());
        let mut kernel = Kernel::default();
        let mut outputs: u64 = 0;
        for &step in &steps {
            let input = kernel.input(step);
            let given = watched.take(&input, &mut Nothing);
            outputs += given.filter(|output| matches!(output, Output::Syn(..))).count() as u64;
            let _ = alone.take(&input, &mut Nothing);
            let now = watched.snapshot();
            prop_assert_eq!(now.account.syns, outputs);
            let given = now.account.listeners.values().map(|tally| tally.syns);
            let rest = now.account.refused + now.account.long_gone.syns + now.account.untallied;
            let given = given.sum::<u64>() + rest;
            prop_assert_eq!(given, outputs);
            if matches!(input, Input::Counted(_)) {
                let known = now.account.syns + now.lost.values().sum::<u64>();
                prop_assert_eq!(known, now.stats.syns);
            }
            let Bounds { closings, steered, groups, listeners, closed } = now.bounds;
            for limit in [closings, steered, groups, listeners, closed] {
                prop_assert!(limit.holds <= limit.most);
            }
        }
        let (of_watched, of_alone) = (watched.end(&kernel.end()), alone.end(&kernel.end()));
        prop_assert_eq!(format!("{of_watched:?}"), format!("{of_alone:?}"));
    }
}

#[test]
fn who_has_enough_is_given_no_more() -> Result<()> {
    let few = Selection {
        count: Some(2),
        ..Selection::default()
    };
    let (summary, items) = run(&[Step::Syn(1); 5], few)?;
    assert_eq!(
        items
            .iter()
            .filter(|one| matches!(one, Item::Syn(_)))
            .count(),
        2
    );
    assert_eq!((summary.totals.shown, summary.totals.not_shown), (2, 3));
    assert_eq!(summary.health.len(), 1);
    assert_eq!(summary.health[0].syns, 2, "those that were judged");
    Ok(())
}

/// A SYN that it got.
fn to(listener: Listener) -> Input {
    Input::Record(Record::Syn(SynRecord {
        kind: kind::SYN,
        has_listener: 1,
        listener,
        ..SynRecord::default()
    }))
}

#[test]
fn more_listeners_than_there_is_room_for_have_no_line() -> Result<()> {
    let foreground = Foreground::new(Box::new(Quiet), 0, Selection::default());
    let mut engine = Engine::new(pipeline(), foreground);
    for stamp in 1..=MOST_TALLIES + 3 {
        let listener = Listener {
            stamp: stamp as u64,
            ..Listener::default()
        };
        engine.take(&to(listener), &mut Nothing)?;
    }
    let summary = engine.sum_up(&End::default())?;
    assert_eq!(summary.listeners.len(), MOST_TALLIES);
    assert_eq!(summary.totals.shown, MOST_TALLIES as u64 + 3);
    assert_eq!(
        summary.notes,
        ["No line above for 3 SYNs: too many listeners."]
    );
    Ok(())
}

#[test]
fn listeners_that_come_and_go_all_day_end_in_a_sum() -> Result<()> {
    let by_event = Selection {
        matched: vec![Match::None, Match::Exact, Match::Wildcard, Match::DualStack],
        ..Selection::default()
    };
    for (selection, syns) in [(Selection::default(), "6 SYNs"), (by_event, "3 SYNs")] {
        let foreground = Foreground::new(Box::new(Quiet), 0, selection);
        let mut engine = Engine::new(pipeline(), foreground);
        for stamp in 1..=MOST_CLOSED as u64 + 3 {
            let listener = Listener {
                stamp,
                syns: 2,
                port: 80,
                ..Listener::default()
            };
            engine.take(&to(listener), &mut Nothing)?;
            engine.take(&Input::Gone(listener), &mut Nothing)?;
        }
        let summary = engine.sum_up(&End::default())?;
        assert_eq!(summary.listeners.len(), MOST_CLOSED);
        let note = format!("No line above for 3 listeners that closed long ago, with {syns}.");
        assert_eq!(summary.notes, [note]);
    }
    Ok(())
}
