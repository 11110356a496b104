//! A group whose members starve is an alert from the first look that shows it until they are fed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::pipeline::{GroupBalance, Is};
use made::starving;

fn settings() -> AlertSettings {
    AlertSettings {
        on_groups: true,
        ..AlertSettings::default()
    }
}

fn is(netns: &str, is: Is) -> GroupBalance {
    GroupBalance {
        is,
        ..starving(netns)
    }
}

fn name(notice: &Notice) -> String {
    match &notice.alert.identity {
        Identity::Group(place) => place.netns.clone(),
        other => panic!("{other:?}"),
    }
}

fn look(alerts: &mut Alerts, groups: &[GroupBalance], minute: u64) -> Vec<(Occasion, String)> {
    alerts.balance(groups, at(minute * MINUTE));
    let notices = alerts.notices();
    notices.map(|one| (one.occasion, name(&one))).collect()
}

#[test]
fn it_begins_with_the_first_look_and_ends_when_all_are_fed() {
    let mut alerts = Alerts::new(&settings());
    let both = [starving("a"), starving("b"), is("c", Is::Even)];
    let began = [
        (Occasion::Began, "a".to_owned()),
        (Occasion::Began, "b".to_owned()),
    ];
    assert_eq!(look(&mut alerts, &both, 1), began);
    assert_eq!(look(&mut alerts, &both, 2), []);
    // Of a group that a look says nothing of nothing is known.
    assert_eq!(look(&mut alerts, &[], 3), []);
    let ended = [(Occasion::Ended, "a".to_owned())];
    assert_eq!(look(&mut alerts, &[is("a", Is::Even)], 4), ended);
    let ended = [(Occasion::Ended, "b".to_owned())];
    assert_eq!(look(&mut alerts, &[is("b", Is::Gone)], 5), ended);
    assert_eq!((alerts.active(), alerts.totals().sum()), (0, 0));
}

#[test]
fn it_ends_by_quiet_only_after_a_window_that_says_nothing() {
    let quiet = AlertSettings {
        resend: Duration::from_secs(10),
        quiet: Duration::from_secs(10),
        ..settings()
    };
    let mut alerts = Alerts::new(&quiet);
    look(&mut alerts, &[starving("a")], 1);
    let notices = run(&mut alerts, 11 * MINUTE - SECOND);
    assert!(notices.iter().all(|(_, n)| n.occasion == Occasion::Lasts));
    let notices = run(&mut alerts, 11 * MINUTE);
    let ended: Vec<_> = notices
        .iter()
        .filter(|(_, n)| n.occasion == Occasion::Ended)
        .collect();
    let [(_, notice)] = ended[..] else {
        panic!("{ended:?}");
    };
    let State::Resolved { why, .. } = notice.alert.state else {
        panic!("{notice:?}");
    };
    assert_eq!(why, Resolution::Quiet);
}

#[test]
fn it_is_an_alert_only_if_the_settings_say_so() {
    let mut alerts = fresh();
    assert_eq!(look(&mut alerts, &[starving("a")], 1), []);
    alerts.reconfigure(&settings(), at(MINUTE));
    assert_eq!(look(&mut alerts, &[starving("a")], 2).len(), 1);
    let text = alerts.save().to_text();
    let saved = state::State::from_text(&text).expect("what was written");
    assert_eq!(saved, alerts.save());
    let mut restored = Alerts::restore(&settings(), saved, at(9 * MINUTE));
    assert_eq!(look(&mut restored, &[starving("a")], 9), []);
    assert_eq!(restored.active(), 1);
    restored.reconfigure(&AlertSettings::default(), at(12 * MINUTE));
    let notice = restored.notices().next().expect("it is over");
    let resolved = State::Resolved {
        at: at(12 * MINUTE).wall,
        why: Resolution::Reconfigured,
    };
    assert_eq!(notice.alert.state, resolved);
}

#[test]
fn groups_of_two_users_that_are_bound_alike_are_one_alert() {
    let mut alerts = Alerts::new(&settings());
    for minute in 1..9 {
        let looks = [is("a", Is::Even), starving("a"), is("a", Is::Even)];
        let notices = look(&mut alerts, &looks, minute);
        assert_eq!(notices.len(), usize::from(minute == 1));
    }
}

proptest! {
    /// Whatever looks find, and however much time is between them: of each group an alert begins
    /// and ends in turn, it begins with a look that shows it, and lasts while looks do.
    #[test]
    fn each_begins_once_and_ends_once(
        looks in prop::collection::vec(
            (1..20_u64, prop::collection::vec(0..4_u8, 3)), 0..80,
        ),
        max_active in 1..4_usize,
    ) {
        let names = ["a", "b", "c"];
        let mut alerts = Alerts::new(&AlertSettings { max_active, ..settings() });
        let mut now = 0;
        // By name: since when it lasts, and when it was seen to starve last.
        let mut lasts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (minutes, states) in looks {
            now += minutes * MINUTE;
            alerts.timeout(at(now));
            let groups: Vec<GroupBalance> = names.iter().zip(&states).filter_map(|(name, state)| {
                Some(match state {
                    0 => is(name, Is::Even),
                    1 => starving(name),
                    2 => is(name, Is::Gone),
                    _ => return None,
                })
            }).collect();
            let seen: Vec<&str> = names.iter().zip(&states)
                .filter(|(_, state)| **state == 1)
                .map(|(name, _)| *name)
                .collect();
            alerts.balance(&groups, at(now));
            for notice in alerts.notices() {
                let name = name(&notice);
                match notice.occasion {
                    Occasion::Began => {
                        prop_assert!(seen.contains(&&*name));
                        let before = lasts.insert(name, (now, now));
                        prop_assert!(before.is_none());
                    }
                    Occasion::Ended => {
                        let (since, _) = lasts.remove(&name).expect("it began");
                        prop_assert!(now - since >= 2 * MINUTE);
                    }
                    Occasion::Lasts => prop_assert!(lasts.contains_key(&name)),
                    Occasion::OverStill => prop_assert!(!lasts.contains_key(&name)),
                }
            }
            for name in seen {
                match lasts.get_mut(name) {
                    Some((_, last)) => *last = now,
                    None => prop_assert!(alerts.active() >= max_active, "there was no room"),
                }
            }
            prop_assert_eq!(alerts.active(), lasts.len());
            prop_assert!(lasts.len() <= max_active);
        }
        // Nothing is said of any any more: all end.
        now += 11 * MINUTE;
        alerts.timeout(at(now));
        prop_assert_eq!(alerts.active(), 0);
    }
}
