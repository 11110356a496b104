//! What the kernel itself counts of TCP, in this thread's namespace.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Packets that found no room on their way through loopback, of all namespaces.
pub(crate) const DROPPED: &str = "softnet.dropped";

/// Counters by their table and name, as `Tcp.InSegs` and `TcpExt.ListenDrops`.
#[derive(Clone, Debug)]
pub(crate) struct Snmp(BTreeMap<String, u64>);

impl Snmp {
    /// As they are now.
    pub(crate) fn now() -> Result<Self> {
        let mut all = BTreeMap::new();
        for file in ["snmp", "netstat"] {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.chunks_exact(2) {
                all.extend(table(pair[0], pair[1]));
            }
        }
        all.insert(DROPPED.into(), dropped_in_backlog()?);
        Ok(Self(all))
    }

    /// As they are when no segment is under way: one may be counted as sent and not yet as received.
    pub(crate) fn at_rest(within: Duration) -> Result<Self> {
        let start = Instant::now();
        let mut before = Self::now()?;
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let now = Self::now()?;
            if now.since(&before, "Tcp.OutSegs")? + now.since(&before, "Tcp.InSegs")? == 0 {
                return Ok(now);
            }
            ensure!(
                start.elapsed() < within,
                "segments come and go for {within:?}"
            );
            before = now;
        }
    }

    /// What one has risen by since then.
    pub(crate) fn since(&self, before: &Self, name: &str) -> Result<u64> {
        let of = |all: &Self| all.0.get(name).copied();
        let (now, then) = of(self).zip(of(before)).with_context(|| name.to_owned())?;
        Ok(now.wrapping_sub(then))
    }
}

/// The first line has the names, the second the values. One that is no counter is left out.
fn table(names: &str, values: &str) -> Vec<(String, u64)> {
    let mut names = names.split_whitespace();
    let table = names.next().unwrap_or_default().trim_end_matches(':');
    let pairs = names.zip(values.split_whitespace().skip(1));
    pairs
        .filter_map(|(name, value)| Some((format!("{table}.{name}"), value.parse().ok()?)))
        .collect()
}

fn dropped_in_backlog() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/softnet_stat")?;
    let column = text.lines().map(|line| {
        let dropped = line.split_whitespace().nth(1).context("no second column")?;
        Ok(u64::from_str_radix(dropped, 16)?)
    });
    column.sum()
}
