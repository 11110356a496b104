//! The daemon for hours: what it takes does not grow, and it still says what happened. For a guest
//! that skips idle time.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::verdicts::host;
use crate::attempt::{Attempt, all_answered, all_refused};
use crate::client::connect;
use crate::context::Context;
use crate::daemon::{Daemon, configure, folder};
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;

/// For so many minutes, unless the environment says otherwise.
const MINUTES: u32 = 60;
/// A service is down for a minute, every so many.
const OUTAGE: u32 = 10;
/// How often the configuration is read again; every other time it is broken.
const RELOAD: u32 = 15;
/// How often there are many connections at once.
const FLOOD: u32 = 30;

/// How often it is looked what it takes, each time.
const LOOKS: u32 = 5;

/// More than there are tallies of closed listeners.
const LISTENERS: usize = 4500;

/// One receiver is never there, so that what it should get piles up.
const SETTINGS: &str = "\
[daemon]
self_check = '1m'
[[service]]
name = 'A'
listen = ['6.6.6.6:80']
[[sink]]
type = 'webhook'
url = 'http://127.0.0.1:9/alerts'
";

/// What the daemon's process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) rss_kib: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

impl Taken {
    pub(super) fn by(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.split_whitespace().next());
            Ok(value.context("no such field in its status")?.parse()?)
        };
        Ok(Self {
            rss_kib: field("VmRSS:")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            threads: field("Threads:")?,
        })
    }

    /// The same once what ends just then has ended, such as an answer that was read whole: of
    /// some looks in a second, the least.
    fn settled(pid: u32) -> Result<Self> {
        let looks = (0..LOOKS).map(|_| {
            std::thread::sleep(Duration::from_secs(1) / LOOKS);
            Self::by(pid)
        });
        let looks: Vec<Self> = looks.collect::<Result<_>>()?;
        Ok(Self::each(&looks, |values| values.min()))
    }

    /// The most of each.
    pub(super) fn most(all: &[Self]) -> Self {
        Self::each(all, |values| values.max())
    }

    fn each(all: &[Self], pick: fn(&mut dyn Iterator<Item = u64>) -> Option<u64>) -> Self {
        let of = |field: fn(&Self) -> u64| pick(&mut all.iter().map(field)).unwrap_or(0);
        Self {
            rss_kib: of(|taken| taken.rss_kib),
            descriptors: of(|taken| taken.descriptors),
            threads: of(|taken| taken.threads),
        }
    }
}

/// Who accepted how many.
#[derive(Default)]
struct Accepted(BTreeMap<String, u32>);

impl Accepted {
    fn take(&mut self, attempts: &[Attempt]) {
        for who in attempts.iter().filter_map(Attempt::identity) {
            *self.0.entry(who.name.clone()).or_default() += 1;
        }
    }
}

