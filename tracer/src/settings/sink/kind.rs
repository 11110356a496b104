//! The types of sinks: what each is given, which keys it has, how these are read and written. What
//! is told of a value that is wrong is chosen, as it may be a secret in the wrong place.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::settings::{
    feed::HttpTarget,
    file::{
        number,
        target::{Access, key, path},
    },
    url::Url,
    values::bytes_text,
    writer::Text,
};

/// Types of sinks in the order of [`Type`], by which one finds its row, with the keys that they have
/// beside those of every sink. Only those have a spool that are told
/// once that an alert begins or ends: the others are told again what lasts.
pub(in crate::settings) const SINKS: [(&str, &[&str]); 6] = [
    (
        "alertmanager",
        &["urls", "ca_file", "bearer_file", "timeout"],
    ),
    (
        "webhook",
        &[
            "url",
            "secret_file",
            "ca_file",
            "bearer_file",
            "timeout",
            "spool",
            "spool_size",
            "spool_age",
        ],
    ),
    (
        "otlp",
        &[
            "url",
            "ca_file",
            "bearer_file",
            "timeout",
            "spool",
            "spool_size",
            "spool_age",
        ],
    ),
    ("journald", &["spool", "spool_size", "spool_age"]),
    ("file", &["path", "rotate", "keep"]),
    ("stdout", &[]),
];

/// What is written as `type`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Alertmanager,
    Webhook,
    Otlp,
    Journald,
    File,
    Stdout,
}

impl Type {
    const fn word(self) -> &'static str {
        SINKS[self as usize].0
    }
}

/// Where a sink sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// Prometheus' Alertmanager, API v2: every one of these. Alerts only.
    Alertmanager(Vec<HttpTarget>),
    /// Any HTTP server: notices as JSON, signed if a secret is given. Alerts only.
    Webhook {
        /// Where to.
        target: HttpTarget,
        /// File with the secret for HMAC-SHA256.
        secret_file: Option<PathBuf>,
    },
    /// OTLP over HTTP with protobuf: log records of alerts.
    Otlp(HttpTarget),
    /// journald's native protocol. Alerts only.
    Journald,
    /// JSON lines.
    File {
        /// Which.
        path: PathBuf,
        /// Another is begun at so many bytes; `None`: never.
        rotate_bytes: Option<u64>,
        /// Full ones that are kept.
        keep: usize,
    },
    /// JSON lines.
    Stdout,
}

impl SinkKind {
    /// Whether it takes events as well as alerts.
    #[must_use]
    pub fn takes_events(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Stdout)
    }

    /// Whether it is told once that an alert begins or ends, and nothing in between: what it
    /// misses it never hears of. Only such a one may have a spool.
    #[must_use]
    pub fn is_told_once(&self) -> bool {
        match self {
            Self::Webhook { .. } | Self::Otlp(_) | Self::Journald => true,
            Self::Alertmanager(_) | Self::File { .. } | Self::Stdout => false,
        }
    }

    /// Most addresses of one sink.
    pub const MOST_URLS: usize = 16;
    /// `rotate` of a file, unless told otherwise.
    pub const USUAL_ROTATE: u64 = 100 << 20;
    /// What `rotate` may be, unless it is off.
    pub const ROTATE: RangeInclusive<u64> = 4096..=1 << 40;
    /// What `keep` may be.
    pub const KEEP: RangeInclusive<usize> = 0..=1000;
    /// `keep` of a file, unless told otherwise.
    pub const USUAL_KEEP: usize = 5;

    const fn kind(&self) -> Type {
        match self {
            Self::Alertmanager(_) => Type::Alertmanager,
            Self::Webhook { .. } => Type::Webhook,
            Self::Otlp(_) => Type::Otlp,
            Self::Journald => Type::Journald,
            Self::File { .. } => Type::File,
            Self::Stdout => Type::Stdout,
        }
    }

    /// The word for it in the configuration.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        self.kind().word()
    }

    /// Whether a host has one of it, so that two sinks would write into each other.
    pub(in crate::settings) fn is_of_the_host(&self) -> bool {
        matches!(self, Self::Journald | Self::Stdout)
    }

    /// The file that it writes to.
    pub(in crate::settings) fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Its keys beside those of every sink, but for the spool.
    pub(super) fn write(&self, text: &mut Text) {
        match self {
            Self::Alertmanager(targets) => {
                text.texts("urls", targets.iter().map(|target| target.url.as_written()));
                // They differ in nothing else.
                if let Some(target) = targets.first() {
                    text.target(target);
                }
            }
            Self::Webhook {
                target,
                secret_file,
            } => {
                text.text("url", target.url.as_written());
                text.file("secret_file", secret_file.as_deref());
                text.target(target);
            }
            Self::Otlp(target) => {
                text.text("url", target.url.as_written());
                text.target(target);
            }
            Self::File {
                path,
                rotate_bytes,
                keep,
            } => {
                text.file("path", Some(path));
                let rotate = rotate_bytes.map(bytes_text);
                text.text("rotate", rotate.as_deref().unwrap_or("off"));
                text.key("keep", keep);
            }
            Self::Journald | Self::Stdout => {}
        }
    }
}

