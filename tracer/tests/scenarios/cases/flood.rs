//! SYNs of every kind as fast as this guest can send them: what the daemon counts is what the
//! kernel counts. Meanwhile it alerts, and answers who asks for its metrics.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use socket2::Socket;

use super::scraper::{Scraped, Scraper};
use super::verdicts::host;
use crate::client::Client;
use crate::context::Context;
use crate::daemon::{Daemon, configure, folder, sum};
use crate::flood::{Flood, lead_nowhere, sent};
use crate::listen::Listen;
use crate::snmp::{DROPPED, Snmp};

/// SYNs of each kind.
const SYNS: u32 = 20_000;
/// Other listeners of the host.
const OTHERS: u16 = 1_000;
/// From the first wrong SYN to the alert.
const ALERT: Duration = Duration::from_secs(1);
/// Likewise where the guest's clock goes on while others have the processors of its host.
const ALERT_EMULATED: Duration = Duration::from_secs(10);

/// SYN+ACKs are under way no longer than this, however busy the guest's host is.
const UNDER_WAY: Duration = Duration::from_secs(30);

const SETTINGS: &str = "\
[watch]
ports = ['80-83', '2000-2999']
[daemon]
self_check = '10s'
[[service]]
name = 'A'
listen = ['6.6.6.6:80']
[[service]]
name = 'C'
listen = ['6.6.6.6:81']
";

/// A kind of SYNs, and what is counted of each.
struct Kind {
    name: &'static str,
    to: &'static str,
    /// Sockpick's counter.
    counter: &'static str,
    label: (&'static str, &'static str),
    /// The kernel's counters that rise by one with each, besides `Tcp.InSegs`.
    each: &'static [&'static str],
    /// Each is answered by a SYN+ACK or an RST.
    answered: bool,
    alerts: bool,
}

/// A listener has it.
const TAKEN: Kind = Kind {
    name: "right",
    to: "6.6.6.6:80",
    counter: "sockpick_syn_total",
    label: ("listener", "6.6.6.6:80"),
    each: &[],
    answered: true,
    alerts: false,
};

const KINDS: [Kind; 4] = [
    TAKEN,
    Kind {
        name: "uncovered",
        to: "6.6.6.6:81",
        label: ("listener", "*:81"),
        alerts: true,
        ..TAKEN
    },
    Kind {
        name: "refused",
        to: "6.6.6.6:82",
        counter: "sockpick_refused_total",
        label: ("port", "82"),
        each: &["Tcp.OutRsts"],
        ..TAKEN
    },
    Kind {
        name: "accept queue full",
        to: "6.6.6.6:83",
        label: ("listener", "6.6.6.6:83"),
        each: &["TcpExt.ListenOverflows", "TcpExt.ListenDrops"],
        answered: false,
        ..TAKEN
    },
];

/// What the kernel counts otherwise: of none of these kinds.
const NEVER: [&str; 7] = [
    "Tcp.PassiveOpens",
    "Tcp.AttemptFails",
    "Tcp.InErrs",
    "TcpExt.TCPReqQFullDrop",
    "Tcp.OutRsts",
    "TcpExt.ListenOverflows",
    "TcpExt.ListenDrops",
];

/// What sockpick says of a kind, and how much it lost in all.
#[derive(Clone, Copy, Debug)]
struct Counted {
    told: f64,
    lost: f64,
}

impl Counted {
    fn of(kind: &Kind) -> Result<Self> {
        let (_, body) = Daemon::get("/metrics")?;
        let of = |name, labels: &[_]| sum(&body, name, labels).unwrap_or(0.0);
        let lost = |stage| of("sockpick_events_lost_total", &[("stage", stage)]);
        Ok(Self {
            told: of(kind.counter, &[kind.label]),
            lost: lost("kernel") + lost("queue"),
        })
    }

    fn sum(self) -> f64 {
        self.told + self.lost
    }
}

