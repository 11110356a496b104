mod machine;
mod replay;
mod rig;

use proptest::prelude::*;

use super::*;
use crate::{event::Reason, pipeline::End};
use rig::{Rig, Step, step};

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
