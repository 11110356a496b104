//! What a look finds is an alert for as long as it is found.

use super::*;
use crate::audit::{Finding, Severity};
use made::found;

fn occasions_of(alerts: &mut Alerts) -> Vec<(Occasion, String)> {
    let id = |notice: &Notice| match &notice.alert.identity {
        Identity::Finding(found) => found.id.clone(),
        other => panic!("{other:?}"),
    };
    let notices = alerts.notices();
    notices.map(|n| (n.occasion, id(&n))).collect()
}

fn look(alerts: &mut Alerts, findings: &[Finding], minute: u64) -> Vec<(Occasion, String)> {
    let now = at(minute * MINUTE);
    alerts.found(findings, now);
    occasions_of(alerts)
}

#[test]
fn it_begins_with_the_first_look_and_ends_with_the_first_without_it() {
    let mut alerts = fresh();
    let both = [found("a"), found("b")];
    let began = [
        (Occasion::Began, "a".to_owned()),
        (Occasion::Began, "b".to_owned()),
    ];
    assert_eq!(look(&mut alerts, &both, 0), began);
    assert_eq!(look(&mut alerts, &both, 5), []);
    run(&mut alerts, 60 * MINUTE);
    assert_eq!(alerts.active(), 2, "not by quiet");
    let ended = [(Occasion::Ended, "b".to_owned())];
    assert_eq!(look(&mut alerts, &both[..1], 61), ended);
    let alert = alerts.alerts().next().expect("one lasts");
    assert_eq!((alert.count, alert.since), (3, at(0).wall));
    assert_eq!((alerts.totals().sum(), alerts.suppressed()), (0, 0));
}

#[test]
fn one_look_without_it_in_the_first_two_minutes_does_not_end_it() {
    let mut alerts = fresh();
    look(&mut alerts, &[found("a")], 0);
    assert_eq!(look(&mut alerts, &[], 1), []);
    assert_eq!(look(&mut alerts, &[found("a")], 1), []);
    let notices = run(&mut alerts, 9 * MINUTE);
    assert!(notices.iter().all(|(_, n)| n.occasion == Occasion::Lasts));
}

#[test]
fn what_is_only_worth_knowing_is_no_alert_and_what_turns_worse_is_another() {
    let mut alerts = fresh();
    let of = |severity| Finding {
        severity,
        ..found("a")
    };
    assert_eq!(look(&mut alerts, &[of(Severity::Info)], 0), []);
    look(&mut alerts, &[of(Severity::Warning)], 1);
    let notices = look(&mut alerts, &[of(Severity::Critical)], 4);
    let occasions: Vec<Occasion> = notices.into_iter().map(|(occasion, _)| occasion).collect();
    assert_eq!(occasions, [Occasion::Began, Occasion::Ended]);
}

#[test]
fn what_has_no_room_is_counted_and_takes_none_from_others() {
    let settings = AlertSettings {
        max_active: 2,
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::new(&settings);
    alerts.sight(Sight::Untraced("why".into()), at(0));
    let all: Vec<Finding> = ["a", "b", "c", "d"].map(found).into();
    assert_eq!(alerts.found(&all, at(0)), 2);
    assert_eq!((alerts.active(), alerts.suppressed()), (3, 2));
    let later: Vec<Finding> = ["x", "a", "b"].map(found).into();
    assert_eq!(
        alerts.found(&later, at(MINUTE)),
        1,
        "what lasts keeps its room"
    );
}

#[test]
fn they_outlive_a_restart_and_end_where_nobody_looks_any_more() {
    let mut alerts = fresh();
    look(&mut alerts, &[found("a")], 0);
    let state = state::State::from_text(&alerts.save().to_text()).expect("as it was written");
    let settings = AlertSettings {
        on: Vec::new(),
        ..AlertSettings::default()
    };
    let mut alerts = Alerts::restore(&settings, state, at(5 * MINUTE));
    assert_eq!(look(&mut alerts, &[found("a")], 5), [], "it goes on");
    assert_eq!(alerts.active(), 1);
    alerts.unlooked(at(8 * MINUTE));
    let ended = alerts.notices().next().expect("it ends");
    let why = Resolution::Reconfigured;
    let over = State::Resolved {
        at: at(8 * MINUTE).wall,
        why,
    };
    assert_eq!(ended.alert.state, over);
}
