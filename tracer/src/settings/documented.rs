//! `docs/configuration.md` says of every key what is true of it, and what is given as a
//! configuration is one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use toml::de::{DeTable, DeValue};

use super::{
    AlertSettings, DaemonSettings, Given, MOST_SERVICES, MetricsSettings, PushSettings, Settings,
    SinkSettings, SpoolSettings,
    feed::HttpTarget,
    file::keys::{OF_EVERY_SINK, TABLES},
    sink::kind::{SINKS, SinkKind},
    values::{MOST_PORTS, bytes_text, duration_text},
};
use crate::alerts::SHORTEST;

const PAGE: &str = include_str!("../../../docs/configuration.md");
const PACKAGED: &str = include_str!("../../../packaging/sockpick.toml");
const DAEMON_SET: &str = include_str!("../../../packaging/kubernetes/daemonset.yml");

/// A table, and of a sink its type; and a key.
type Key = (String, String);

/// What must be written, and no more.
const LEAST: &str = "
    [[service]]
    name = 'A'
    listen = ['*:80']
    [metrics.otlp]
    url = 'http://127.0.0.1:80'
    [[sink]]
    type = 'alertmanager'
    urls = ['http://127.0.0.1:9093']
    [[sink]]
    type = 'webhook'
    url = 'http://127.0.0.1:80'
    [[sink]]
    type = 'otlp'
    url = 'http://127.0.0.1:80'
    [[sink]]
    type = 'journald'
    [[sink]]
    type = 'file'
    path = '/a'
    [[sink]]
    type = 'stdout'
";

fn read(text: &str) -> Settings {
    Settings::new(&Given::default(), Some(text)).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

/// Every key that is known.
fn known() -> BTreeSet<Key> {
    let of = |(table, keys): &(&str, &[&str])| {
        let keys = keys.iter().map(|key| (table.to_string(), key.to_string()));
        keys.collect::<Vec<Key>>()
    };
    let of_sinks = SINKS.iter().flat_map(|(kind, keys)| {
        let keys = OF_EVERY_SINK.iter().chain(*keys);
        keys.map(|key| (kind.to_string(), key.to_string()))
    });
    TABLES.iter().flat_map(of).chain(of_sinks).collect()
}

/// The keys that a file has.
fn written(text: &str) -> BTreeSet<Key> {
    let file = DeTable::parse(text).expect("a file");
    let mut keys = BTreeSet::new();
    for (name, value) in file.get_ref() {
        let tables = match value.get_ref() {
            DeValue::Table(table) => vec![table],
            DeValue::Array(tables) => {
                let tables = tables.iter().map(toml::Spanned::get_ref);
                tables.filter_map(DeValue::as_table).collect()
            }
            other => panic!("{other:?}"),
        };
        for table in tables {
            let kind = table.get("type").and_then(|kind| kind.get_ref().as_str());
            let owner = kind.unwrap_or(name.get_ref());
            for (key, value) in table {
                let key = key.get_ref().to_string();
                match value.get_ref().as_table() {
                    Some(inner) => keys.extend(of_inner(&format!("{owner}.{key}"), inner)),
                    None => drop(keys.insert((owner.to_owned(), key))),
                }
            }
        }
    }
    keys
}

fn of_inner(owner: &str, table: &DeTable<'_>) -> Vec<Key> {
    let names = table.keys().map(|key| key.get_ref().to_string());
    names.map(|key| (owner.to_owned(), key)).collect()
}

/// What each key is if it is not written, as the page has it.
fn defaults() -> BTreeMap<Key, String> {
    let mut table = String::new();
    let mut defaults = BTreeMap::new();
    for line in read(LEAST).to_toml().lines() {
        let unset = line
            .strip_prefix("# ")
            .and_then(|line| line.split_once(": "));
        if let Some(kind) = line.strip_prefix("type = ") {
            table = kind.trim_matches('"').to_owned();
            defaults.insert((table.clone(), "type".to_owned()), String::new());
        } else if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            defaults.insert((table.clone(), key.to_owned()), format!("`{value}`"));
        } else if let Some((key, unset)) = unset {
            defaults.insert((table.clone(), key.to_owned()), unset.to_owned());
        }
    }
    for key in written(LEAST) {
        defaults.insert(key, "required".to_owned());
    }
    for (kind, _) in SINKS {
        let name = (kind.to_owned(), "name".to_owned());
        let before = defaults.insert(name, "the type".to_owned());
        assert_eq!(before, Some(format!("`\"{kind}\"`")));
    }
    defaults
}

