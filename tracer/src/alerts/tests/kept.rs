//! What outlives a restart.

use super::*;
use crate::event::{Event, Netns, Other, Owner};
use state::{MAX_BYTES, State as Saved, StateError};

const YEAR: i64 = 365 * 24 * 3600 * 1_000_000_000;

fn restarted(alerts: &Alerts, now: Now) -> Alerts {
    let text = alerts.save().to_text();
    let state = Saved::from_text(&text).expect("as it was written");
    assert_eq!(state, alerts.save());
    Alerts::restore(&AlertSettings::default(), state, now)
}

#[test]
fn an_alert_that_goes_on_does_not_begin_again() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    alerts.take(&gap(1, at(SECOND)), at(SECOND));
    // Another boot: that clock began anew.
    let now = Now {
        ktime_ns: SECOND,
        wall: at(40 * SECOND).wall,
    };
    let mut alerts = restarted(&alerts, now);
    assert_eq!(alerts.notices().len(), 0);
    alerts.take(&gap(1, now), now);
    assert_eq!(alerts.notices().len(), 0);
    let alert = alerts.alerts().next().expect("it lasts");
    assert_eq!((alert.since, alert.count), (at(0).wall, 3));
    assert_eq!(alert.last, now.wall);
}

#[test]
fn it_is_told_when_it_was_due_and_ends_by_quiet() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    let now = at(40 * SECOND);
    let mut alerts = restarted(&alerts, now);
    let notices = run(&mut alerts, 30 * MINUTE);
    let first = notices.first().map(|(due_ns, n)| (*due_ns, n.occasion));
    assert_eq!(first, Some((MINUTE, Occasion::Lasts)));
    let ended = notices.iter().find(|(_, n)| n.occasion == Occasion::Ended);
    assert_eq!(
        ended.map(|(due_ns, _)| *due_ns),
        Some(5 * MINUTE + now.ktime_ns)
    );
}

#[test]
fn one_that_is_over_is_still_told_so() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    run(&mut alerts, 6 * MINUTE);
    let mut alerts = restarted(&alerts, at(10 * MINUTE));
    assert_eq!(alerts.active(), 0);
    let notices = run(&mut alerts, 60 * MINUTE);
    let times: Vec<u64> = notices.iter().map(|(due_ns, _)| due_ns / MINUTE).collect();
    assert_eq!(times, (10..20).collect::<Vec<_>>());
    assert!(
        notices
            .iter()
            .all(|(_, n)| n.occasion == Occasion::OverStill)
    );
}

#[test]
fn a_clock_that_was_set_neither_ends_it_nor_keeps_it() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    alerts.take(&gap(2, at(0)), at(0));
    run(&mut alerts, 2 * MINUTE);
    alerts.take(&right(2, at(2 * MINUTE)), at(2 * MINUTE));
    for years in [-200, -1, 1, 200] {
        let now = Now {
            ktime_ns: 3 * MINUTE,
            wall: Time(at(0).wall.0 + years * YEAR),
        };
        let mut alerts = restarted(&alerts, now);
        alerts.timeout(now);
        assert_eq!(alerts.active(), 1, "{years}");
        run(&mut alerts, 8 * MINUTE - 1);
        assert_eq!(alerts.active(), 1, "{years}");
        run(&mut alerts, 8 * MINUTE);
        assert_eq!(alerts.active(), 0, "{years}");
        run(&mut alerts, 23 * MINUTE);
        assert_eq!(alerts.next_timeout(), None, "{years}");
    }
}

#[test]
fn what_is_no_alert_by_new_settings_ends() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    let settings = AlertSettings {
        on: Vec::new(),
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::restore(&settings, alerts.save(), at(MINUTE));
    let notices = run(&mut alerts, 3 * MINUTE);
    let (due_ns, ended) = notices.last().expect("it ends");
    assert_eq!((*due_ns, ended.occasion), (3 * MINUTE, Occasion::Ended));
    assert!(matches!(
        ended.alert.state,
        State::Resolved {
            why: Resolution::Reconfigured,
            ..
        }
    ));
}