/// A `[[sink]]` as it is written: the keys of all types. Which of them a type has is checked before
/// (`file/keys.rs`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct SinkTable {
    #[serde(rename = "type")]
    kind: Type,
    pub(in crate::settings) name: Option<String>,
    pub(in crate::settings) queue: Option<i64>,
    urls: Option<Vec<String>>,
    url: Option<String>,
    secret_file: Option<String>,
    ca_file: Option<String>,
    bearer_file: Option<String>,
    timeout: Option<String>,
    path: Option<String>,
    rotate: Option<String>,
    keep: Option<i64>,
    pub(in crate::settings) spool: Option<String>,
    pub(in crate::settings) spool_size: Option<String>,
    pub(in crate::settings) spool_age: Option<String>,
}

impl SinkTable {
    /// The word for its type.
    pub(in crate::settings) fn word(&self) -> &'static str {
        self.kind.word()
    }

    /// Where it sends.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub(in crate::settings) fn to(&self) -> Result<SinkKind, String> {
        Ok(match self.kind {
            Type::Alertmanager => SinkKind::Alertmanager(self.targets()?),
            Type::Webhook => SinkKind::Webhook {
                target: self.one_target("http://127.0.0.1:8080/hook")?,
                secret_file: path("secret_file", self.secret_file.as_deref())?,
            },
            Type::Otlp => SinkKind::Otlp(self.one_target("http://127.0.0.1:4318")?),
            Type::Journald => SinkKind::Journald,
            Type::File => self.file()?,
            Type::Stdout => SinkKind::Stdout,
        })
    }

    fn access(&self) -> Access<'_> {
        Access {
            ca_file: self.ca_file.as_deref(),
            bearer_file: self.bearer_file.as_deref(),
            timeout: self.timeout.as_deref(),
        }
    }

    fn one_target(&self, example: &str) -> Result<HttpTarget, String> {
        self.access().one(self.url.as_deref(), example)
    }

    fn targets(&self) -> Result<Vec<HttpTarget>, String> {
        let urls = self.urls.as_deref().unwrap_or_default();
        if urls.is_empty() {
            return Err("it needs urls = [\"http://127.0.0.1:9093\"]".to_owned());
        }
        if urls.len() > SinkKind::MOST_URLS {
            let most = SinkKind::MOST_URLS;
            return Err(format!("urls: at most {most} may be; leave some out"));
        }
        let mut parsed = Vec::with_capacity(urls.len());
        for url in urls {
            let url = key("urls", Url::parse(url))?;
            if parsed.contains(&url) {
                return Err("urls: the second of two that are the same is one too many".to_owned());
            }
            parsed.push(url);
        }
        self.access().each(parsed)
    }

    fn file(&self) -> Result<SinkKind, String> {
        let path = path("path", self.path.as_deref())?;
        Ok(SinkKind::File {
            path: path.ok_or("it needs path = \"/var/lib/sockpick/alerts.jsonl\"")?,
            rotate_bytes: match self.rotate.as_deref() {
                Some("off") => None,
                Some(text) => {
                    let rotate = number::size(text, &SinkKind::ROTATE, ", or \"off\"");
                    Some(key("rotate", rotate)?)
                }
                None => Some(SinkKind::USUAL_ROTATE),
            },
            keep: match self.keep {
                Some(keep) => key("keep", number::whole(keep, &SinkKind::KEEP))?,
                None => SinkKind::USUAL_KEEP,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_finds_its_own_row() {
        for (word, _) in SINKS {
            let table: SinkTable = toml::from_str(&format!("type = '{word}'")).expect(word);
            assert_eq!(table.word(), word);
        }
    }
}