/// The defaults that the page tells.
fn told() -> BTreeMap<Key, String> {
    let mut table = String::new();
    let mut told = BTreeMap::new();
    for line in PAGE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            table = title.trim_matches(['`', '[', ']']).to_owned();
        }
        let cells: Vec<&str> = line
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ']))
            .collect();
        let Some(key) = cells[0].strip_prefix('`').filter(|_| line.starts_with('|')) else {
            continue;
        };
        let (owners, default) = match cells[..] {
            [_, "all", default, _] => (SINKS.map(|(kind, _)| kind).to_vec(), default),
            [_, kinds, default, _] => (kinds.split(", ").collect(), default),
            [_, default, _] => (vec![&*table], default),
            _ => panic!("{line}"),
        };
        for owner in owners {
            let key = (owner.to_owned(), key.trim_end_matches('`').to_owned());
            assert_eq!(told.insert(key, default.to_owned()), None, "{line}");
        }
    }
    told
}

#[test]
fn the_page_has_every_key_with_its_default() {
    let defaults = defaults();
    assert_eq!(defaults.keys().cloned().collect::<BTreeSet<_>>(), known());
    assert_eq!(told(), defaults);
}

#[test]
fn the_example_has_every_key_and_is_read() {
    let example = PAGE.split("```toml\n").nth(1).expect("an example");
    let example = example.split("\n```").next().expect("its end");
    let settings = read(example);
    assert_eq!(read(&settings.to_toml()), settings);
    assert_eq!(written(example), known());
}

/// As the page has it.
fn between<T: Copy, S: std::fmt::Display>(range: &RangeInclusive<T>, text: fn(T) -> S) -> String {
    let [least, most] = [*range.start(), *range.end()].map(text);
    format!("from {least} to {most}")
}

/// Whether the number at the end of `said` is not the beginning of another.
fn says(line: &str, said: &str) -> bool {
    let rest = line.split(said).skip(1);
    rest.into_iter()
        .any(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
}

#[test]
fn the_bounds_of_the_page_are_those_that_hold() {
    let times = |range: &RangeInclusive<Duration>| between(range, duration_text);
    let numbers = |range: &RangeInclusive<usize>| between(range, |number| number);
    let sinks = SinkSettings::MOST;
    let rows = [
        ("| `resend` |", times(&AlertSettings::RESEND)),
        ("| `quiet` |", times(&AlertSettings::QUIET)),
        ("| `max_active` |", numbers(&AlertSettings::MAX_ACTIVE)),
        ("| `max_series` |", numbers(&MetricsSettings::MAX_SERIES)),
        ("| `self_check` |", times(&DaemonSettings::SELF_CHECK)),
        ("| `audit` |", times(&DaemonSettings::AUDIT)),
        ("| `interval` |", times(&PushSettings::INTERVAL)),
        ("| `queue` |", numbers(&SinkSettings::QUEUE)),
        ("| `timeout` |", times(&HttpTarget::TIMEOUT)),
        ("| `rotate` |", between(&SinkKind::ROTATE, bytes_text)),
        ("| `keep` |", numbers(&SinkKind::KEEP)),
        (
            "| `spool_size` |",
            between(&SpoolSettings::BYTES, bytes_text),
        ),
        ("| `spool_age` |", times(&SpoolSettings::AGE)),
        ("| `urls` |", format!("up to {}", SinkKind::MOST_URLS)),
        (
            "| `name` | all",
            format!("up to {}", SinkSettings::LONGEST_NAME),
        ),
        ("| `ports` |", format!("at most {MOST_PORTS}")),
        (
            "Who is expected where (",
            format!("at most {MOST_SERVICES}"),
        ),
        ("[[service]] ", format!("up to {MOST_SERVICES}")),
        ("Where alerts and events go: ", format!("at most {sinks}")),
        ("[[sink]] ", format!("up to {sinks}")),
    ];
    for (begins, said) in rows {
        let mut lines = PAGE.lines().filter(|line| line.starts_with(begins));
        assert!(lines.any(|line| says(line, &said)), "{begins} {said}");
    }
    assert_eq!(
        SHORTEST,
        Duration::from_mins(2),
        "as the row of `quiet` says"
    );
}

#[test]
fn the_messages_of_the_page_are_those_that_are_said() {
    let files = [
        "\n[watch]\nport = [80]",
        "\n\n\n\n\n\n[[sink]]\ntype = 'journald'\nurl = 'http://h'",
        "\n\n\n[alerts]\nresend = '1s'",
    ];
    let wrong = files.map(|file| Settings::new(&Given::default(), Some(file)).expect_err(file));
    let said = PAGE.lines().filter(|line| line.starts_with("line "));
    assert_eq!(said.collect::<Vec<&str>>(), wrong);
}

#[test]
fn the_packaged_configurations_are_read() {
    assert!(!read(PACKAGED).sinks.is_empty());
    let inside = DAEMON_SET
        .split("  sockpick.toml: |\n")
        .nth(1)
        .expect("a file");
    let lines = inside.lines().map_while(|line| match line {
        "" => Some(""),
        line => line.strip_prefix("    "),
    });
    let file: Vec<&str> = lines.collect();
    let settings = read(&file.join("\n"));
    assert!(settings.metrics.listen.is_some() && !settings.sinks.is_empty());
}
