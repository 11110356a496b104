//! `[[sink]]`: all of them, as they stand beside each other.

mod table;

use std::{collections::HashSet, path::Path};

use toml::Spanned;

use super::written::line;
use crate::settings::sink::{SinkSettings, kind::SinkTable};

/// The sinks of a file with this text. `state`: where alerts are kept.
///
/// # Errors
/// The line of a sink, its name, and what is wrong with it.
pub(super) fn sinks(
    tables: Vec<Spanned<SinkTable>>,
    text: &str,
    state: Option<&Path>,
) -> Result<Vec<SinkSettings>, String> {
    if tables.len() > SinkSettings::MOST {
        return Err(format!(
            "there are {} sinks, and at most {} may be; leave some out",
            tables.len(),
            SinkSettings::MOST
        ));
    }
    let mut taken: HashSet<String> = tables.iter().filter_map(given).collect();
    let mut sinks: Vec<SinkSettings> = Vec::new();
    for table in tables {
        let at = line(text, table.span().start);
        let table = table.into_inner();
        let name = match &table.name {
            Some(name) => name.clone(),
            None => free(table.word(), &mut taken),
        };
        let shown: String = name.escape_debug().collect();
        let wrong = |wrong| format!("line {at}: sink \"{shown}\": {wrong}");
        let sink = table.checked(name).map_err(wrong)?;
        beside(&sink, &sinks).map_err(wrong)?;
        if state.is_some() && state == file(&sink) {
            let taken = "the file is state in [alerts] already; name another";
            return Err(wrong(taken.to_owned()));
        }
        sinks.push(sink);
    }
    Ok(sinks)
}

fn given(table: &Spanned<SinkTable>) -> Option<String> {
    table.get_ref().name.clone()
}

/// The first name that nobody has: `file`, `file-2`, `file-3`.
fn free(kind: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{kind}-{number}"));
    let mut names = std::iter::once(kind.to_owned()).chain(numbered);
    let name = names.find(|name| !taken.contains(name));
    let name = name.unwrap_or_else(|| kind.to_owned());
    taken.insert(name.clone());
    name
}

/// Two sinks of one name are one in the metrics; two on one file would write into each other.
fn beside(sink: &SinkSettings, others: &[SinkSettings]) -> Result<(), String> {
    if others.iter().any(|other| other.name == sink.name) {
        return Err("another sink has this name; give it one of its own".to_owned());
    }
    let same = |other: &&SinkSettings| {
        let is_same = sink.to.is_of_the_host() && sink.to == other.to;
        is_same || file(sink).is_some() && file(sink) == file(other)
    };
    match others.iter().find(same) {
        Some(other) => Err(format!(
            "the sink \"{}\" writes there already; leave one of them out",
            other.name
        )),
        None => Ok(()),
    }
}