/// Each kind by itself, as the kernel counts all of them together.
pub(crate) fn daemon_flood(cx: &Context) -> Result<()> {
    cx.need_one_of_three()?;
    let _netns = host()?;
    lead_nowhere()?;
    resend_once()?;
    let _listeners = listeners()?;
    let folder = folder("flood");
    let daemon = cx.daemon(&folder, SETTINGS)?;
    std::thread::sleep(Duration::from_secs(2));
    let mut idle = Scraped::default();
    idle.once(daemon.pid())?;
    println!("FIGURE idle {idle:?}");
    for kind in &KINDS {
        flooded(&daemon, kind, &folder).with_context(|| kind.name.to_owned())?;
    }
    covered(&daemon)?;
    daemon.metric("sockpick_self_check_total", &[("result", "failed")], 0.0)?;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// Has SYN+ACKs that nobody answers sent again once, instead of for a minute: counters come to rest.
fn resend_once() -> Result<()> {
    let file = "/proc/sys/net/ipv4/tcp_synack_retries";
    fs::write(file, "1").context(file)
}

/// What listens: at port 80 whoever is right and another, at 81 the wrong one alone, at 82 nobody,
/// at 83 one whose accept queue is full; and many more.
fn listeners() -> Result<(Vec<Socket>, Vec<Socket>)> {
    setrlimit(Resource::RLIMIT_NOFILE, 4096, 4096)?;
    let mut listeners = Vec::new();
    for address in ["6.6.6.6:80", "0.0.0.0:80", "0.0.0.0:81"] {
        // A group each, so that two may listen at one port.
        listeners.extend(Listen::new("flood", address)?.group(1).open()?);
    }
    listeners.extend(Listen::new("flood", "6.6.6.6:83")?.backlog(1).open()?);
    for port in 2000..2000 + OTHERS {
        listeners.extend(Listen::new("flood", &format!("127.0.0.1:{port}"))?.open()?);
    }
    // It is full when one more than its limit waits.
    let client = Client::to("6.6.6.6:83")?;
    let waiting = [client.open()?.1, client.open()?.1];
    Ok((listeners, waiting.into()))
}

fn flooded(daemon: &Daemon, kind: &Kind, folder: &Path) -> Result<()> {
    let flood = Flood::of(SYNS, 0, kind.to)?;
    let (before, base) = (Snmp::at_rest(UNDER_WAY)?, Counted::of(kind)?);
    let asking = Scraper::start(daemon.pid());
    let start = Instant::now();
    let senders = flood.begin();
    if kind.alerts {
        in_time(folder, start)?;
    }
    sent(senders)?;
    let took = start.elapsed();
    let scraped = asking.end()?;
    let came = kernel_counted(&[kind], &before)?;
    let is_all = |now: &Counted| (now.sum() - base.sum() - f64::from(came)).abs() < 0.5;
    let now = daemon.until(
        &format!("{came} SYNs told or lost"),
        || Counted::of(kind),
        is_all,
    )?;
    println!(
        "FIGURE {}: {came} of {SYNS} SYNs within {took:.1?}, {} lost, {scraped:?}",
        kind.name,
        now.lost - base.lost
    );
    Ok(())
}

/// The alert is there within a second of the first SYN.
fn in_time(folder: &Path, start: Instant) -> Result<()> {
    let within = if counts_instructions()? {
        ALERT
    } else {
        ALERT_EMULATED
    };
    let file = folder.join("alerts.jsonl");
    while start.elapsed() < within {
        let told = fs::read_to_string(&file).unwrap_or_default();
        if told.contains("\"began\"") {
            println!("FIGURE alert after {:.3?}", start.elapsed());
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("no alert within {within:?}")
}

/// Such guests have one processor, and a clock that others on the host cannot hold up.
fn counts_instructions() -> Result<bool> {
    Ok(std::thread::available_parallelism()?.get() == 1)
}

/// How many SYNs of these kinds came, by the kernel's counters. They are of these SYNs alone, and
/// all of them are accounted for.
fn kernel_counted(kinds: &[&Kind], before: &Snmp) -> Result<u32> {
    let start = Instant::now();
    loop {
        let (came, wrong) = differences(kinds, before)?;
        if wrong.is_empty() {
            return Ok(u32::try_from(came)?);
        }
        // The last ones may be under way, and a SYN+ACK may be sent again between two counters.
        if start.elapsed() > UNDER_WAY {
            bail!("counter of the kernel, found, expected: {wrong:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What is counted, how often it was, and how often it should have been.
type Differs = (String, u64, u64);

/// How many came, and what does not go with it. All kinds have the same counters.
fn differences(kinds: &[&Kind], before: &Snmp) -> Result<(u64, Vec<Differs>)> {
    let [first, ..] = kinds else {
        bail!("no kind of SYNs");
    };
    let now = Snmp::now()?;
    let risen = |name: &str| now.since(before, name);
    // Besides answers there are SYN+ACKs that are sent again, of this kind or one before.
    let sent = risen("Tcp.OutSegs")?;
    let answers = sent.saturating_sub(risen("Tcp.RetransSegs")?);
    let came = match first.each.first() {
        Some(name) => risen(name)?,
        None => answers,
    };
    let mut found = vec![(
        "answers".to_owned(),
        answers,
        u64::from(first.answered) * came,
    )];
    // Of what loopback has no room for, nobody can tell SYNs and answers, which come in again there.
    let (all, dropped) = (kinds.len() as u64 * u64::from(SYNS), risen(DROPPED)?);
    let expected = came.clamp(all.saturating_sub(dropped), all);
    found.push(("SYNs that came".into(), came, expected));
    // Neither can anybody tell whose segments were dropped: the self-check has some in a namespace
    // of its own.
    let (segments, all_sent) = (risen("Tcp.InSegs")?, all + sent);
    let expected = segments.clamp(all_sent.saturating_sub(dropped), all_sent);
    found.push(("Tcp.InSegs".into(), segments, expected));
    for name in first.each {
        found.push(((*name).to_owned(), risen(name)?, came));
    }
    for name in NEVER.iter().filter(|name| !first.each.contains(name)) {
        found.push(((*name).to_owned(), risen(name)?, 0));
    }
    // What the queue of requests has no room for is answered with a cookie, and not queued.
    let cookies = risen("TcpExt.SyncookiesSent")?;
    let full = risen("TcpExt.TCPReqQFullDoCookies")?;
    found.push(("TcpExt.SyncookiesSent".into(), cookies, full));
    // Beside those of a flood before, they are not known; after a second the first of them end.
    if let [kind] = kinds {
        let is_taken = kind.answered && kind.each.is_empty();
        let taken = cookies + requests(kind.to)?;
        let most = u64::from(is_taken) * came;
        found.push((
            "cookies and requests, at most".into(),
            taken.max(most),
            most,
        ));
    }
    found.retain(|(_, found, wanted)| found != wanted);
    Ok((came, found))
}

/// Requests that wait for the last packet of their handshake there.
fn requests(to: &str) -> Result<u64> {
    const SYN_RECV: &str = "03";
    let (_, port) = to.rsplit_once(':').context("no port")?;
    let port = format!("{:04X}", port.parse::<u16>()?);
    let text = fs::read_to_string("/proc/thread-self/net/tcp")?;
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().and_then(|local| local.rsplit_once(':'));
        local.is_some_and(|(_, of)| of == port) && words.nth(1) == Some(SYN_RECV)
    };
    Ok(text.lines().filter(is_one).count() as u64)
}

/// Every wrong SYN that was told is one of an alert, and no other; each that met a full queue is
/// counted as such.
fn covered(daemon: &Daemon) -> Result<()> {
    let (_, body) = Daemon::get("/metrics")?;
    let wrong = sum(&body, "sockpick_syn_total", &[("listener", "*:81")]);
    let wrong = wrong.context("no wrong SYN")?;
    daemon.metric("sockpick_alerts_total", &[("service", "C")], wrong)?;
    daemon.metric("sockpick_alerts_total", &[], wrong)?;
    let full = [("listener", "6.6.6.6:83")];
    let met = sum(&body, "sockpick_syn_total", &full).context("no SYN at a full queue")?;
    // Those that filled it did not find it full.
    daemon.metric("sockpick_listener_overflows_total", &full, met)
}

/// Configurations are taken and refused during the flood, with records of every SYN and of
/// suspects alone. Not one SYN is lost uncounted; only while programs are attached anew for other
/// ports nobody looks, and after that all is counted again.
pub(crate) fn daemon_flood_reload(cx: &Context) -> Result<()> {
    cx.need_one_of_three()?;
    let _netns = host()?;
    lead_nowhere()?;
    resend_once()?;
    let _listeners = listeners()?;
    let folder = folder("flood-reload");
    let daemon = cx.daemon(&folder, SETTINGS)?;
    let kinds = [&KINDS[0], &KINDS[1]];
    let every = format!("{SETTINGS}[stream]\nevents = 'sample 1/1000'\n");
    let settings = [&*every, SETTINGS, "[watch]\nport = [80]", &every, SETTINGS];
    let (before, base) = (Snmp::at_rest(UNDER_WAY)?, kinds.map(Counted::of));
    let senders = kinds.map(|kind| Flood::of(SYNS, 0, kind.to).map(Flood::begin));
    for settings in settings {
        reload(&daemon, &folder, settings)?;
    }
    for flood in senders {
        sent(flood?)?;
    }
    all_counted(&daemon, kinds, base, &before, "while it reloaded")?;

    let flood = Flood::of(SYNS, SYNS, TAKEN.to)?.begin();
    let other = SETTINGS.replace("'80-83'", "'80-84'");
    reload(&daemon, &folder, &other)?;
    sent(flood)?;
    // What is under way comes to an end, so that it is not taken for what comes now.
    std::thread::sleep(Duration::from_secs(2));
    let (before, base) = (Snmp::at_rest(UNDER_WAY)?, kinds.map(Counted::of));
    for kind in kinds {
        Flood::of(SYNS, 2 * SYNS, kind.to)?.send()?;
    }
    all_counted(&daemon, kinds, base, &before, "with other programs")?;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

fn reload(daemon: &Daemon, folder: &Path, settings: &str) -> Result<()> {
    let is_good = settings.contains("[[service]]");
    let reloads = said(daemon);
    configure(folder, settings)?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.until("a reload", || Ok(said(daemon)), |now| *now > reloads)?;
    let name = "sockpick_config_last_reload_successful";
    daemon.metric(name, &[], f64::from(u8::from(is_good)))
}

/// How often it said that a configuration was taken or refused.
fn said(daemon: &Daemon) -> usize {
    let of_reload = |line: &&String| line.contains("was read again") || line.contains("`ports`");
    daemon.said().iter().filter(of_reload).count()
}

/// Both floods are told or counted as lost.
fn all_counted(
    daemon: &Daemon,
    kinds: [&Kind; 2],
    base: [Result<Counted>; 2],
    before: &Snmp,
    when: &str,
) -> Result<()> {
    let [right, wrong] = base;
    let (right, wrong) = (right?, wrong?);
    let told = right.told + wrong.sum();
    let risen = || -> Result<f64> {
        let (right, wrong) = (Counted::of(kinds[0])?, Counted::of(kinds[1])?);
        Ok(right.told + wrong.sum() - told)
    };
    let came = f64::from(kernel_counted(&kinds, before)?);
    daemon.until(when, risen, |risen| (risen - came).abs() < 0.5)?;
    let lost = Counted::of(kinds[0])?.lost - right.lost;
    println!("FIGURE {when}: {lost} of {came} lost");
    Ok(())
}
