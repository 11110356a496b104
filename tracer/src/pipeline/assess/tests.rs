//! When the picture is held against what the kernel lists, and what comes of it.

use std::collections::BTreeSet;

use super::*;
use sockpick_ebpf::abi::Listener;

use crate::{decode::Record, event::Family, event::Queue};

fn listening(netns: u32, inode: u64) -> Listening {
    Listening {
        bound: Bound {
            protocol: Protocol::Tcp,
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

fn stock(asked: &[u32], listeners: &[(u32, u64)]) -> Stock {
    Stock::new(inventory(asked, listeners), 100)
}

fn record_of(netns: u32, inode: u64) -> ListenerRecord {
    ListenerRecord {
        listener: Listener {
            netns,
            inode,
            ..Listener::default()
        },
        ..ListenerRecord::default()
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
    let now = stock(&[1], &[(1, 11), (1, 12)]);
    assessor.bury(&now, 5);
    assert_eq!(alive(&mut assessor), [11, 20].into());
    assessor.resync(&now);
    assert_eq!(alive(&mut assessor), [11, 12, 20].into());
}

#[test]
fn who_is_bound_to_another_device_by_now_is_there_alone() {
    let mut assessor = Assessor::new(Expectations::default(), Algorithm::AddressFirst);
    assessor.present(&inventory(&[1], &[(1, 10)]));
    let mut now = stock(&[1], &[(1, 10)]);
    now.inventory.listeners[0].bound.device = 5;
    let changes = assessor.changes();
    assessor.bury(&now, 5);
    assert!(assessor.was_redrawn() && assessor.changes() > changes);
    let devices: Vec<u32> = assessor
        .listeners()
        .map(|(bound, _)| bound.device)
        .collect();
    assert_eq!(devices, [5]);
    assessor.bury(&now, 6);
    assert!(!assessor.was_redrawn(), "only once");
}

#[test]
fn steering_is_learned_of_what_was_steered_alone() {
    let expectations = Expectations {
        hold: Some(std::time::Duration::from_mins(10)),
        ..Expectations::default()
    };
    let mut assessor = Assessor::new(expectations, Algorithm::AddressFirst);
    let packet = Packet {
        netns: 1,
        protocol: Protocol::Tcp,
        destination: std::net::Ipv4Addr::new(6, 6, 6, 6).into(),
        port: 80,
        dif: 1,
        sdif: 0,
        l3mdev_accept: false,
    };
    let target = Listener {
        netns: 1,
        inode: 10,
        stamp: 1,
        ..Listener::default()
    };
    let second = |second: u64| second * 1_000_000_000;
    assessor
        .picture
        .opened(judge::bound(&target), live(&target, second(1)));
    let mut learn = |steer, has_listener, at| {
        let record = SynRecord {
            steer,
            has_listener,
            listener: target,
            ktime_ns: second(at),
            ..SynRecord::default()
        };
        assessor.learn(&record, &packet);
    };
    learn(steer::SK_LOOKUP, 1, 10);
    // Of one the lookup was not seen, and one was dropped by the program of the target's group.
    learn(steer::UNSEEN, 1, 11);
    learn(steer::SK_LOOKUP, 0, 12);
    let bound = judge::bound(&target);
    let nobody = std::sync::Arc::from([]);
    assessor
        .picture
        .closed(&bound, &live(&target, 0), second(13), nobody);
    let Assessor {
        steered, picture, ..
    } = &assessor;
    assert!(steered.missing(&packet, second(14), picture).is_some());
}

#[test]
fn whose_closing_is_yet_to_be_read_is_there_until_then() {
    let mut assessor = Assessor::new(Expectations::default(), Algorithm::PortOnly);
    assessor.present(&inventory(&[1], &[(1, 10), (1, 11)]));
    let mut now = stock(&[1], &[(1, 12), (1, 13)]);
    now.announce(&Record::Close(record_of(1, 10)));
    now.announce(&Record::Listen(record_of(1, 12)));
    assessor.resync(&now);
    assert_eq!(
        alive(&mut assessor),
        [10, 13].into(),
        "11 closed without a record, 12 is yet to open"
    );
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
    assert!(!assessor.doubt.about(&said(Reason::WrongOwner), 9));
    assert!(assessor.doubt.about(&said(Reason::Unknown), 9));
    assessor.bury(&stock(&[1], &[]), 5);
    assert!(
        assessor.doubt.about(&said(Reason::Unknown), 9),
        "it was wrong"
    );
    assert!(!assessor.doubt.about(&said(Reason::LegacyOrder), 9));
    assert!(assessor.doubt.pending);
    assessor.doubt.pending = false;
    assessor.bury(&stock(&[1], &[]), 6);
    assert!(!assessor.doubt.about(&said(Reason::Unknown), 9));
    assert!(!assessor.doubt.about(&said(Reason::LegacyOrder), 9));
    assert!(!assessor.doubt.pending);
}