/// Restarts, outages, reloads good and bad, floods, refused SYNs, namespaces that come and go, and
/// a receiver that is down. What the daemon counted is what the servers accepted, each outage is
/// one alert, and in the last half it takes no more than in the first.
pub(crate) fn daemon_soak(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let minutes = std::env::var("SOCKPICK_SOAK_MINUTES").ok();
    let minutes = minutes.map_or(Ok(MINUTES), |minutes| minutes.parse())?;
    let _netns = host()?;
    let folder = folder("soak");
    let _b = Server::start(Listen::new("B", "0.0.0.0:80")?.group(1))?;
    let start = || Server::start(Listen::new("A", "6.6.6.6:80")?.group(2));
    let mut a = Some(start()?);
    let daemon = cx.daemon(&folder, SETTINGS)?;
    fill()?;
    let (mut accepted, mut refused) = (Accepted::default(), 0);
    let mut outages = 0;
    let mut taken = Vec::new();
    for minute in 1..=minutes {
        // A minute without A, in which B gets what is A's; else A is there, once restarted.
        let is_out = minute % OUTAGE == 0;
        drop(a.take());
        if is_out {
            outages += 1;
        } else {
            a = Some(start()?);
        }
        let whose = if is_out { "B" } else { "A" };
        let times = if minute % FLOOD == 0 { 2000 } else { 20 };
        let attempts = connect("6.6.6.6:80", times)?;
        all_answered(&attempts, &[whose])?;
        accepted.take(&attempts);
        let attempts = connect("127.0.0.1:80", times)?;
        all_answered(&attempts, &["B"])?;
        accepted.take(&attempts);
        let attempts = connect("127.0.0.1:99", 3)?;
        all_refused(&attempts)?;
        refused += 3;
        short_lived(minute)?;
        if minute % RELOAD == 0 {
            reload(&daemon, &folder, minute / RELOAD % 2 == 1)?;
        }
        std::thread::sleep(Duration::from_mins(1));
        let (status, _) = Daemon::get("/readyz")?;
        if status != 200 {
            bail!(
                "/readyz says {status} after {minute} minutes: {:#?}",
                daemon.said()
            );
        }
        Daemon::get("/metrics")?;
        let now = Taken::settled(daemon.pid())?;
        taken.push(now);
    }
    drop(a);
    write_down(&taken)?;
    for (listener, name) in [("6.6.6.6:80", "A"), ("*:80", "B")] {
        let accepted = accepted.0.get(name).copied().unwrap_or(0);
        let labels = [("listener", listener)];
        daemon.metric("sockpick_syn_total", &labels, f64::from(accepted))?;
    }
    daemon.metric(
        "sockpick_refused_total",
        &[("port", "99")],
        f64::from(refused),
    )?;
    daemon.metric("sockpick_events_lost_total", &[("stage", "queue")], 0.0)?;
    daemon.metric("sockpick_events_lost_total", &[("stage", "kernel")], 0.0)?;
    let began = |lines: &[serde_json::Value]| {
        let began = lines.iter().filter(|line| line["alert"] == "began");
        began.count()
    };
    daemon.lines(|lines| began(lines) == outages)?;
    flat(&taken)?;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// More listeners that come, get a SYN and go than are remembered: what is bounded is full then,
/// and grows no more.
fn fill() -> Result<()> {
    for _ in 0..LISTENERS {
        // All at one place, as each has series of its own.
        let listener =
            TcpListener::bind("127.0.0.1:7000").context("the fill, at 127.0.0.1:7000")?;
        let _client = TcpStream::connect(listener.local_addr()?)?;
        listener.accept()?;
    }
    Ok(())
}

/// A line for each minute, for who asked for it.
fn write_down(taken: &[Taken]) -> Result<()> {
    let Some(path) = std::env::var_os("SOCKPICK_SOAK_SAMPLES") else {
        return Ok(());
    };
    let lines = (1..).zip(taken).map(|(minute, taken)| {
        let Taken {
            rss_kib,
            descriptors,
            threads,
        } = taken;
        format!("SOAK {minute} {rss_kib} {descriptors} {threads}\n")
    });
    Ok(fs::write(path, lines.collect::<Vec<_>>().concat())?)
}

/// A namespace with a listener that gets a SYN, and goes.
fn short_lived(minute: u32) -> Result<()> {
    let here = Netns::current()?;
    let name = format!("short-{}-{minute}", std::process::id());
    let short = Netns::named(&name)?;
    let server = Server::start(Listen::new("C", "127.0.0.1:80")?)?;
    all_answered(&connect("127.0.0.1:80", 1)?, &["C"])?;
    drop(server);
    here.enter()?;
    drop(short);
    Ok(())
}

fn reload(daemon: &Daemon, folder: &std::path::Path, is_good: bool) -> Result<()> {
    let settings = if is_good {
        SETTINGS
    } else {
        "[watch]\nport = [80]"
    };
    configure(folder, settings)?;
    daemon.signal(Signal::SIGHUP)?;
    let name = "sockpick_config_last_reload_successful";
    daemon.metric(name, &[], if is_good { 1.0 } else { 0.0 })
}

/// Whether the last half took no more than the first did, once it had begun.
fn flat(taken: &[Taken]) -> Result<()> {
    let (first, last) = taken.split_at(taken.len() / 2);
    let (before, after) = (Taken::most(first), Taken::most(last));
    // An allocator that returns nothing may still round.
    let is_flat = after.rss_kib <= before.rss_kib + 1024
        && after.descriptors <= before.descriptors
        && after.threads <= before.threads;
    if !is_flat {
        bail!("it takes more and more: at most {before:?} in the first half, then {after:?}");
    }
    Ok(())
}
