//! What is kept between lines never shows: JSON is what serde writes, and a row of the table is
//! what it is when it comes alone.

mod made_up;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use sockpick::event::{Event, Item};
use sockpick::sinks::{Sink, table::Table};

use made_up::{any_event, lines, parts};

/// Ways of [`change`].
const CHANGES: usize = 18;

/// Has one thing of an event be as with another.
fn change(event: &mut Event, donor: &Event, what: usize) {
    match what {
        0 => (event.time, event.ktime_ns, event.cpu) = (donor.time, donor.ktime_ns, donor.cpu),
        1 => event.client = donor.client,
        2 => event.destination = donor.destination,
        3 => event.netns.clone_from(&donor.netns),
        4 => event.ifname.clone_from(&donor.ifname),
        5 => event.ifindex = donor.ifindex,
        6 => event.via = donor.via,
        7 => (event.verdict, event.reason) = (donor.verdict, donor.reason),
        8 => event.reuseport = donor.reuseport,
        9 => event.steered_by.clone_from(&donor.steered_by),
        10 => event.expected.clone_from(&donor.expected),
        11 => event.candidates.clone_from(&donor.candidates),
        12 => {
            event.listener.clone_from(&donor.listener);
            event.matched = donor.matched;
        }
        _ => {
            if let (Some(chosen), Some(other)) = (&mut event.listener, &donor.listener) {
                match what {
                    13 => chosen.queue = other.queue,
                    14 => chosen.owners.clone_from(&other.owners),
                    15 => chosen.accepted_by.clone_from(&other.accepted_by),
                    16 => chosen.opened_by.clone_from(&other.opened_by),
                    _ => chosen.in_kernel = other.in_kernel,
                }
            }
        }
    }
}

/// Rows of the table, without the heading.
fn rows(items: &[Item]) -> String {
    let mut out = Vec::new();
    let mut table = Table::new(&mut out, false, 0).in_zone(TimeZone::UTC);
    for item in items {
        table.write(item).expect("memory takes it");
    }
    table.flush().expect("memory takes it");
    drop(table);
    let text = String::from_utf8(out).expect("text");
    let (_, rows) = text.split_once('\n').expect("a heading");
    rows.to_owned()
}

/// Without the blanks that align columns.
fn words(rows: &str) -> Vec<&str> {
    rows.split_whitespace().collect()
}

fn plain(event: &Event) -> String {
    serde_json::to_string(event).expect("serializes") + "\n"
}

proptest! {
    #[test]
    fn lines_are_what_serde_writes(parts in prop::collection::vec(parts(), 1..40)) {
        let events: Vec<Event> = parts.into_iter().map(any_event).collect();
        let plain: String = events.iter().map(plain).collect();
        let items: Vec<Item> = events.into_iter().map(Item::Syn).collect();
        prop_assert_eq!(lines(&items), plain);
    }

    #[test]
    fn what_is_kept_is_kept_no_longer_than_it_is_right(
        parts in prop::collection::vec(parts(), 2..5),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..CHANGES), 1..80),
    ) {
        let donors: Vec<Event> = parts.into_iter().map(any_event).collect();
        let mut event = donors[0].clone();
        let mut items = Vec::new();
        for (donor, what) in changes {
            change(&mut event, donor.get(&donors), what);
            items.push(Item::Syn(event.clone()));
        }
        let alone = |show: fn(&[Item]) -> String| -> String {
            items.iter().map(|item| show(std::slice::from_ref(item))).collect()
        };
        prop_assert_eq!(lines(&items), alone(lines));
        let (all, each) = (rows(&items), alone(rows));
        prop_assert_eq!(words(&all), words(&each));
    }
}
