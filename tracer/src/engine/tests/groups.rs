//! The daemon's outlet, and groups whose SYNs the kernel shares out: from records and counts to
//! the alert.

use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::{
    alerts::{Identity, Occasion},
    delivery::Message,
    listeners::Listening,
    outlets::feed::{Feed, now},
    pipeline::Unrecorded,
    settings::{AlertSettings, Settings},
};

const SECOND: u64 = 1_000_000_000;
const MEMBERS: u64 = 4;

/// Only these listen.
struct Present(Vec<u64>);

impl TakeStock for Present {
    fn take_stock(&mut self) -> Stock {
        let listening = |&inode| Listening {
            bound: crate::judge::bound(&listener(inode)),
            inode,
            cookie: 0,
            uid: 0,
            queue: crate::event::Queue {
                length: 0,
                limit: 0,
            },
            complete: true,
        };
        let inventory = Inventory {
            listeners: self.0.iter().map(listening).collect(),
            asked: [1].into_iter().collect(),
            ..Inventory::default()
        };
        Stock::new(inventory, 0)
    }
}

fn listener(inode: u64) -> Listener {
    Listener {
        stamp: inode,
        inode,
        netns: 1,
        port: 80,
        incoming_cpu: -1,
        ..Listener::default()
    }
}

struct Daemon {
    engine: Engine<Feed>,
    given: Rc<RefCell<Vec<Message>>>,
    present: Present,
    now_ns: u64,
}

impl Daemon {
    fn new() -> Self {
        let settings = Settings {
            alerts: AlertSettings {
                on_groups: true,
                ..AlertSettings::default()
            },
            ..Settings::default()
        };
        let given = Rc::new(RefCell::new(Vec::new()));
        let give = {
            let given = Rc::clone(&given);
            Box::new(move |message| given.borrow_mut().push(message))
        };
        let feed = Feed::new(&settings, None, now(0, 0), give);
        let mut pipeline = pipeline().over_a_window();
        pipeline.expect_suspects();
        let mut daemon = Self {
            engine: Engine::new(pipeline, feed),
            given,
            present: Present((1..=MEMBERS).collect()),
            now_ns: 0,
        };
        for inode in 1..=MEMBERS {
            let opened = ListenerRecord {
                listener: listener(inode),
                ..ListenerRecord::default()
            };
            daemon.take(&Input::Record(Record::Listen(opened)));
        }
        daemon
    }

    fn take(&mut self, input: &Input) {
        let taken = self.engine.take(input, &mut self.present);
        taken.expect("it takes all");
    }

    /// Minutes in which these are given a hundred SYNs each, one of them with a record.
    fn minutes(&mut self, minutes: u64, fed: &[u64]) {
        for _ in 0..minutes {
            self.now_ns += 60 * SECOND;
            let mut counts = Vec::new();
            for &inode in fed {
                let syn = SynRecord {
                    kind: kind::SYN,
                    ktime_ns: self.now_ns,
                    netns: 1,
                    has_listener: 1,
                    listener: listener(inode),
                    destination_port_be: 80_u16.to_be(),
                    group: 1,
                    group_size: MEMBERS as u16,
                    ..SynRecord::default()
                };
                self.take(&Input::Record(Record::Syn(syn)));
                counts.push(Unrecorded::Given {
                    stamp: inode,
                    ipv4: 99,
                    ipv6: 0,
                });
            }
            self.engine.counts(counts).expect("it takes all");
            self.engine.pipeline().pass(self.now_ns);
            self.take(&Input::Counted(Counted::default()));
            self.engine.outlet().tick(now(self.now_ns, 0));
        }
    }

    fn told(&self) -> Vec<(Occasion, u64)> {
        let mut told = Vec::new();
        for message in self.given.borrow_mut().drain(..) {
            let Message::Notice(notice) = message else {
                panic!("{message:?}");
            };
            assert!(matches!(notice.alert.identity, Identity::Group(_)));
            if notice.occasion != Occasion::Lasts && notice.occasion != Occasion::OverStill {
                told.push((notice.occasion, notice.at.0.unsigned_abs() / (60 * SECOND)));
            }
        }
        told
    }
}

#[test]
fn a_starved_member_is_told_from_counts_until_it_is_fed() {
    let mut daemon = Daemon::new();
    daemon.minutes(500, &[1, 2, 3, 4]);
    assert_eq!(daemon.told(), []);
    daemon.minutes(20, &[1, 2, 3]);
    let told = daemon.told();
    let [(Occasion::Began, minute)] = told[..] else {
        panic!("{told:?}");
    };
    assert!((501..=511).contains(&minute), "{minute}");
    daemon.minutes(20, &[1, 2, 3, 4]);
    let told = daemon.told();
    let [(Occasion::Ended, minute)] = told[..] else {
        panic!("{told:?}");
    };
    assert!((523..=531).contains(&minute), "{minute}");
}

#[test]
fn a_listener_whose_closing_was_missed_starves_in_nobodys_eyes() {
    let mut daemon = Daemon::new();
    daemon.present = Present(vec![1, 2, 3]);
    daemon.minutes(30, &[1, 2, 3]);
    assert_eq!(daemon.told(), []);
}

#[test]
fn a_group_that_is_gone_ends_its_alert() {
    let mut daemon = Daemon::new();
    daemon.minutes(10, &[1, 2, 3]);
    assert_eq!(daemon.told().len(), 1);
    for inode in 1..=MEMBERS {
        let closed = ListenerRecord {
            ktime_ns: daemon.now_ns,
            listener: listener(inode),
            ..ListenerRecord::default()
        };
        daemon.take(&Input::Record(Record::Close(closed)));
    }
    daemon.minutes(1, &[]);
    let told = daemon.told();
    assert!(matches!(told[..], [(Occasion::Ended, 11)]), "{told:?}");
}
