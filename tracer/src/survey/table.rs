//! Listeners for people.

use std::fmt;

use super::entry::Entry;
use crate::words;

const TITLES: [&str; 9] = [
    "LISTENER", "V6ONLY", "QUEUE", "GROUP", "CHAIN", "UID", "NETNS", "UNIT", "OWNER",
];

/// A line each; `whole`: every namespace was looked at.
///
/// # Errors
/// None: memory takes it.
pub(crate) fn of(entries: &[Entry], whole: bool, own_netns: u32) -> Result<String, fmt::Error> {
    let mut text = String::new();
    if entries.is_empty() {
        let none = if whole {
            "no listeners\n"
        } else {
            "no listeners where it could be looked\n"
        };
        return Ok(none.into());
    }
    let foreign = entries.iter().any(|entry| entry.netns.inode != own_netns);
    let rows: Vec<_> = entries.iter().map(|one| row(one, foreign)).collect();
    words::columns(&mut text, TITLES, 2..=2, &rows)?;
    Ok(text)
}

fn row(entry: &Entry, foreign: bool) -> [String; TITLES.len()] {
    [
        words::bound_at(entry.address, entry.port, entry.device.as_deref()),
        if entry.v6only == Some(true) {
            "yes".into()
        } else {
            String::new()
        },
        entry.queue.map_or_else(String::new, |queue| {
            format!("{}/{}", queue.length, queue.limit)
        }),
        entry
            .reuseport
            .map_or_else(String::new, |group| group.group.to_string()),
        entry.reuseport.map_or_else(String::new, |group| {
            format!("{} of {}", group.chain + 1, group.size)
        }),
        entry.uid.to_string(),
        if foreign {
            words::namespace(&entry.netns).into_owned()
        } else {
            String::new()
        },
        entry.owners.first().map(words::place).unwrap_or_default(),
        match words::owners(&entry.owners) {
            nobody if nobody.is_empty() && entry.in_kernel => words::KERNEL.into(),
            nobody if nobody.is_empty() => words::UNKNOWN.into(),
            owners => owners,
        },
    ]
}
