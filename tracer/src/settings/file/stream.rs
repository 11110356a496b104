//! `[stream]`

use serde::{Deserialize, Deserializer, de};

use crate::settings::feed::Stream;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StreamTable {
    #[serde(deserialize_with = "events")]
    pub(super) events: Stream,
}

fn events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Stream, D::Error> {
    let text = String::deserialize(deserializer)?;
    stream(&text).map_err(de::Error::custom)
}

fn stream(text: &str) -> Result<Stream, String> {
    let sample = text.strip_prefix("sample 1/");
    // One of one is all, and has a word of its own.
    let sample = sample.and_then(|of| of.parse().ok()).filter(|of| *of > 1);
    match (text, sample) {
        ("alerts", _) => Ok(Stream::Alerts),
        ("all", _) => Ok(Stream::All),
        (_, Some(of)) => Ok(Stream::Sample(of)),
        _ => Err(format!(
            "{text:?} says not which events; write it as alerts, sample 1/100 or all"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_none_some_or_all() {
        for text in [
            "alerts",
            "all",
            "sample 1/2",
            "sample 1/18446744073709551615",
        ] {
            let read = stream(text).map(|stream| stream.to_string());
            assert_eq!(read.as_deref(), Ok(text));
        }
        for wrong in [
            "",
            "none",
            "sample",
            "sample 1/1",
            "sample 1/0",
            "sample 2/3",
            "sample 1/-2",
        ] {
            assert!(stream(wrong).is_err(), "{wrong}");
        }
    }
}
