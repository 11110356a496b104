//! What is told of alerts, and when.

mod bad_input;
mod found;
mod groups;
mod kept;
mod made;
mod properties;
mod recovery;
mod sight;

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    event::{Endpoint, Reason, Time, Verdict},
    settings::{AlertSettings, feed::Kind},
};
use made::{MINUTE, SECOND, at, gap, occasions, right, run, situation, told, wrong};

fn fresh() -> Alerts {
    Alerts::new(&AlertSettings::default())
}

#[test]
fn the_first_syn_tells_and_the_rest_are_counted() {
    let mut alerts = fresh();
    alerts.take(&right(1, at(0)), at(0));
    assert_eq!((alerts.next_timeout(), alerts.active()), (None, 0));
    alerts.take(&gap(1, at(SECOND)), at(SECOND));
    let notice = alerts.notices().next().expect("it began");
    assert_eq!(notice.occasion, Occasion::Began);
    assert_eq!(notice.valid_ns, 4 * MINUTE);
    let identity = situation(&notice.alert);
    assert_eq!(identity.netns, "4");
    assert_eq!(identity.expected.as_deref(), Some("6.6.6.1:80"));
    assert_eq!(identity.listener.as_deref(), Some("*:80"));
    alerts.take(&gap(1, at(9 * SECOND)), at(9 * SECOND));
    assert_eq!(alerts.notices().len(), 0);
    assert_eq!(alerts.next_timeout(), Some(61 * SECOND));
    alerts.timeout(at(61 * SECOND));
    let notice = alerts.notices().next().expect("it lasts");
    assert_eq!(notice.occasion, Occasion::Lasts);
    let alert = &notice.alert;
    assert_eq!(
        (alert.since, alert.last),
        (at(SECOND).wall, at(9 * SECOND).wall)
    );
    assert_eq!(
        (alert.count, alert.sample().map(|sample| sample.time)),
        (2, Some(alert.last))
    );
}

#[test]
fn it_is_over_when_the_listener_is_back_but_not_before_two_minutes() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    alerts.take(&right(1, at(SECOND)), at(SECOND));
    let notices = run(&mut alerts, 3 * MINUTE);
    let ended: Vec<_> = notices
        .iter()
        .filter(|(_, notice)| notice.occasion == Occasion::Ended)
        .collect();
    let [(due_ns, notice)] = ended[..] else {
        panic!("{ended:?}")
    };
    assert_eq!(*due_ns, 2 * MINUTE);
    let over = State::Resolved {
        at: at(2 * MINUTE).wall,
        why: Resolution::Recovered,
    };
    assert_eq!(notice.alert.state, over);
}

#[test]
fn after_two_minutes_it_is_over_at_once() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    alerts.take(&gap(2, at(0)), at(0));
    run(&mut alerts, 2 * MINUTE);
    let now = at(2 * MINUTE + SECOND);
    alerts.take(&right(1, now), now);
    assert_eq!(
        told(&mut alerts),
        [(Occasion::Ended, Some("6.6.6.1:80".into()))]
    );
    assert_eq!(alerts.active(), 1);
}

#[test]
fn another_wrong_syn_and_it_goes_on() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    alerts.take(&right(1, at(SECOND)), at(SECOND));
    alerts.take(&gap(1, at(MINUTE)), at(MINUTE));
    let notices = run(&mut alerts, 5 * MINUTE);
    let lasts = |(_, notice): &(u64, Notice)| notice.occasion == Occasion::Lasts;
    assert!(notices.iter().skip(1).all(lasts), "{notices:?}");
    assert_eq!(alerts.active(), 1);
}

#[test]
fn without_syns_it_is_over_after_the_quiet_time_and_forgotten_later() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    let notices = run(&mut alerts, 60 * MINUTE);
    let at_minute = |wanted: Occasion| -> Vec<u64> {
        let of = notices
            .iter()
            .filter(|(_, notice)| notice.occasion == wanted);
        of.map(|(due_ns, _)| due_ns / MINUTE).collect()
    };
    assert_eq!(at_minute(Occasion::Lasts), [1, 2, 3, 4]);
    assert_eq!(at_minute(Occasion::Ended), [5]);
    assert_eq!(at_minute(Occasion::OverStill), (6..20).collect::<Vec<_>>());
    assert_eq!(alerts.next_timeout(), None);
    assert!(alerts.save().is_empty());
}

#[test]
fn what_comes_again_is_another_alert() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    run(&mut alerts, 7 * MINUTE);
    let now = at(8 * MINUTE);
    alerts.take(&gap(1, now), now);
    let began = alerts.notices().next_back().expect("it began");
    assert_eq!(
        (began.occasion, began.alert.since),
        (Occasion::Began, now.wall)
    );
    assert_eq!(began.alert.count, 1);
    let notices = run(&mut alerts, 12 * MINUTE);
    assert!(notices.iter().all(|(_, n)| n.occasion == Occasion::Lasts));
}