#[test]
fn all_that_lasted_go_on_even_if_fewer_are_allowed_now() {
    let mut alerts = fresh();
    for last in 1..=9 {
        alerts.take(&gap(last, at(0)), at(0));
    }
    let settings = AlertSettings {
        max_active: 4,
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::restore(&settings, alerts.save(), at(SECOND));
    assert_eq!(alerts.active(), 9);
    alerts.take(&gap(10, at(SECOND)), at(SECOND));
    assert_eq!(alerts.suppressed(), 1, "there is no room for another");
}

#[test]
fn whatever_is_damaged_is_refused() {
    let mut alerts = fresh();
    alerts.take(&gap(1, at(0)), at(0));
    let text = alerts.save().to_text();
    for end in 0..text.len() {
        assert!(Saved::from_text(&text[..end]).is_err(), "{end}");
    }
    for place in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[place] ^= 1;
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert!(Saved::from_text(&changed).is_err(), "{changed}");
    }
    let longer = "x".repeat(MAX_BYTES + 1);
    assert_eq!(Saved::from_text(&longer), Err(StateError::TooLong));
    assert_eq!(Saved::from_text(""), Err(StateError::Foreign));
}

#[test]
fn another_version_is_named() {
    let text = fresh().save().to_text();
    let later = text.replacen(" 2 ", " 3 ", 1);
    let error = Saved::from_text(&later).expect_err("not this version");
    assert_eq!(
        error.to_string(),
        "it is of version 3, and this sockpick reads version 2"
    );
}

#[test]
fn what_has_the_checksum_and_no_sense_is_refused() {
    let body = r#"{"alerts":[{"alert":7}]}"#;
    let text = format!(
        "sockpick-alerts 2 {:08x}\n{body}\n",
        crc32fast::hash(body.as_bytes())
    );
    let error = Saved::from_text(&text).expect_err("a number is no alert");
    assert!(matches!(error, StateError::Malformed(_)), "{error}");
}

#[test]
fn what_is_written_has_a_bound() {
    let owner = |pid| Owner {
        pid,
        comm: "worker".into(),
        exe: Some("/".repeat(4095)),
        ..Owner::default()
    };
    let owners: Arc<[Owner]> = (1..100).map(owner).collect();
    let mut alerts = fresh();
    for last in 1..=250 {
        let mut event = gap(last, at(0));
        event.listener.as_mut().expect("the wildcard").owners = owners.clone();
        expected(&mut event).owners = owners.clone();
        alerts.take(&event, at(0));
    }
    let text = alerts.save().to_text();
    assert!(text.len() <= MAX_BYTES);
    let state = Saved::from_text(&text).expect("as it was written");
    assert_eq!(state.len(), 250);
}

fn expected(event: &mut Event) -> &mut Other {
    let expected = event.expected.as_mut().and_then(|it| it.listener.as_mut());
    expected.expect("a listener")
}

/// With long names, and addresses than which none is longer.
fn of_ipv6(number: u16, now: Now) -> Event {
    let address = format!("2001:db8:1111:2222:3333:4444:5555:{number:04x}");
    let address = address.parse().expect("an address");
    let mut event = gap(1, now);
    event.destination.address = address;
    event.client.address = address;
    event.client.port = 65_535;
    event.netns = Arc::new(Netns {
        inode: 4,
        cookie: None,
        name: Some("n".repeat(64)),
    });
    if let Some(expected) = &mut event.expected {
        expected.service = Some("s".repeat(64).into());
    }
    let expected = expected(&mut event);
    (expected.address, expected.closed) = (address, Some(now.wall));
    expected.device = Some("d".repeat(15).into());
    event
}

#[test]
fn as_many_as_may_be_configured_fit_and_as_many_that_are_over() {
    let most = *AlertSettings::MAX_ACTIVE.end();
    let settings = AlertSettings {
        max_active: most,
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::new(&settings);
    let number = u16::try_from(most).expect("not that many");
    for over in 0..number {
        alerts.take(&of_ipv6(over, at(0)), at(0));
    }
    run(&mut alerts, 5 * MINUTE);
    // One past them, for the overflow's.
    let now = at(6 * MINUTE);
    for firing in number..=2 * number {
        alerts.take(&of_ipv6(firing, now), now);
    }
    let state = alerts.save();
    assert_eq!(state.len(), 2 * most + 1);
    let text = state.to_text();
    let read = Saved::from_text(&text).expect("as it was written");
    assert_eq!(read.len(), state.len(), "none is left out");
    assert!(read == state);
}
