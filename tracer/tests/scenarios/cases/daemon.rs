//! The daemon: what it alerts and counts is what the servers say.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::session::gone;
use super::verdicts::host;
use crate::attempt::{Attempt, all_answered};
use crate::bpf::objects::Objects;
use crate::client::connect;
use crate::context::{Context, LEGACY, Skip};
use crate::daemon::{Daemon, configure, folder, sum};
use crate::listen::Listen;
use crate::netns::{NamespaceLimit, Netns};
use crate::server::Server;

/// Only SYNs for the service's port, so that the self-check has to get past the filter.
const SETTINGS: &str = "\
[watch]
ports = [80]
[daemon]
self_check = '10s'
[[service]]
name = 'A'
listen = ['6.6.6.6:80']
";

/// Reasons of the alerts that began, in this order.
fn began(lines: &[Value]) -> Vec<&str> {
    let began = lines.iter().filter(|line| line["alert"] == "began");
    began.filter_map(|line| line["reason"].as_str()).collect()
}

fn syns(daemon: &Daemon, listener: &str, syns: f64) -> Result<()> {
    daemon.metric("sockpick_syn_total", &[("listener", listener)], syns)
}

/// A is not up, comes, takes its requests and goes again, and meanwhile the daemon is killed. Each
/// alert begins once and at once, and metrics are what the servers accepted.
pub(crate) fn daemon_story(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let _netns = host()?;
    let folder = folder("story");
    fs::create_dir_all(&folder)?;
    let before = Objects::now()?;
    let _b = Server::start(Listen::new("B", "0.0.0.0:80")?.group(1))?;
    let daemon = cx.daemon(&folder, SETTINGS)?;
    all_answered(&connect("6.6.6.6:80", 7)?, &["B"])?;
    let lines = daemon.lines(|lines| !lines.is_empty())?;
    let first = &lines[0];
    if began(&lines) != ["not_listening"] || first["service"] != "A" || first["listener"] != "*:80"
    {
        bail!("not what happened: {lines:#?}");
    }
    syns(&daemon, "*:80", 7.0)?;
    let uncovered = [("verdict", "uncovered"), ("service", "A")];
    daemon.metric("sockpick_alerts_total", &uncovered, 7.0)?;
    daemon.metric("sockpick_expected_listener_up", &[("service", "A")], 0.0)?;
    daemon.metric_at_least("sockpick_self_check_total", &[("result", "ok")], 2.0)?;
    let lookup = [("probe", "__inet_lookup_listener")];
    daemon.metric("sockpick_probe_attached", &lookup, 1.0)?;
    daemon.metric_at_least("sockpick_probe_missed_total", &lookup, 0.0)?;
    daemon.kill()?;
    if Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        gone(&before).context("after SIGKILL")?;
    }

    let daemon = cx.daemon(&folder, SETTINGS)?;
    let a = Server::start(Listen::new("A", "6.6.6.6:80")?.group(1))?;
    daemon.metric("sockpick_alerts_active", &[], 1.0)?;
    all_answered(&connect("6.6.6.6:80", 10)?, &["A"])?;
    syns(&daemon, "6.6.6.6:80", 10.0)?;
    daemon.metric("sockpick_expected_listener_up", &[("service", "A")], 1.0)?;
    drop(a);
    all_answered(&connect("6.6.6.6:80", 5)?, &["B"])?;
    daemon.lines(|lines| began(lines) == ["not_listening", "restart_gap"])?;
    syns(&daemon, "*:80", 5.0)?;
    daemon.finish()?;
    gone(&before).context("after SIGTERM")?;
    Ok(fs::remove_dir_all(folder)?)
}