#[test]
fn what_is_an_alert_is_for_the_settings_to_say() {
    let refused = |now| wrong(1, Verdict::Refused, Reason::NoListener, now);
    let mut alerts = fresh();
    alerts.take(&refused(at(0)), at(0));
    assert_eq!(alerts.active(), 0);
    let mut settings = AlertSettings::default();
    settings.on.push(Kind {
        verdict: Some(Verdict::Refused),
        reason: Some(Reason::NoListener),
    });
    alerts.reconfigure(&settings, at(SECOND));
    alerts.take(&refused(at(SECOND)), at(SECOND));
    alerts.take(&gap(1, at(SECOND)), at(SECOND));
    assert_eq!(
        alerts
            .alerts()
            .filter(|a| situation(a).listener.is_none())
            .count(),
        1
    );
    assert_eq!(occasions(&mut alerts), [Occasion::Began; 2]);
    run(&mut alerts, 4 * MINUTE);
    alerts.reconfigure(&AlertSettings::default(), at(4 * MINUTE));
    let ended = alerts.notices().next().expect("it is no alert any more");
    assert_eq!(situation(&ended.alert).verdict, Verdict::Refused);
    assert!(matches!(
        ended.alert.state,
        State::Resolved {
            why: Resolution::Reconfigured,
            ..
        }
    ));
    assert_eq!(alerts.active(), 1);
}

#[test]
fn new_times_hold_for_alerts_that_go_on() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    run(&mut alerts, MINUTE);
    let settings = AlertSettings {
        resend: Duration::from_secs(10),
        quiet: Duration::from_mins(30),
        ..AlertSettings::default()
    };
    alerts.reconfigure(&settings, at(MINUTE + SECOND));
    assert_eq!(alerts.next_timeout(), Some(MINUTE + 10 * SECOND));
    run(&mut alerts, 20 * MINUTE);
    assert_eq!(alerts.active(), 1);
}

#[test]
fn past_the_bound_one_alert_counts_for_the_others() {
    let settings = AlertSettings {
        max_active: 2,
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::new(&settings);
    for last in 1..=5 {
        alerts.take(&gap(last, at(0)), at(0));
    }
    assert_eq!((alerts.active(), alerts.suppressed()), (3, 3));
    assert_eq!(alerts.totals().sum(), 5);
    let is_overflow = |alert: &Alert| alert.identity == Identity::Overflow;
    let overflow = alerts.alerts().find(|alert| is_overflow(alert));
    assert_eq!(overflow.map(|alert| alert.count), Some(3));
    // There is room from the second minute on, and nothing was suppressed since.
    alerts.take(&gap(2, at(MINUTE)), at(MINUTE));
    alerts.take(&right(1, at(MINUTE)), at(MINUTE));
    let notices = run(&mut alerts, 5 * MINUTE);
    let ended = notices
        .iter()
        .filter(|(_, n)| n.occasion == Occasion::Ended);
    let ended: Vec<_> = ended
        .map(|(due_ns, n)| (due_ns / MINUTE, is_overflow(&n.alert)))
        .collect();
    assert_eq!(ended, [(2, false), (2, true)]);
    assert_eq!(alerts.active(), 1);
}

#[test]
fn where_nothing_was_suppressed_for_long_the_overflow_ends_with_the_first_room() {
    let settings = AlertSettings {
        max_active: 1,
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::new(&settings);
    alerts.take(&gap(1, at(0)), at(0));
    alerts.take(&gap(2, at(0)), at(0));
    run(&mut alerts, 3 * MINUTE);
    let now = at(3 * MINUTE);
    alerts.take(&gap(1, now), now);
    alerts.take(&right(1, now), now);
    assert_eq!(occasions(&mut alerts), [Occasion::Ended; 2]);
    assert_eq!(alerts.active(), 0);
}

#[test]
fn syns_alone_are_nothing_to_write_down() {
    let mut alerts = fresh();
    let before = alerts.generation();
    alerts.take(&gap(1, at(0)), at(0));
    let began = alerts.generation();
    assert_ne!(began, before);
    alerts.take(&gap(1, at(SECOND)), at(SECOND));
    alerts.take(&right(2, at(SECOND)), at(SECOND));
    assert_eq!(alerts.generation(), began);
    alerts.timeout(at(MINUTE));
    assert_ne!(alerts.generation(), began);
}

#[test]
fn rows_of_totals_are_bounded() {
    let mut totals = totals::Totals::default();
    let situation = |number: usize| Situation {
        service: Some(number.to_string()),
        ..Situation::of(&gap(1, at(0)))
    };
    for number in 0..totals::MAX_ROWS + 7 {
        totals.count(&situation(number));
        totals.count(&situation(0));
    }
    assert_eq!(totals.rows().count(), totals::MAX_ROWS);
    assert_eq!(totals.others(), 7);
    assert_eq!(totals.sum(), 2 * (totals::MAX_ROWS as u64 + 7));
}
