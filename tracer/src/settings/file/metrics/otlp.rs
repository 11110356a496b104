//! `[metrics.otlp]`. As of sinks, all is checked here and not while it is read: a value may be a
//! secret in the wrong place.

use serde::Deserialize;
use toml::Spanned;

use crate::settings::{
    feed::PushSettings,
    file::{
        number,
        target::{Access, key},
        written::line,
    },
    values::duration_text,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings::file) struct OtlpTable {
    url: Option<String>,
    interval: Option<String>,
    ca_file: Option<String>,
    bearer_file: Option<String>,
    timeout: Option<String>,
}

/// The table of a file with this text.
///
/// # Errors
/// Its line, and what is wrong with it.
pub(super) fn otlp(table: &Spanned<OtlpTable>, text: &str) -> Result<PushSettings, String> {
    let at = line(text, table.span().start);
    let table = table.get_ref();
    table
        .checked()
        .map_err(|wrong| format!("line {at}: [metrics.otlp]: {wrong}"))
}

impl OtlpTable {
    fn checked(&self) -> Result<PushSettings, String> {
        let access = Access {
            ca_file: self.ca_file.as_deref(),
            bearer_file: self.bearer_file.as_deref(),
            timeout: self.timeout.as_deref(),
        };
        let target = access.one(self.url.as_deref(), "http://127.0.0.1:4318/v1/metrics")?;
        let interval = match self.interval.as_deref() {
            Some(text) => key("interval", number::time(text, &PushSettings::INTERVAL))?,
            None => PushSettings::USUAL_INTERVAL,
        };
        if target.timeout > interval {
            let [timeout, interval] = [target.timeout, interval].map(duration_text);
            return Err(format!(
                "timeout: \"{timeout}\" is longer than interval; write \"{interval}\" or less"
            ));
        }
        Ok(PushSettings { target, interval })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::{feed::HttpTarget, file::parse, url::Url};

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a url")
    }

    fn read(text: &str) -> Result<Option<PushSettings>, String> {
        parse(text).map(|settings| settings.metrics.otlp)
    }

    #[test]
    fn it_is_read_with_what_is_usual() {
        assert_eq!(read("[metrics]\nmax_series = 100"), Ok(None));
        let least = PushSettings {
            target: HttpTarget {
                url: url("http://h"),
                ca_file: None,
                bearer_file: None,
                timeout: HttpTarget::USUAL_TIMEOUT,
            },
            interval: PushSettings::USUAL_INTERVAL,
        };
        let same = [
            "[metrics.otlp]\nurl = 'http://h'",
            "metrics.otlp.url = 'http://h'",
            "[metrics]\notlp = {url = 'http://h'}",
            "[metrics]\notlp.url = 'http://h'",
        ];
        for text in same {
            assert_eq!(read(text), Ok(Some(least.clone())), "{text}");
        }
        let all = "[metrics.otlp]\nurl = 'https://h:1/a'\ninterval = '10s'\nca_file = '/c'
                   bearer_file = '/b'\ntimeout = '3s'";
        let all = read(all).map(|read| read.expect("the table"));
        assert_eq!(
            all,
            Ok(PushSettings {
                target: HttpTarget {
                    url: url("https://h:1/a"),
                    ca_file: Some("/c".into()),
                    bearer_file: Some("/b".into()),
                    timeout: Duration::from_secs(3),
                },
                interval: Duration::from_secs(10),
            })
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let with = |keys: &str| format!("\n[metrics.otlp]\nurl = 'http://h'\n{keys}");
        let cases = [
            (
                "\n[metrics.otlp]".to_owned(),
                "line 2: [metrics.otlp]: it needs url = \"http://127.0.0.1:4318/v1/metrics\"",
            ),
            (
                "\n[metrics.otlp]\nurl = '127.0.0.1:4318'".to_owned(),
                "line 2: [metrics.otlp]: url: it ",
            ),
            (
                "\n[metrics.otlp]\nurl = 4318".to_owned(),
                "line 3: url: invalid type: integer, expected a string",
            ),
            (
                "\n[metrics.otlp]\nurl = 'http://h'\nurls = ['http://h']".to_owned(),
                "line 4: [metrics.otlp] has no key `urls`; ",
            ),
            (
                with("interval = '9s'"),
                "interval: \"9s\" is out of range; write a time from 10s to 1h",
            ),
            (with("interval = '2h'"), "interval: \"2h\" is out of range"),
            (with("interval = '60'"), "interval: \"60\" has no unit"),
            (with("interval = 60"), "line 4: interval: invalid type"),
            (with("intervall = '1m'"), "did you mean `interval`?"),
            (with("ca_file = '/c'"), "ca_file: it is for https://"),
            (with("bearer_file = 'b'"), "bearer_file: it is no path"),
            (with("timeout = '0s'"), "timeout: "),
            (
                with("timeout = '2m'"),
                "timeout: \"2m\" is longer than interval; write \"1m\" or less",
            ),
            (with("queue = 1"), "[metrics.otlp] has no key `queue`"),
            (
                "[metrics]\notlp = 'http://h'".to_owned(),
                "line 2: `otlp` is one table; write it as [metrics.otlp]",
            ),
            (
                "\n[[metrics.otlp]]\nurl = 'http://h'".to_owned(),
                "line 2: `otlp` is one table; write it as [metrics.otlp]",
            ),
            (
                "[metric.otlp]\nurl = 'http://h'".to_owned(),
                "line 1: there is no table or key `metric`; did you mean `metrics`?",
            ),
            (
                "[otlp]\nurl = 'http://h'".to_owned(),
                "line 1: there is no table or key `otlp`; did you mean `metrics.otlp`?",
            ),
            (
                "[metrics.oltp]\nurl = 'http://h'".to_owned(),
                "line 1: [metrics] has no key `oltp`; did you mean `otlp`?",
            ),
            (
                "[metrics]\nurl = 'http://h'".to_owned(),
                "line 2: [metrics] has no key `url`; [metrics.otlp] and [[sink]] have such a key",
            ),
        ];
        for (text, part) in cases {
            let said = read(&text).expect_err(&text);
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_told() {
        for keys in [
            "url = 'http://s3cr3t@h'",
            "url = 'http://h/?s3cr3t'",
            "url = ['http://s3cr3t@h']",
            "bearer = 's3cr3t'",
            "bearer_file = 's3cr3t'",
            "bearer_file = 1234567890",
            "url = 'http://h'\nbearer_file = s3cr3t",
        ] {
            let said = read(&format!("[metrics.otlp]\n{keys}")).expect_err(keys);
            assert!(
                !said.contains("s3cr3t") && !said.contains("1234567"),
                "{keys}: {said}"
            );
        }
        let said = read("[metrics]\notlp = 'http://s3cr3t@h'").expect_err("a text");
        assert!(!said.contains("s3cr3t"), "{said}");
    }
}
