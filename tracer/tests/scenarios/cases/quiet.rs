//! The daemon on a host where nothing happens: what it takes, and how often it wakes up. For a guest
//! that skips idle time.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::soak::Taken;
use super::verdicts::host;
use crate::context::Context;
use crate::daemon::{Daemon, folder};

/// How many there are that nobody connects to.
const LISTENERS: u16 = 1000;
const FIRST_PORT: u16 = 10_000;
/// It has settled by then; and for how long it is looked at. It checks itself every three minutes:
/// in the middle between two, so that as many fall into the time whatever they take.
const SETTLED: Duration = Duration::from_secs(270);
const MINUTES: u64 = 12;

/// What it may take: of memory, as `VmRSS` has it, where the buffer of 2 MiB is twice; of the maps
/// of its programs, where it is once; and how often one of its threads may go to sleep, in a
/// minute.
const MOST_RSS_KIB: u64 = 20_000;
const MOST_MAPS: u64 = 8 << 20;
const MOST_WAKES: u64 = 2;

/// Nobody connects to any of a thousand listeners, and nobody asks for metrics.
pub(crate) fn daemon_quiet(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let _netns = host()?;
    let listen = |port| TcpListener::bind(("127.0.0.1", port));
    let ports = FIRST_PORT..FIRST_PORT + LISTENERS;
    let listeners: Vec<_> = ports.map(listen).collect::<Result<_, _>>()?;
    let folder = folder("quiet");
    let daemon = cx.daemon(&folder, "")?;
    std::thread::sleep(SETTLED);
    let before = wakes(&daemon)?;
    std::thread::sleep(Duration::from_mins(MINUTES));
    let wakes = wakes(&daemon)? - before;
    let taken = Taken::by(daemon.pid())?;
    let maps = map_bytes(&daemon)?;
    println!(
        "FIGURE quiet: {} KiB, {maps} bytes of maps, {wakes} wake-ups in {MINUTES} minutes",
        taken.rss_kib
    );
    ensure!(wakes <= MOST_WAKES * MINUTES, "it woke up {wakes} times");
    ensure!(taken.rss_kib <= MOST_RSS_KIB, "{taken:?}");
    ensure!(maps <= MOST_MAPS, "{maps} bytes of maps");
    // It was watching meanwhile.
    let labels = [("result", "ok")];
    daemon.metric_at_least("sockpick_self_check_total", &labels, 4.0)?;
    drop(listeners);
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// How often its threads went to sleep.
fn wakes(daemon: &Daemon) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let mut lines = status.lines();
        let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += count
            .context("no voluntary_ctxt_switches")?
            .trim()
            .parse::<u64>()?;
    }
    Ok(sum)
}

/// What the kernel says its maps take, each once, however many descriptors it has.
fn map_bytes(daemon: &Daemon) -> Result<u64> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", daemon.pid()))? {
        let text = fs::read_to_string(entry?.path())?;
        let field = |name| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    ensure!(!maps.is_empty(), "no maps");
    Ok(maps.values().sum())
}
