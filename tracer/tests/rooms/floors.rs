//! Which room stands on which.

use std::collections::BTreeSet;

use super::imports::Imports;

/// The rooms, from the ground up: one imports only those that stand before it.
const FLOORS: [&[&str]; 7] = [
    // What is said, as values and words.
    &["failure", "event", "words", "decode", "otlp"],
    // Pure rules, and what is asked for.
    &["judge", "kin", "settings"],
    // The machine, and the programs in it.
    &[
        "clock",
        "remark",
        "bpf",
        "rtnetlink",
        "sock_diag",
        "privileges",
        "config",
        "own",
        "processes",
        "namespaces",
        "routes",
        "interfaces",
        "kernel",
        "netfilter",
        "listeners",
        "probes",
        "stock",
        "source",
    ],
    // What is made of what the machine says.
    &["audit", "host", "pipeline"],
    // Who is told of it, and how.
    &["sinks", "alerts", "delivery", "metrics", "outlets"],
    // What runs, and by which arguments.
    &[
        "engine",
        "recording",
        "cli",
        "survey",
        "explain",
        "doctor",
        "session",
    ],
    // What a user starts.
    &["web", "daemon", "commands"],
];

/// The room that a file is in.
fn room(file: &str) -> &str {
    file.split("::").next().unwrap_or_default()
}

/// The floors as ARCHITECTURE.md has them.
pub(crate) fn told() -> impl Iterator<Item = String> {
    FLOORS.iter().map(|rooms| {
        let rooms: Vec<String> = rooms.iter().map(|room| format!("`{room}`")).collect();
        format!(": {}.\n", rooms.join(", "))
    })
}

/// Imports of a room that does not stand below the file's own.
pub(crate) fn upwards(imports: &Imports) -> Vec<(&str, &str)> {
    let place = |file| FLOORS.concat().iter().position(|one| *one == room(file));
    let pairs = imports
        .iter()
        .flat_map(|(file, others)| others.iter().map(move |other| (&**file, &**other)));
    pairs
        .filter(|(file, other)| room(file) != room(other) && !file.is_empty())
        .filter(|(file, other)| place(file) <= place(other))
        .collect()
}

/// Rooms that are there and on no floor, or the other way round.
pub(crate) fn misplaced(imports: &Imports) -> BTreeSet<&str> {
    let there = imports.keys().map(|file| room(file));
    let there: BTreeSet<&str> = there.filter(|room| !room.is_empty()).collect();
    let placed: BTreeSet<&str> = FLOORS.concat().into_iter().collect();
    there.symmetric_difference(&placed).copied().collect()
}
