//! `[daemon]`

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::number::{time, time_text};
use crate::settings::DaemonSettings;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DaemonTable {
    #[serde(deserialize_with = "self_check")]
    self_check: Option<Duration>,
}

impl Default for DaemonTable {
    fn default() -> Self {
        let DaemonSettings { self_check } = DaemonSettings::default();
        Self { self_check }
    }
}

impl From<DaemonTable> for DaemonSettings {
    fn from(table: DaemonTable) -> Self {
        Self {
            self_check: table.self_check,
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
