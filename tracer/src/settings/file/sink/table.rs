//! One `[[sink]]` as it is written. All is checked here and not while it is read, so that what is
//! told of it is chosen: a value may be a secret in the wrong place.

use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::settings::{
    feed::{HttpTarget, SinkKind, SinkSettings, SpoolSettings},
    file::{
        number,
        target::{Access, key, path},
        url,
    },
    values::{bytes, bytes_text},
};

/// Which keys a type has is checked before (`keys.rs`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::settings::file) struct SinkTable {
    #[serde(rename = "type")]
    pub(super) kind: Type,
    pub(super) name: Option<String>,
    queue: Option<i64>,
    urls: Option<Vec<String>>,
    url: Option<String>,
    secret_file: Option<String>,
    ca_file: Option<String>,
    bearer_file: Option<String>,
    timeout: Option<String>,
    path: Option<String>,
    rotate: Option<String>,
    keep: Option<i64>,
    spool: Option<String>,
    spool_size: Option<String>,
    spool_age: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    Alertmanager,
    Webhook,
    Otlp,
    Journald,
    File,
    Stdout,
}

impl Type {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Webhook => "webhook",
            Self::Otlp => "otlp",
            Self::Journald => "journald",
            Self::File => "file",
            Self::Stdout => "stdout",
        }
    }
}

impl SinkTable {
    /// # Errors
    /// The key, and what is wrong with it.
    pub(super) fn checked(self, name: String) -> Result<SinkSettings, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=SinkSettings::LONGEST_NAME).contains(&name.len()) || !name.chars().all(is_plain) {
            return Err(format!(
                "a name has 1 to {} letters, digits and -_. of ASCII; write it as pager-2",
                SinkSettings::LONGEST_NAME
            ));
        }
        let queue = match self.queue {
            Some(queue) => key("queue", number::whole(queue, &SinkSettings::QUEUE))?,
            None => SinkSettings::USUAL_QUEUE,
        };
        let spool = self.spool()?;
        let to = self.to()?;
        Ok(SinkSettings {
            name,
            queue,
            spool,
            to,
        })
    }

    fn spool(&self) -> Result<Option<SpoolSettings>, String> {
        let Some(path) = path("spool", self.spool.as_deref())? else {
            return match (&self.spool_size, &self.spool_age) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(without_spool("spool_size")),
                (None, Some(_)) => Err(without_spool("spool_age")),
            };
        };
        Ok(Some(SpoolSettings {
            path,
            bytes: match self.spool_size.as_deref() {
                Some(text) => key("spool_size", size(text, &SpoolSettings::BYTES, ""))?,
                None => SpoolSettings::USUAL_BYTES,
            },
            age: match self.spool_age.as_deref() {
                Some(text) => key("spool_age", number::time(text, &SpoolSettings::AGE))?,
                None => SpoolSettings::USUAL_AGE,
            },
        }))
    }

    fn to(&self) -> Result<SinkKind, String> {
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
        for (index, url) in urls.iter().enumerate() {
            key("urls", url::check(url))?;
            if urls[..index].contains(url) {
                return Err("urls: the second of two that are the same is one too many".to_owned());
            }
        }
        self.access().each(urls)
    }

    fn file(&self) -> Result<SinkKind, String> {
        let path = path("path", self.path.as_deref())?;
        Ok(SinkKind::File {
            path: path.ok_or("it needs path = \"/var/lib/sockpick/alerts.jsonl\"")?,
            rotate_bytes: match self.rotate.as_deref() {
                Some("off") => None,
                Some(text) => {
                    let rotate = size(text, &SinkKind::ROTATE, ", or \"off\"");
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

/// A size from one to another. `other`: what may be written instead.
fn size(text: &str, range: &RangeInclusive<u64>, other: &str) -> Result<u64, String> {
    let size = bytes(text).filter(|size| range.contains(size));
    size.ok_or_else(|| {
        let [least, most] = [*range.start(), *range.end()].map(bytes_text);
        format!("{text:?} is no size from {least} to {most}; write it as 100M or 1G{other}")
    })
}

/// A key that does nothing hides what its writer believes.
fn without_spool(name: &str) -> String {
    format!(
        "{name}: it is for a spool, and none is named; add spool = \
         \"/var/lib/sockpick/NAME.spool\", or leave it out"
    )
}
