//! `[daemon]`

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::number::{time, time_text, within};
use crate::settings::feed::{DaemonSettings, OnUntraceable};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DaemonTable {
    #[serde(deserialize_with = "self_check")]
    self_check: Option<Duration>,
    #[serde(deserialize_with = "on_untraceable")]
    on_untraceable: OnUntraceable,
    #[serde(deserialize_with = "audit")]
    audit: Duration,
}

impl Default for DaemonTable {
    fn default() -> Self {
        let DaemonSettings {
            self_check,
            on_untraceable,
            audit,
        } = DaemonSettings::default();
        Self {
            self_check,
            on_untraceable,
            audit,
        }
    }
}

impl From<DaemonTable> for DaemonSettings {
    fn from(table: DaemonTable) -> Self {
        Self {
            self_check: table.self_check,
            on_untraceable: table.on_untraceable,
            audit: table.audit,
        }
    }
}

fn self_check<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = time_text(deserializer)?;
    if text == "off" {
        return Ok(None);
    }
    let read = time(&text, &DaemonSettings::SELF_CHECK);
    read.map(Some)
        .map_err(|wrong| de::Error::custom(format!("{wrong}; \"off\": never")))
}

fn on_untraceable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OnUntraceable, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut all = OnUntraceable::ALL.into_iter();
    let meant = all.find(|one| one.word() == text);
    meant.ok_or_else(|| {
        let words = OnUntraceable::ALL.map(|one| format!("{:?}", one.word()));
        de::Error::custom(format!("{text:?} is neither {}", words.join(" nor ")))
    })
}

fn audit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    within(deserializer, &DaemonSettings::AUDIT)
}
