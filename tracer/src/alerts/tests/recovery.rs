//! Which SYNs show that it is over.

use super::*;
use crate::event::{Event, Match, Via};
use made::listener;

/// What comes of an alert about the wrong SYN if this one comes three minutes later: it ends
/// at once, or when nothing wrong has come for a while, or that shows nothing.
fn after(wrong: &Event, right: &Event) -> Option<u64> {
    let settings = AlertSettings {
        on: vec![Kind {
            verdict: Some(wrong.verdict),
            reason: wrong.reason,
        }],
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::new(&settings);
    alerts.take(wrong, at(0));
    let mut notices = run(&mut alerts, 2 * MINUTE);
    // The last wrong one.
    alerts.take(wrong, at(2 * MINUTE));
    let now = at(3 * MINUTE);
    alerts.take(right, now);
    notices.extend(alerts.notices().map(|notice| (now.ktime_ns, notice)));
    notices.extend(run(&mut alerts, 10 * MINUTE));
    let mut ended = notices
        .iter()
        .filter(|(_, n)| n.occasion == Occasion::Ended);
    let (due_ns, notice) = ended.next()?;
    let recovered = matches!(
        notice.alert.state,
        State::Resolved {
            why: Resolution::Recovered,
            ..
        }
    );
    recovered.then_some(due_ns / MINUTE)
}

#[test]
fn a_listener_that_was_gone_is_back_with_its_first_syn() {
    let wrong = gap(1, at(0));
    assert_eq!(after(&wrong, &right(1, at(0))), Some(3));
    assert_eq!(after(&wrong, &right(2, at(0))), None, "another's");
    let mut elsewhere = right(1, at(0));
    elsewhere.netns = Arc::new(crate::event::Netns {
        inode: 5,
        cookie: None,
        name: None,
    });
    assert_eq!(after(&wrong, &elsewhere), None);
}

#[test]
fn that_nobody_is_expected_any_more_is_no_recovery() {
    let mut taken = right(1, at(0));
    taken.listener = Some(listener(0));
    taken.matched = Match::Wildcard;
    assert_eq!(after(&gap(1, at(0)), &taken), None);
}

#[test]
fn a_service_that_came_back_elsewhere_is_back() {
    let mut moved = gap(1, at(0));
    moved.verdict = Verdict::Ok;
    moved.reason = Some(Reason::Moved);
    assert_eq!(after(&gap(1, at(0)), &moved), Some(3));
    assert_eq!(after(&gap(2, at(0)), &moved), None);
}

#[test]
fn who_was_not_known_is_whoever_is_right_for_the_destination() {
    let mut wrong = wrong(1, Verdict::Uncovered, Reason::NotListening, at(0));
    wrong.expected = None;
    assert_eq!(after(&wrong, &right(1, at(0))), Some(3));
    assert_eq!(after(&wrong, &right(2, at(0))), None);
}

#[test]
fn a_syn_that_was_dropped_was_not_taken() {
    for reason in [Reason::AcceptOverflow, Reason::NotTaken] {
        let mut dropped = right(1, at(0));
        dropped.reason = Some(reason);
        assert_eq!(after(&gap(1, at(0)), &dropped), None);
    }
}

#[test]
fn where_some_are_right_all_the_time_they_show_it_only_in_time() {
    let by_cpu = wrong(1, Verdict::Misdirected, Reason::CpuAffinity, at(0));
    let same = right(1, at(0));
    let mut other_cpu = same.clone();
    other_cpu.cpu = 1;
    assert_eq!(after(&by_cpu, &same), Some(4));
    assert_eq!(after(&by_cpu, &other_cpu), None);

    let by_device = wrong(1, Verdict::Uncovered, Reason::DevMismatch, at(0));
    let mut other_device = same.clone();
    other_device.ifindex = 3;
    assert_eq!(after(&by_device, &same), Some(4));
    assert_eq!(after(&by_device, &other_device), None);
}

#[test]
fn the_right_owner_shows_it_at_the_same_listener() {
    let mut owner = wrong(1, Verdict::Misdirected, Reason::WrongOwner, at(0));
    owner.listener = Some(listener(1));
    owner.expected = None;
    assert_eq!(after(&owner, &right(1, at(0))), Some(4));
    let mut wildcard = right(1, at(0));
    wildcard.listener = Some(listener(0));
    assert_eq!(after(&owner, &wildcard), None);
}

#[test]
fn what_was_refused_is_taken_by_somebody() {
    let mut refused = wrong(1, Verdict::Refused, Reason::NoListener, at(0));
    refused.expected = None;
    assert_eq!(after(&refused, &right(1, at(0))), Some(4));
    assert_eq!(after(&refused, &right(2, at(0))), None);
}

#[test]
fn what_is_steered_on_purpose_is_right_and_ends_no_alert_about_that() {
    let mut steered = right(1, at(0));
    steered.verdict = Verdict::Steered;
    steered.reason = Some(Reason::SkAssign);
    steered.via = Via::SkAssign;
    let wrong = wrong(1, Verdict::Misdirected, Reason::SkAssign, at(0));
    assert_eq!(after(&wrong, &steered), Some(4));
    assert_eq!(after(&steered, &right(1, at(0))), Some(4));
    let mut by_rule = steered.clone();
    by_rule.reason = Some(Reason::Tproxy);
    assert_eq!(after(&by_rule, &steered), None);
}

#[test]
fn what_is_no_fault_ends_by_quiet_alone() {
    for reason in [Reason::CookieAck, Reason::Migrated, Reason::Moved] {
        let told = wrong(1, Verdict::Ok, reason, at(0));
        assert_eq!(after(&told, &right(1, at(0))), None, "{reason:?}");
    }
}

#[test]
fn what_is_an_alert_itself_may_show_that_another_is_over() {
    let settings = AlertSettings {
        on: vec![
            Kind::verdict(Verdict::Uncovered),
            Kind {
                verdict: Some(Verdict::Ok),
                reason: Some(Reason::Moved),
            },
        ],
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::new(&settings);
    alerts.take(&gap(1, at(0)), at(0));
    run(&mut alerts, 3 * MINUTE);
    let now = at(3 * MINUTE);
    let moved = wrong(1, Verdict::Ok, Reason::Moved, now);
    alerts.take(&moved, now);
    assert_eq!(occasions(&mut alerts), [Occasion::Began, Occasion::Ended]);
    assert_eq!(alerts.active(), 1);
    assert_eq!(after(&moved, &moved), None, "it does not end its own");
}

#[test]
fn what_is_steered_ends_another_alert_and_none_of_its_kind() {
    let mut steered = wrong(1, Verdict::Steered, Reason::SkAssign, at(0));
    steered.via = Via::SkAssign;
    let settings = AlertSettings {
        on: vec![
            Kind::verdict(Verdict::Misdirected),
            Kind::verdict(Verdict::Steered),
        ],
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::new(&settings);
    let misdirected = wrong(1, Verdict::Misdirected, Reason::SkAssign, at(0));
    alerts.take(&misdirected, at(0));
    let now = at(3 * MINUTE);
    run(&mut alerts, now.ktime_ns);
    alerts.take(&steered, now);
    let ended = alerts.notices().find(|n| n.occasion == Occasion::Ended);
    let ended = ended.expect("nothing wrong came for two minutes");
    assert_eq!(situation(&ended.alert).verdict, Verdict::Misdirected);
    assert_eq!(after(&steered, &steered), None);
}
