//! The keys that the file may have: an unknown one is refused with its line and the one that
//! was meant.

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::written::line;
use crate::settings::sink::kind::SINKS;

/// Tables with their keys, also those within another; those of `[[sink]]` depend on its type.
pub(crate) const TABLES: [(&str, &[&str]); 8] = [
    ("watch", &["ports", "dst", "src", "netns", "family"]),
    (
        "service",
        &["name", "listen", "netns", "unit", "exe", "comm", "uid"],
    ),
    ("learn", &["enabled", "hold"]),
    ("alerts", &["on", "resend", "quiet", "max_active", "state"]),
    ("metrics", &["listen", "max_series"]),
    (
        "metrics.otlp",
        &["url", "interval", "ca_file", "bearer_file", "timeout"],
    ),
    ("stream", &["events"]),
    ("daemon", &["self_check", "on_untraceable", "audit"]),
];

/// Keys that every sink has.
pub(crate) const OF_EVERY_SINK: [&str; 3] = ["type", "name", "queue"];

/// Bytes of the longest key that may be a known one with a mistake: twice the longest of those.
const LONGEST_LIKE: usize = 24;

/// Where something is in the file, and what is wrong with it.
type Found = (usize, String);

/// Refuses the first key of a file that is not known. What is no TOML at all has none.
///
/// # Errors
/// The line, the key, and the one that was meant if there is one like it.
pub(super) fn check(text: &str) -> Result<(), String> {
    let Ok(file) = DeTable::parse(text) else {
        return Ok(());
    };
    let mut found = Vec::new();
    for (name, value) in file.get_ref() {
        table(name, value.get_ref(), &mut found);
    }
    match found.into_iter().min() {
        Some((at, wrong)) => Err(format!("line {}: {wrong}", line(text, at))),
        None => Ok(()),
    }
}

fn table(name: &Spanned<DeString<'_>>, value: &DeValue<'_>, found: &mut Vec<Found>) {
    let written = name.get_ref().as_ref();
    let known = TABLES.iter().find(|(table, _)| *table == written);
    for table in tables(value) {
        if written == "sink" {
            sink(table, found);
        } else if let Some((owner, keys)) = known {
            with_inner(owner, keys, table, found);
        }
    }
    if known.is_none() && written != "sink" {
        let tables = TABLES.iter().map(|(table, _)| *table).chain(["sink"]);
        let tables: Vec<&str> = tables.collect();
        let meant = elsewhere(written).or_else(|| meant(written, &tables));
        let meant = meant.unwrap_or_else(|| "docs/configuration.md has them all".to_owned());
        let wrong = format!("there is no table or key `{}`; {meant}", shown(written));
        found.push((name.span().start, wrong));
    }
}

/// Checks a table, and those within it.
fn with_inner(owner: &str, keys: &[&'static str], table: &DeTable<'_>, found: &mut Vec<Found>) {
    let inner = TABLES.iter().filter_map(|(name, keys)| {
        let name_inside = name.strip_prefix(owner)?.strip_prefix('.')?;
        Some((name_inside, *name, *keys))
    });
    let mut all = keys.to_vec();
    for (name_inside, name, keys) in inner {
        all.push(name_inside);
        let Some(value) = table.get(name_inside) else {
            continue;
        };
        if let Some(table) = value.get_ref().as_table() {
            found.extend(unknown(table, keys, &header(name)));
        } else {
            let wrong = format!("`{name_inside}` is one table; write it as {}", header(name));
            found.push((value.span().start, wrong));
        }
    }
    found.extend(unknown(table, &all, &header(owner)));
}

/// A table, or each of several.
fn tables<'a, 'i>(value: &'a DeValue<'i>) -> Vec<&'a DeTable<'i>> {
    match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(several) => {
            let several = several.iter().map(Spanned::get_ref);
            several.filter_map(DeValue::as_table).collect()
        }
        _ => Vec::new(),
    }
}

/// Without a type that is known it is refused for that, later.
fn sink(table: &DeTable<'_>, found: &mut Vec<Found>) {
    let Some(DeValue::String(kind)) = table.get("type").map(Spanned::get_ref) else {
        return;
    };
    if let Some((kind, keys)) = SINKS.iter().find(|(known, _)| known == kind) {
        let keys = [&OF_EVERY_SINK, *keys].concat();
        found.extend(unknown(table, &keys, &format!("a sink of type `{kind}`")));
    }
}

fn unknown(table: &DeTable<'_>, keys: &[&'static str], owner: &str) -> Vec<Found> {
    let names = table.keys().filter(|name| {
        let name = name.get_ref().as_ref();
        !keys.contains(&name)
    });
    names
        .map(|name| {
            let written = name.get_ref().as_ref();
            // A key that is another table's is no slip of the pen.
            let hint = of_sinks(written)
                .filter(|_| owner.starts_with("a sink"))
                .or_else(|| elsewhere(written))
                .or_else(|| meant(written, keys))
                .unwrap_or_else(|| format!("it has {}", keys.join(", ")));
            let wrong = format!("{owner} has no key `{}`; {hint}", shown(written));
            (name.span().start, wrong)
        })
        .collect()
}

/// A key as it is written, without what would steer the terminal, and not longer than it helps.
fn shown(key: &str) -> String {
    key.chars().take(40).flat_map(char::escape_debug).collect()
}

