//! Numbers, times and paths of the file, within what they may be.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de};

use crate::settings::values::{bytes, bytes_text, duration, duration_text};

/// A whole number from one to another.
pub(super) fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: &RangeInclusive<usize>,
) -> Result<usize, D::Error> {
    let written = i64::deserialize(deserializer)?;
    whole(written, range).map_err(de::Error::custom)
}

/// The same of a number that is read already.
pub(in crate::settings) fn whole(
    written: i64,
    range: &RangeInclusive<usize>,
) -> Result<usize, String> {
    let number = usize::try_from(written).ok();
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| out_of_range(written, "a whole number", range.start(), range.end()))
}

/// A time is text: a number says not of what.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "not a time; write it with its unit, as \"30s\", \"10m\" or \"1h\""
)]
enum Time {
    Text(String),
}

/// The text of a time.
pub(super) fn time_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let Time::Text(text) = Time::deserialize(deserializer)?;
    Ok(text)
}

/// A time from one to another.
pub(super) fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, D::Error> {
    let text = time_text(deserializer)?;
    time(&text, range).map_err(de::Error::custom)
}

/// The same of a text that is read already.
pub(super) fn time(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let time = with_unit(text)?;
    if range.contains(&time) {
        return Ok(time);
    }
    let [least, most] = [*range.start(), *range.end()].map(duration_text);
    Err(out_of_range(format!("{text:?}"), "a time", least, most))
}

/// A time with its unit: without one it says not of what. (Flags take seconds without.)
pub(super) fn with_unit(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(time);
    }
    Err(format!(
        "{text:?} has no unit; write it as \"{text}s\" for seconds, or as \"10m\" or \"1h\""
    ))
}

fn out_of_range(
    written: impl Display,
    what: &str,
    least: impl Display,
    most: impl Display,
) -> String {
    format!("{written} is out of range; write {what} from {least} to {most}")
}

/// A size from one to another. `other`: what may be written instead.
pub(in crate::settings) fn size(
    text: &str,
    range: &RangeInclusive<u64>,
    other: &str,
) -> Result<u64, String> {
    let size = bytes(text).filter(|size| range.contains(size));
    size.ok_or_else(|| {
        let [least, most] = [*range.start(), *range.end()].map(bytes_text);
        format!("{text:?} is no size from {least} to {most}; write it as 100M or 1G{other}")
    })
}

/// A file's name from the root on: the daemon's directory is not the user's.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    // A zero byte ends the name for the kernel.
    if path.is_absolute() && !text.contains('\0') {
        return Ok(path);
    }
    Err("it is no path from the root; write it as /var/lib/sockpick/name".to_owned())
}

pub(super) fn some_path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    path(&text).map(Some).map_err(de::Error::custom)
}
