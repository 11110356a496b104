//! Values that are not places: ports, numbers, times, sizes, prefixes. Each says in one line
//! what is wrong, which form the value has, and gives an example.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use ipnet::IpNet;

/// Least bytes of a part of a recording: the listeners that it begins with may need as many.
const LEAST_PART: u64 = 4096;

/// Most ports that a filter in the kernel takes: each is an entry of a hash table, which is
/// filled one by one at the start.
pub const MOST_PORTS: usize = 4096;

/// Ports from one to another; the two may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// Whether the port is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

/// Every single port, each once, in order. Takes as long as there are ports and ranges, however
/// often these overlap.
#[must_use]
pub fn every_port(some: &[Ports]) -> Vec<u16> {
    let mut ranges: Vec<(u16, u16)> = some.iter().map(|ports| (ports.first, ports.last)).collect();
    ranges.sort_unstable();
    let mut ports = Vec::new();
    // The first port that is not there yet; none is there after the last.
    let mut next = Some(0);
    for (first, last) in ranges {
        let Some(from) = next else { break };
        if last >= from {
            ports.extend(first.max(from)..=last);
            next = last.checked_add(1);
        }
    }
    ports
}

pub(crate) fn ports(text: &str) -> Result<Ports, String> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|&port| port != 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    port(first)
        .zip(port(last))
        .filter(|(first, last)| first <= last)
        .map(|(first, last)| Ports { first, last })
        .ok_or_else(|| {
            format!("{text:?} is no port (1 to 65535); write it as 80, 80,443 or 8000-8010")
        })
}

fn positive<T: FromStr + PartialEq + Default>(text: &str, what: &str) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|number| *number != T::default())
        .ok_or_else(|| format!("{text:?} is no {what}; write it as a whole number, such as 100"))
}

pub(crate) fn count(text: &str) -> Result<u64, String> {
    positive(text, "count")
}

pub(crate) fn pid(text: &str) -> Result<u32, String> {
    positive(text, "process id")
}

pub(crate) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the name is empty; write it as in /proc/PID/comm, such as nginx".to_owned());
    }
    Ok(text.to_owned())
}

pub(crate) fn prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    text.parse().map_err(|_| {
        format!("{text:?} is no address and no prefix; write it as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32")
    })
}

/// A time such as `500ms` or `10m`.
///
/// # Errors
/// If it is none, in words for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => f64::NAN,
    };
    let number: f64 = number.parse().unwrap_or(f64::NAN);
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("{text:?} is no time; write it as 500ms, 30s, 10m or 1h"))
}

/// The same time as text that [`duration`] reads.
pub(super) fn duration_text(duration: Duration) -> String {
    // Beyond this not every whole number of seconds is a float, and a larger unit may round.
    const EXACT: u64 = 1 << 53;
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos != 0 && seconds == 0 && nanos.is_multiple_of(1_000_000) {
        return format!("{}ms", nanos / 1_000_000);
    }
    if nanos != 0 {
        let digits = format!("{seconds}.{nanos:09}");
        return format!("{}s", digits.trim_end_matches('0'));
    }
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let mut units = units.iter().filter(|_| seconds < EXACT);
    match units.find(|(unit, _)| seconds.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// The same number of bytes as text that [`bytes`] reads.
pub(super) fn bytes_text(bytes: u64) -> String {
    let units = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.iter().find(|(unit, _)| bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Where a recording is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A part ends with the batch that reaches so many bytes.
    pub bytes: u64,
    /// How many parts are kept beside the one that is written; `None`: all.
    pub keep: Option<u32>,
}

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as possible.
    Max,
    /// So many times as fast as it was.
    Times(f64),
}

pub(crate) fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse::<f64>() {
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err(format!(
            "{text:?} is no speed; write it as 1, 10, 0.5 or max"
        )),
    }
}

/// The size of a recording's parts, and how many are kept.
pub(crate) fn rotation(text: &str) -> Result<Rotation, String> {
    let (size, keep) = match text.split_once(',') {
        Some((size, keep)) => (size, Some(keep)),
        None => (text, None),
    };
    let bytes = bytes(size).filter(|bytes| *bytes >= LEAST_PART);
    let keep = keep.map(|keep| keep.parse().ok().filter(|keep| *keep > 0));
    match (bytes, keep) {
        (Some(bytes), None) => Ok(Rotation { bytes, keep: None }),
        (Some(bytes), Some(keep @ Some(_))) => Ok(Rotation { bytes, keep }),
        _ => Err(format!(
            "{text:?} is no size of parts (4K or more), and no number of them to keep (1 or more) \
             behind it; write it as 100M or 1G,5"
        )),
    }
}

/// Bytes with a suffix, in powers of 1024.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let factor: u64 = match unit {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

pub(crate) fn buffer_size(text: &str) -> Result<u32, String> {
    bytes(text)
        .and_then(|size| u32::try_from(size).ok())
        .filter(|size| size.is_power_of_two() && (4096..=1 << 30).contains(size))
        .ok_or_else(|| {
            format!(
                "{text:?} is no buffer size, which is a power of two from 4096 to 1024MiB; write \
                 it as 65536, 512KiB or 4MiB"
            )
        })
}