/// The key that begins so, or else the one most like this, if any is like it.
fn meant(written: &str, known: &[&str]) -> Option<String> {
    // It is like none, and comparing would take its time.
    if written.len() > LONGEST_LIKE {
        return None;
    }
    let apart = |key: &&str| strsim::osa_distance(written, key);
    let begins = |key: &&&str| written.len() > 2 && key.starts_with(written);
    let is_within = |key: &&&str| key.rsplit_once('.').is_some_and(|(_, key)| key == written);
    // A third of it may be wrong: `prots` is `ports`, `x` is nothing.
    let is_like = |key: &&&str| apart(key) <= key.len().div_ceil(3);
    let nearest = known.iter().min_by_key(|key| apart(key)).filter(is_like);
    let within = known.iter().find(is_within);
    let meant = known.iter().find(begins).or(nearest).or(within)?;
    Some(format!("did you mean `{meant}`?"))
}

/// The key that a line gives a value to, if it is one that is known.
pub(super) fn given(line: &str) -> Option<&str> {
    let (written, _) = line.split_once('=')?;
    let written = written.trim();
    let keys = TABLES.iter().chain(&SINKS).flat_map(|(_, keys)| *keys);
    let mut keys = keys.chain(&OF_EVERY_SINK);
    keys.any(|key| *key == written).then_some(written)
}

/// Which sinks have the key.
fn of_sinks(written: &str) -> Option<String> {
    let types = SINKS.iter().filter(|(_, keys)| keys.contains(&written));
    let types: Vec<&str> = types.map(|(kind, _)| *kind).collect();
    (!types.is_empty()).then(|| format!("sinks of these types have it: {}", types.join(", ")))
}

/// Which other tables have the key.
fn elsewhere(written: &str) -> Option<String> {
    let owners = TABLES.iter().filter(|(_, keys)| keys.contains(&written));
    let is_sinks = OF_EVERY_SINK.contains(&written) || of_sinks(written).is_some();
    let owners = owners
        .map(|(table, _)| *table)
        .chain(is_sinks.then_some("sink"));
    let owners: Vec<String> = owners.map(header).collect();
    let have = match owners.len() {
        0 => return None,
        1 => "has",
        _ => "have",
    };
    Some(format!("{} {have} such a key", owners.join(" and ")))
}

/// How a table begins: there may be several of some.
fn header(table: &str) -> String {
    match table {
        "service" | "sink" => format!("[[{table}]]"),
        _ => format!("[{table}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_one_that_was_meant() {
        let cases = [
            (
                "\n[watch]\nport = [80]",
                "line 3: [watch] has no key `port`; did you mean `ports`?",
            ),
            (
                "[wacht]",
                "line 1: there is no table or key `wacht`; did you mean `watch`?",
            ),
            (
                "[[sinks]]",
                "line 1: there is no table or key `sinks`; did you mean `sink`?",
            ),
            (
                "ports = [1]",
                "line 1: there is no table or key `ports`; [watch] has such a key",
            ),
            (
                "[learn]\nlisten = 1",
                "line 2: [learn] has no key `listen`; [[service]] and [metrics] have such a key",
            ),
            (
                "queue = 1\n[watch]",
                "line 1: there is no table or key `queue`; [[sink]] has such a key",
            ),
            (
                "[[service]]\nport = 1",
                "line 2: [[service]] has no key `port`; it has name, listen, netns, unit, exe, \
                 comm, uid",
            ),
            (
                "[alerts]\nresnd = 1",
                "line 2: [alerts] has no key `resnd`; did you mean `resend`?",
            ),
            (
                "[alerts]\nmax = 1",
                "line 2: [alerts] has no key `max`; did you mean `max_active`?",
            ),
            (
                "[stream]\nx = 1",
                "line 2: [stream] has no key `x`; it has events",
            ),
            (
                "watch.x = 1",
                "line 1: [watch] has no key `x`; it has ports, dst, src, netns, family",
            ),
            (
                "[[sink]]\ntype = 'journald'\nurl = 'x'",
                "line 3: a sink of type `journald` has no key `url`; sinks of these types have it: \
                 webhook, otlp",
            ),
            (
                "[[sink]]\ntype = 'webhook'\nurls = ['x']",
                "line 3: a sink of type `webhook` has no key `urls`; sinks of these types have it: \
                 alertmanager",
            ),
            (
                "[[sink]]\ntype = 'alertmanager'\nspool = '/x'",
                "line 3: a sink of type `alertmanager` has no key `spool`; sinks of these types \
                 have it: webhook, otlp, journald",
            ),
            (
                "[[sink]]\ntype='stdout'\n[[sink]]\nqueu = 1\ntype = 'stdout'",
                "line 4: a sink of type `stdout` has no key `queu`; did you mean `queue`?",
            ),
            (
                "sink = [{type = 'file', pth = 1}]",
                "line 1: a sink of type `file` has no key `pth`; did you mean `path`?",
            ),
            (
                "\"a\\u001b[2J\" = 1",
                "line 1: there is no table or key `a\\u{1b}[2J`; docs/configuration.md has them all",
            ),
        ];
        for (text, said) in cases {
            assert_eq!(check(text), Err(said.to_owned()), "{text}");
        }
    }

    #[test]
    fn of_several_the_first_in_the_file_is_told() {
        let said = check("[watch]\nx = 1\n[learn]\ny = 1\n[alerts]\nz = 1").expect_err("three");
        assert!(said.starts_with("line 2:"), "{said}");
    }

    #[test]
    fn what_is_no_table_is_left_to_the_reader() {
        for text in [
            "watch = 3",
            "sink = 'x'",
            "sink = [1]",
            "[[sink]]\nx = 1",
            "= =",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
}