/// SYNs that are right are counted in the kernel, each where it went and how; though nobody reads
/// the buffer, none is lost.
pub(crate) fn daemon_counts(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    if cx.backend == LEGACY {
        return Err(Skip("these programs record every SYN".into()).into());
    }
    let _netns = host()?;
    let folder = folder("counts");
    let _a = Server::start(Listen::new("A", "6.6.6.6:80")?.group(2))?;
    let _b = Server::start(Listen::new("B", "0.0.0.0:80")?.group(1))?;
    let _six = Server::start(Listen::new("C", "[::]:81")?)?;
    // Room for a few hundred records.
    let size = ["--buffer-size", "65536"];
    let daemon = cx.daemon_with(&folder, "[daemon]\nself_check = 'off'\n", &size)?;
    let visit = |times| -> Result<Vec<Attempt>> {
        let mut attempts = connect("6.6.6.6:80", times)?;
        attempts.extend(connect("127.0.0.1:80", times)?);
        attempts.extend(connect("127.0.0.1:81", times)?);
        attempts.extend(connect("[::1]:81", times)?);
        attempts.extend(connect("6.6.6.6:99", times)?);
        Ok(attempts)
    };
    let mut attempts = visit(20)?;
    // Meanwhile it learns what is right.
    daemon.metric("sockpick_refused_total", &[("port", "99")], 20.0)?;
    attempts.extend(visit(20)?);
    daemon.metric("sockpick_refused_total", &[("port", "99")], 40.0)?;
    daemon.signal(Signal::SIGSTOP)?;
    attempts.extend(visit(200)?);
    daemon.signal(Signal::SIGCONT)?;
    for (listener, matched, sum) in [
        ("6.6.6.6:80", "exact", 240.0),
        ("*:80", "wildcard", 240.0),
        ("[::]:81", "dual_stack", 240.0),
        ("[::]:81", "wildcard", 240.0),
    ] {
        let labels = [("listener", listener), ("match", matched)];
        daemon.metric("sockpick_syn_total", &labels, sum)?;
    }
    daemon.metric("sockpick_refused_total", &[("port", "99")], 240.0)?;
    daemon.metric("sockpick_events_lost_total", &[], 0.0)?;
    // B is a group of one.
    for (index, others) in [(0, 240), (1, 0)] {
        let by = attempts.iter().filter_map(Attempt::identity);
        let accepted = by.filter(|who| who.name == "A" && who.index == index);
        let labels = [("member", &*index.to_string())];
        let sum = f64::from(u32::try_from(accepted.count() + others)?);
        daemon.metric("sockpick_reuseport_member_syn_total", &labels, sum)?;
    }
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// A configuration that is refused changes nothing; one that is taken is in force at once, and
/// what alerted goes on.
pub(crate) fn daemon_reload(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let _netns = host()?;
    let folder = folder("reload");
    let _b = Server::start(Listen::new("B", "0.0.0.0:80")?.group(1))?;
    let _d = Server::start(Listen::new("D", "0.0.0.0:81")?)?;
    let daemon = cx.daemon(&folder, SETTINGS)?;
    let reloads = |successful: f64| {
        daemon.signal(Signal::SIGHUP)?;
        let name = "sockpick_config_last_reload_successful";
        daemon.metric(name, &[], successful)
    };
    all_answered(&connect("6.6.6.6:80", 1)?, &["B"])?;
    daemon.lines(|lines| began(lines) == ["not_listening"])?;
    configure(&folder, "[watch]\nport = [80]")?;
    reloads(0.0)?;
    if !daemon.said().iter().any(|line| line.contains("`ports`")) {
        bail!("the right key is not named: {:#?}", daemon.said());
    }
    all_answered(&connect("6.6.6.6:80", 2)?, &["B"])?;
    syns(&daemon, "*:80", 3.0)?;
    // Another port is looked at from now on, and another service is expected.
    let other = SETTINGS.replace("ports = [80]", "ports = [80, 81]")
        + "[[service]]\nname = 'D'\nlisten = ['6.6.6.6:81']\n";
    configure(&folder, &other)?;
    reloads(1.0)?;
    all_answered(&connect("6.6.6.6:80", 2)?, &["B"])?;
    all_answered(&connect("6.6.6.6:81", 4)?, &["D"])?;
    daemon.lines(|lines| began(lines) == ["not_listening", "not_listening"])?;
    daemon.metric("sockpick_alerts_total", &[("service", "A")], 5.0)?;
    daemon.metric("sockpick_alerts_total", &[("service", "D")], 4.0)?;
    let (status, body) = Daemon::get("/readyz")?;
    if status != 200 {
        bail!("/readyz says {status} {body}");
    }
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// A namespace that is watched by a name comes when the daemon runs already; what happens in
/// others is nobody's business.
pub(crate) fn daemon_names(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let folder = folder("names");
    let name = format!("later-{}", std::process::id());
    let _other = Netns::fresh()?;
    let _a = Server::start(Listen::new("A", "127.0.0.1:80")?)?;
    let settings = format!("[watch]\nnetns = ['{name}']\n[daemon]\nself_check = '10s'\n");
    let daemon = cx.daemon(&folder, &settings)?;
    if !daemon.said().iter().any(|line| line.contains(&name)) {
        bail!("nothing is said of the name: {:#?}", daemon.said());
    }
    all_answered(&connect("127.0.0.1:80", 3)?, &["A"])?;
    let _later = Netns::named(&name)?;
    let _b = Server::start(Listen::new("B", "127.0.0.1:80")?)?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.until_said("are there now")?;
    all_answered(&connect("127.0.0.1:80", 4)?, &["B"])?;
    daemon.metric("sockpick_syn_total", &[("netns", &name)], 4.0)?;
    daemon.metric("sockpick_syn_total", &[], 4.0)?;
    // Its own connections go by the filter, and no further.
    daemon.metric_at_least("sockpick_self_check_total", &[("result", "ok")], 2.0)?;
    daemon.metric("sockpick_syn_total", &[], 4.0)?;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// The self-check cannot be made, which is an alert of its own: told once, kept over a restart,
/// and counted as no SYN; readiness comes back with the first check that passes.
pub(crate) fn daemon_blind(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let _netns = host()?;
    let folder = folder("blind");
    let daemon = cx.daemon(&folder, SETTINGS)?;
    let none = NamespaceLimit::none_more()?;
    let is_blind = |line: &Value| line["alert"] == "began" && line["blind"] == true;
    let lines = daemon.lines(|lines| lines.iter().any(is_blind))?;
    let said = lines[0]["text"].as_str().unwrap_or_default();
    if !said.contains("cannot connect to itself") || !said.contains("sockpick doctor") {
        bail!("neither cause nor remedy is told: {said}");
    }
    let (status, body) = Daemon::get("/readyz")?;
    if status != 503 || !body.contains("cannot connect to itself") {
        bail!("/readyz says {status} {body}");
    }
    daemon.metric("sockpick_alerts_active", &[], 1.0)?;
    let counted = sum(&Daemon::get("/metrics")?.1, "sockpick_alerts_total", &[]);
    if counted.is_some() {
        bail!("it counts as SYNs: {counted:?}");
    }
    drop(none);
    daemon.until_said("passes again")?;
    let (status, body) = Daemon::get("/readyz")?;
    if status != 200 {
        bail!("/readyz says {status} {body}");
    }
    // It lives two minutes, also over a restart: it goes on, and does not begin again.
    daemon.kill()?;
    let daemon = cx.daemon(&folder, SETTINGS)?;
    daemon.metric("sockpick_alerts_active", &[], 1.0)?;
    daemon.finish()?;
    let told = fs::read_to_string(folder.join("alerts.jsonl"))?;
    if told.matches("\"began\"").count() != 1 {
        bail!("it began more than once: {told}");
    }
    Ok(fs::remove_dir_all(folder)?)
}