/// The file that it writes to, or that what waits for it is kept in.
fn file(sink: &SinkSettings) -> Option<&Path> {
    let spool = || sink.spool.as_ref().map(|spool| &*spool.path);
    sink.to.file().or_else(spool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{
        feed::HttpTarget,
        file::parse,
        sink::{SinkKind, SpoolSettings},
        url::Url,
    };

    fn read(text: &str) -> Result<Vec<SinkSettings>, String> {
        parse(text).map(|settings| settings.sinks)
    }

    fn names(text: &str) -> Vec<String> {
        let sinks = read(text).expect(text);
        sinks.into_iter().map(|sink| sink.name).collect()
    }

    #[test]
    fn a_sink_without_a_name_gets_one_that_is_free() {
        let hook = "[[sink]]\ntype = 'webhook'\nurl = 'http://h'\n";
        assert_eq!(names(hook), ["webhook"]);
        assert_eq!(
            names(&hook.repeat(3)),
            ["webhook", "webhook-2", "webhook-3"]
        );
        let named = format!("{hook}{hook}{hook}name = 'webhook-2'");
        assert_eq!(names(&named), ["webhook", "webhook-3", "webhook-2"]);
    }

    #[test]
    fn every_type_is_read_with_what_is_usual() -> Result<(), String> {
        let sinks = read(
            "[[sink]]\ntype = 'alertmanager'\nurls = ['http://a:1', 'https://b']\ntimeout = '3s'
             [[sink]]\ntype = 'webhook'\nurl = 'http://h'\nsecret_file = '/s'\nbearer_file = '/b'
             [[sink]]\ntype = 'otlp'\nurl = 'https://o'\nca_file = '/ca'\nqueue = 7
             [[sink]]\ntype = 'journald'
             [[sink]]\ntype = 'file'\npath = '/f'
             [[sink]]\ntype = 'file'\npath = '/g'\nrotate = 'off'\nkeep = 0
             [[sink]]\ntype = 'stdout'",
        )?;
        let target = |url: &str| HttpTarget {
            url: Url::parse(url).expect("a url"),
            ca_file: None,
            bearer_file: None,
            timeout: HttpTarget::USUAL_TIMEOUT,
        };
        let quick = |url| HttpTarget {
            timeout: std::time::Duration::from_secs(3),
            ..target(url)
        };
        let kinds: Vec<SinkKind> = sinks.iter().map(|sink| sink.to.clone()).collect();
        let file = |path: &str, rotate_bytes, keep| SinkKind::File {
            path: path.into(),
            rotate_bytes,
            keep,
        };
        assert_eq!(
            kinds,
            [
                SinkKind::Alertmanager(vec![quick("http://a:1"), quick("https://b")]),
                SinkKind::Webhook {
                    target: HttpTarget {
                        bearer_file: Some("/b".into()),
                        ..target("http://h")
                    },
                    secret_file: Some("/s".into()),
                },
                SinkKind::Otlp(HttpTarget {
                    ca_file: Some("/ca".into()),
                    ..target("https://o")
                }),
                SinkKind::Journald,
                file("/f", Some(100 << 20), 5),
                file("/g", None, 0),
                SinkKind::Stdout,
            ]
        );
        assert!(sinks.iter().all(|sink| sink.spool.is_none()));
        let queues: Vec<usize> = sinks.iter().map(|sink| sink.queue).collect();
        assert_eq!(queues[1..3], [10_000, 7]);
        Ok(())
    }

    #[test]
    fn a_spool_is_read_with_what_is_usual() -> Result<(), String> {
        let sinks = read(
            "[[sink]]\ntype = 'journald'\nspool = '/s'
             [[sink]]\ntype = 'otlp'\nurl = 'http://o'\nspool = '/t'\nspool_size = '1M'
             spool_age = '90m'",
        )?;
        let spools: Vec<_> = sinks.into_iter().map(|sink| sink.spool).collect();
        let spool = |path: &str, bytes, minutes| {
            Some(SpoolSettings {
                path: path.into(),
                bytes,
                age: std::time::Duration::from_mins(minutes),
            })
        };
        assert_eq!(
            spools,
            [spool("/s", 64 << 20, 1440), spool("/t", 1 << 20, 90)]
        );
        Ok(())
    }

    #[test]
    fn what_is_wrong_with_a_sink_is_told_with_its_line() {
        let many = "[[sink]]\ntype = 'webhook'\nurl = 'http://h'\n".repeat(33);
        let cases = [
            ("[[sink]]\nname = 'x'", "missing field `type`"),
            ("[[sink]]\ntype = 'kafka'", "alertmanager"),
            (
                "\n[[sink]]\ntype = 'webhook'",
                "line 2: sink \"webhook\": it needs url = ",
            ),
            ("[[sink]]\ntype = 'alertmanager'", "it needs urls = "),
            (
                "[[sink]]\ntype = 'alertmanager'\nurls = []",
                "it needs urls = ",
            ),
            ("[[sink]]\ntype = 'file'", "it needs path = "),
            (
                "[[sink]]\ntype = 'file'\npath = 'f'",
                "path: it is no path from the root",
            ),
            (
                "[[sink]]\ntype = 'file'\npath = '/f'\nrotate = '1K'",
                "rotate: ",
            ),
            (
                "[[sink]]\ntype = 'file'\npath = '/f'\nkeep = -1",
                "keep: -1 is out of range",
            ),
            (
                "[[sink]]\ntype = 'stdout'\nqueue = 0",
                "queue: 0 is out of range",
            ),
            ("[[sink]]\ntype = 'stdout'\nname = ''", "a name has"),
            (
                "[[sink]]\ntype = 'stdout'\nname = \"a\\nb\"",
                "sink \"a\\nb\": a name has",
            ),
            (
                "[[sink]]\ntype='stdout'\n[[sink]]\ntype='stdout'",
                "line 3: sink \"stdout-2\": the sink \"stdout\" writes there",
            ),
            (
                "[[sink]]\ntype='file'\npath='/f'\nname='a'\n[[sink]]\ntype='file'\npath='/f'",
                "the sink \"a\" writes there",
            ),
            (
                "[[sink]]\ntype='stdout'\nname='a'\n[[sink]]\ntype='journald'\nname='a'",
                "another sink has this name",
            ),
            (
                "[[sink]]\ntype='otlp'\nurl='http://h'\ntimeout='1h'",
                "timeout: ",
            ),
            (
                "[[sink]]\ntype='otlp'\nurl='http://h'\nca_file='/c'",
                "ca_file: ",
            ),
            (
                "[[sink]]\ntype='alertmanager'\nurls=['http://h', 'http://h']",
                "urls: the second of",
            ),
            (
                "[[sink]]\ntype='journald'\nspool='s'",
                "spool: it is no path from the root",
            ),
            (
                "[[sink]]\ntype='journald'\nspool='/s'\nspool_size='1K'",
                "spool_size: \"1K\" is no size from 1M to 1G; write it as 100M or 1G",
            ),
            (
                "[[sink]]\ntype='journald'\nspool='/s'\nspool_age='1s'",
                "spool_age: \"1s\" is out of range; write a time from 1m to 30d",
            ),
            (
                "[[sink]]\ntype='journald'\nspool_age='1d'",
                "spool_age: it is for a spool, and none is named; add spool = ",
            ),
            (
                "[[sink]]\ntype='journald'\nspool='/s'\n[[sink]]\ntype='file'\npath='/s'",
                "the sink \"journald\" writes there",
            ),
            (
                "[alerts]\nstate='/s'\n[[sink]]\ntype='journald'\nspool='/s'",
                "line 3: sink \"journald\": the file is state in [alerts] already",
            ),
            (&many, "at most 32"),
        ];
        for (text, part) in cases {
            let said = read(text).expect_err(text);
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_told() {
        let sink = "[[sink]]\ntype = 'webhook'\n";
        for text in [
            "url = 'http://s3cr3t@h'",
            "url = 'http://h/?s3cr3t'",
            "url = ['http://s3cr3t@h']",
            "urls = 's3cr3t'",
            "bearer = 's3cr3t'",
            "bearer_file = 's3cr3t'",
            "bearer_file = 1234567890",
            "bearer_file = 1234567.890",
            "bearer_file = [1234567890]",
            "url = 'http://h'\nqueue = 's3cr3t, expected 1234567890'",
            "secret_file = 's3cr3t",
            "url = 'http://h'\nsecret_file = s3cr3t",
            "url = 'http://h'\nqueue = 's3cr3t'",
        ] {
            let said = read(&format!("{sink}{text}")).expect_err(text);
            assert!(!said.contains("s3cr3t"), "{text}: {said}");
            assert!(!said.contains("1234567"), "{text}: {said}");
            assert!(
                said.contains("line 3") || said.contains("line 4") || said.contains("line 1"),
                "{said}"
            );
        }
        let said = read("[[sink]]\ntype='alertmanager'\nurls='http://s3cr3t@h'");
        let said = said.expect_err("a text instead of a list");
        assert!(!said.contains("s3cr3t"), "{said}");
    }
}
