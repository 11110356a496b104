//! `[metrics]`

mod otlp;

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use self::otlp::{OtlpTable, otlp};
use super::number::{number, path};
use crate::settings::feed::{Listen, MetricsSettings};

/// Most bytes of a socket's path: `sun_path` has 108, with the zero (`unix(7)`).
const LONGEST_PATH: usize = 107;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MetricsTable {
    #[serde(deserialize_with = "listen")]
    listen: Option<Listen>,
    #[serde(deserialize_with = "max_series")]
    max_series: usize,
    otlp: Option<Spanned<OtlpTable>>,
}

impl Default for MetricsTable {
    fn default() -> Self {
        let MetricsSettings {
            listen, max_series, ..
        } = MetricsSettings::default();
        Self {
            listen,
            max_series,
            otlp: None,
        }
    }
}

impl MetricsTable {
    /// The settings in a file with this text.
    ///
    /// # Errors
    /// The line, and what is wrong there.
    pub(super) fn checked(self, text: &str) -> Result<MetricsSettings, String> {
        let otlp = self.otlp.map(|table| otlp(&table, text)).transpose()?;
        Ok(MetricsSettings {
            listen: self.listen,
            max_series: self.max_series,
            otlp,
        })
    }
}

fn max_series<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, &MetricsSettings::MAX_SERIES)
}

fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Listen>, D::Error> {
    let text = String::deserialize(deserializer)?;
    place(&text).map(Some).map_err(de::Error::custom)
}

fn place(text: &str) -> Result<Listen, String> {
    let form = "write it as 127.0.0.1:9464, [::1]:9464 or unix:/run/sockpick/metrics.sock";
    if let Some(socket) = text.strip_prefix("unix:") {
        let path =
            path(socket).map_err(|_| format!("{text:?} has no path from the root; {form}"))?;
        if socket.len() > LONGEST_PATH {
            return Err(format!(
                "the path of a socket has at most {LONGEST_PATH} bytes, and {text:?} has more; {form}"
            ));
        }
        return Ok(Listen::Unix(path));
    }
    let address: Option<SocketAddr> = text.parse().ok();
    // Port 0 is a port that nobody knows.
    address
        .filter(|address| address.port() != 0)
        .map(Listen::Tcp)
        .ok_or_else(|| format!("{text:?} is no address with a port, and no socket; {form}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_socket() {
        for text in [
            "127.0.0.1:9464",
            "[::1]:9464",
            "unix:/run/sockpick/metrics.sock",
        ] {
            let place = place(text).map(|place| place.to_string());
            assert_eq!(place.as_deref(), Ok(text));
        }
        let long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        for wrong in [
            "",
            "localhost:9464",
            "127.0.0.1",
            "127.0.0.1:0",
            ":9464",
            "unix:",
            "unix:a",
            &long,
        ] {
            let said = place(wrong).expect_err(wrong);
            assert!(said.contains("write it as"), "{said}");
        }
    }
}
