//! What is known is kept for a while, and no more of it than a bound.

use super::*;

fn config(id: &str) -> String {
    format!("var/lib/docker/containers/{id}/config.v2.json")
}

#[test]
fn a_name_is_read_anew_after_a_while_and_a_missing_one_sooner() {
    let root = Root::new("ages");
    let mut containers = root.containers();
    let start = Instant::now();
    let just_before = |age: Duration| start + age.saturating_sub(Duration::from_nanos(1));
    assert_eq!(containers.tell(&asked(ID), start), Told::default());
    root.write(&config(ID), docker("/web", ""));
    let before = containers.tell(&asked(ID), just_before(NAMELESS_AGE));
    assert_eq!(before, Told::default());
    let found = start + NAMELESS_AGE;
    assert_eq!(containers.tell(&asked(ID), found), named("web"));
    root.write(&config(ID), docker("/renamed", ""));
    let before = found + NAMED_AGE.saturating_sub(Duration::from_nanos(1));
    assert_eq!(containers.tell(&asked(ID), before), named("web"));
    let after = found + NAMED_AGE;
    assert_eq!(containers.tell(&asked(ID), after), named("renamed"));
}

#[test]
fn half_a_name_is_looked_for_again_like_none() {
    let root = Root::new("half");
    let mut containers = root.containers();
    let start = Instant::now();
    root.write(&format!("var/log/pods/shop_web-1_{UID}/x"), "");
    assert_eq!(containers.tell(&in_pod(ID), start).name, None);
    root.write(&format!("var/log/containers/web-1_shop_web-{ID}.log"), "");
    let later = start + NAMELESS_AGE;
    assert_eq!(containers.tell(&in_pod(ID), later), web());
}

#[test]
fn those_that_nobody_asks_for_are_forgotten() {
    let root = Root::new("gone");
    let mut containers = root.containers();
    let start = Instant::now();
    let store = "var/lib/containers/storage/overlay-containers";
    let both = list(&[(ID, r#""web""#), (OTHER, r#""db""#)]);
    root.write(&format!("{store}/containers.json"), both);
    containers.tell(&asked(ID), start);
    containers.tell(&asked(OTHER), start);
    assert_eq!((containers.known.len(), containers.look.kept()), (2, 1));
    let later = start + Duration::from_secs(5);
    containers.tell(&asked(ID), later);
    containers.forget_before(later);
    assert!(containers.known.contains_key(&asked(ID)) && containers.known.len() == 1);
    containers.forget_before(later + Duration::from_secs(5));
    assert_eq!((containers.known.len(), containers.look.kept()), (0, 0));
}

#[test]
fn no_more_than_a_bound_are_kept() {
    let root = Root::new("bound");
    let mut containers = root.containers();
    let now = Instant::now();
    for number in 0..MOST_KEPT + 10 {
        containers.tell(&asked(&format!("{number:064x}")), now);
        assert!(containers.known.len() <= MOST_KEPT);
    }
    assert_eq!(containers.known.len(), 10);
}

#[test]
fn a_list_is_read_again_when_it_was_written_again() {
    let root = Root::new("list");
    let mut containers = root.containers();
    let start = Instant::now();
    let file = "var/lib/containers/storage/overlay-containers/containers.json";
    root.write(file, list(&[(ID, r#""web""#)]));
    assert_eq!(containers.tell(&asked(ID), start), named("web"));
    // As containers/storage does: another file takes its place.
    let new = format!("{file}.new");
    root.write(&new, list(&[(OTHER, r#""db""#), (ID, r#""renamed""#)]));
    fs::rename(root.at(&new), root.at(file)).expect("another file");
    assert_eq!(containers.tell(&asked(OTHER), start), named("db"));
    let later = start + NAMED_AGE;
    assert_eq!(containers.tell(&asked(ID), later), named("renamed"));
}
