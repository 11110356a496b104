//! That sockpick does not see is an alert with a life of its own.

use super::*;

fn blind(alerts: &mut Alerts, now: Now) {
    let why = "its SYN was not seen".to_owned();
    alerts.sight(Sight::Blind(why), now);
}

fn ended(notices: &[(u64, Notice)]) -> Vec<(u64, State)> {
    let ended = notices
        .iter()
        .filter(|(_, n)| n.occasion == Occasion::Ended);
    ended
        .map(|(due_ns, n)| (due_ns / MINUTE, n.alert.state))
        .collect()
}

fn over(minute: u64, why: Resolution) -> (u64, State) {
    let at = at(minute * MINUTE).wall;
    (minute, State::Resolved { at, why })
}

#[test]
fn the_first_check_that_fails_tells_and_the_rest_are_counted() {
    let mut alerts = fresh();
    blind(&mut alerts, at(0));
    blind(&mut alerts, at(MINUTE / 2));
    let notices: Vec<Notice> = alerts.notices().collect();
    let [notice] = &notices[..] else {
        panic!("{notices:?}")
    };
    assert_eq!(notice.occasion, Occasion::Began);
    assert_eq!(notice.alert.identity, Identity::Blind);
    let alert = alerts.alerts().next().expect("it lasts");
    assert_eq!((alert.count, alert.since), (2, at(0).wall));
    assert_eq!(alert.sample(), None);
    assert_eq!((alerts.totals().sum(), alerts.suppressed()), (0, 0));
}

#[test]
fn it_ends_by_a_check_that_passes_and_not_by_quiet() {
    let mut alerts = fresh();
    blind(&mut alerts, at(0));
    let notices = run(&mut alerts, 60 * MINUTE);
    let lasts = |(_, n): &(u64, Notice)| n.occasion == Occasion::Lasts;
    assert_eq!(notices.iter().filter(|it| lasts(it)).count(), 60);
    assert_eq!(notices.len(), 61);
    // No SYN ends it, whatever it shows of others.
    let now = at(61 * MINUTE);
    alerts.take(&right(1, now), now);
    assert_eq!(alerts.active(), 1);
    alerts.sight(Sight::Sees, now);
    let notices: Vec<_> = alerts.notices().map(|n| (now.ktime_ns, n)).collect();
    assert_eq!(ended(&notices), [over(61, Resolution::Recovered)]);
    alerts.sight(Sight::Sees, now);
    assert_eq!(alerts.notices().len(), 0);
    assert_eq!(alerts.active(), 0);
}

#[test]
fn it_lives_two_minutes_and_another_failure_has_it_go_on() {
    let mut alerts = fresh();
    blind(&mut alerts, at(0));
    alerts.sight(Sight::Sees, at(SECOND));
    blind(&mut alerts, at(MINUTE));
    assert_eq!(ended(&run(&mut alerts, 9 * MINUTE)), []);
    alerts.sight(Sight::Sees, at(9 * MINUTE));
    assert_eq!(occasions(&mut alerts), [Occasion::Ended]);
    blind(&mut alerts, at(10 * MINUTE));
    alerts.sight(Sight::Sees, at(10 * MINUTE));
    let notices = run(&mut alerts, 12 * MINUTE);
    assert_eq!(ended(&notices), [over(12, Resolution::Recovered)]);
}

#[test]
fn without_checks_it_ends_and_no_other_settings_keep_it() {
    let mut alerts = fresh();
    blind(&mut alerts, at(0));
    alerts.sight(Sight::Unchecked, at(SECOND));
    let settings = AlertSettings {
        on: Vec::new(),
        ..AlertSettings::default()
    };
    alerts.reconfigure(&settings, at(2 * SECOND));
    let notices = run(&mut alerts, 3 * MINUTE);
    assert_eq!(ended(&notices), [over(2, Resolution::Reconfigured)]);
}

#[test]
fn no_bound_and_no_settings_keep_it_from_being_told() {
    let settings = AlertSettings {
        on: vec![Kind::verdict(Verdict::Uncovered)],
        max_active: 1,
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::new(&settings);
    for last in 1..4 {
        alerts.take(&gap(last, at(0)), at(0));
    }
    blind(&mut alerts, at(0));
    alerts.reconfigure(&settings, at(SECOND));
    assert_eq!(alerts.active(), 3, "one, the overflow's, and this");
    assert_eq!(alerts.suppressed(), 2);
}

#[test]
fn it_outlives_a_restart_and_ends_when_the_new_run_sees() {
    let mut alerts = fresh();
    blind(&mut alerts, at(0));
    let state = state::State::from_text(&alerts.save().to_text()).expect("as it was written");
    let now = at(10 * MINUTE);
    let mut alerts = Alerts::restore(&AlertSettings::default(), state, now);
    blind(&mut alerts, now);
    let alert = alerts.alerts().next().expect("it lasts");
    assert_eq!((alert.count, alert.since), (2, at(0).wall));
    assert_eq!(alerts.notices().len(), 0, "it does not begin again");
    alerts.sight(Sight::Sees, now);
    let notices = run(&mut alerts, 12 * MINUTE);
    assert_eq!(ended(&notices), [over(12, Resolution::Recovered)]);
}

#[test]
fn that_it_cannot_trace_is_another_alert_and_ends_the_first() {
    let mut alerts = fresh();
    blind(&mut alerts, at(0));
    run(&mut alerts, 3 * MINUTE);
    let now = at(3 * MINUTE);
    alerts.sight(Sight::Untraced("locked down".into()), now);
    let told: Vec<_> = alerts.notices().collect();
    let told = told.iter().map(|n| (n.occasion, &n.alert.identity));
    let told: Vec<_> = told.collect();
    let expected = [
        (Occasion::Began, &Identity::Untraced),
        (Occasion::Ended, &Identity::Blind),
    ];
    assert_eq!(told, expected);
    // The next run traces, and does not see.
    blind(&mut alerts, at(9 * MINUTE));
    let identities: Vec<_> = alerts.alerts().map(|alert| &alert.identity).collect();
    assert_eq!(identities, [&Identity::Blind]);
}
