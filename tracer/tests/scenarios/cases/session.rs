//! Sessions of `sockpick trace`: what they show, how they end, what they leave behind.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::check;
use crate::attempt::{Attempt, all_answered};
use crate::bpf::objects::Objects;
use crate::client::{Client, connect};
use crate::compare::{compare, verdict};
use crate::context::{Context, Failure};
use crate::event::Event;
use crate::listen::Listen;
use crate::netns::Netns;
use crate::replay::Recording;
use crate::server::Server;
use crate::trace::{Recorded, Trace, spawn, wait};
use crate::truth::Truth;
use crate::want::{Expect, Wants};

type Key = (u64, std::net::SocketAddr, std::net::SocketAddr);
type Passes = Box<dyn Fn(&Attempt) -> bool>;

/// A filter and the attempts that pass it.
type Case = (Vec<String>, Passes);

fn case(words: &str, passes: impl Fn(&Attempt) -> bool + 'static) -> Case {
    let words = words.split(' ').map(str::to_owned).collect();
    (words, Box::new(passes))
}

fn to(a: &Attempt, ip: &str) -> bool {
    a.destination.ip().to_string() == ip
}

fn by(a: &Attempt, name: &str) -> bool {
    a.identity().is_some_and(|who| who.name == name)
}

/// One for each that the kernel applies.
fn in_kernel(name: &str, netns: u64) -> Vec<Case> {
    vec![
        case("--port 81 --port 99", |a| {
            [81, 99].contains(&a.destination.port())
        }),
        case("--dst ::1 --dst 127.0.0.5", |a| {
            to(a, "::1") || to(a, "127.0.0.5")
        }),
        case(&format!("--netns {name}"), move |a| a.netns == netns),
        case("--family ipv4 --port 80 --src 127.0.0.1/32", |a| {
            a.client.is_ipv4() && a.destination.port() == 80
        }),
    ]
}

/// Those that user space applies: the same on every backend.
fn in_user_space(alpha: u32) -> Vec<Case> {
    vec![
        case("--listener 0.0.0.0:81", |a| by(a, "beta")),
        case(&format!("--pid {alpha}"), |a| by(a, "alpha")),
        case("--match none", |a| a.identity().is_none()),
    ]
}

/// More of both, which a replay applies as well.
fn over_a_recording(name: &str, netns: u64, alpha: u32) -> Vec<Case> {
    let mut cases = in_kernel(name, netns);
    cases.extend(in_user_space(alpha));
    cases.extend([
        case("--port 81", |a| a.destination.port() == 81),
        case("--dst 127.0.0.0/30", |a| to(a, "127.0.0.1")),
        case("--src 127.0.0.9", |a| {
            a.client.ip().to_string() == "127.0.0.9"
        }),
        case("--family ipv6", |a| a.client.is_ipv6()),
        case("--comm gamma", |a| by(a, "gamma")),
        case("--match wildcard", |a| by(a, "beta")),
    ]);
    cases
}

/// What the kernel filters, as each backend's programs do it.
pub(crate) fn kernel_filters(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let scene = Scene::set(cx)?;
    let mut problems = Vec::new();
    scene.live(&in_kernel(&scene.name, scene.named.inode), &mut problems)?;
    scene.end(problems)
}

/// What user space filters; and, over what one session recorded, every filter.
pub(crate) fn other_filters(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let scene = Scene::set(cx)?;
    let mut problems = Vec::new();
    let mut whole = cx.start_trace(&[])?;
    whole.ready()?;
    let alpha = scene.alpha.pid();
    let attempts = scene.live(&in_user_space(alpha), &mut problems)?;
    if let Some(recording) = whole.finish()?.recording {
        for (words, passes) in over_a_recording(&scene.name, scene.named.inode, alpha) {
            let replayed = recording.replay(&words)?;
            let wrong = scene.wrong(&words, &passes, &attempts, &replayed);
            problems.extend(wrong.map(|wrong| format!("replay {wrong}")));
        }
    }
    scene.end(problems)
}

/// Servers in two namespaces that filters tell apart.
struct Scene<'a> {
    cx: &'a Context,
    name: String,
    named: Netns,
    here: Netns,
    alpha: Server,
    _others: [Server; 3],
}

impl<'a> Scene<'a> {
    fn set(cx: &'a Context) -> Result<Self> {
        let name = format!("filters-{}", std::process::id());
        let named = Netns::named(&name)?;
        let delta = Server::start(Listen::new("delta", "127.0.0.1:80")?)?;
        let here = Netns::fresh()?;
        let alpha = Server::start(Listen::new("alpha", "127.0.0.1:80")?)?;
        let beta = Server::start(Listen::new("beta", "0.0.0.0:81")?)?;
        let gamma = Server::start(Listen::new("gamma", "[::1]:80")?)?;
        Ok(Self {
            cx,
            name,
            named,
            here,
            alpha,
            _others: [delta, beta, gamma],
        })
    }

    fn work(&self) -> Result<Vec<Attempt>> {
        let mut attempts = connect("127.0.0.1:80", 3)?;
        attempts.extend(connect("[::1]:80", 3)?);
        let from = Client::to("127.0.0.5:81")?.from([127, 0, 0, 9].into());
        attempts.extend(from.times(3)?);
        attempts.extend(connect("127.0.0.1:99", 2)?);
        attempts.extend(self.named.inside(|| connect("127.0.0.1:80", 3))?);
        Ok(attempts)
    }

    /// Every filter in a session of its own, over the same connections. Several sessions at a
    /// time: quicker, and they must not disturb each other.
    fn live(&self, cases: &[Case], problems: &mut Vec<String>) -> Result<Vec<Attempt>> {
        let mut sessions = Vec::new();
        for (words, _) in cases {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            sessions.push(self.cx.start_trace(&words)?);
        }
        sessions.iter_mut().try_for_each(Trace::ready)?;
        let attempts = self.work()?;
        for ((words, passes), session) in cases.iter().zip(sessions) {
            let recorded = session.finish()?;
            problems.extend(self.wrong(words, passes, &attempts, &recorded.events));
        }
        Ok(attempts)
    }

    fn wrong(
        &self,
        words: &[String],
        passes: &Passes,
        attempts: &[Attempt],
        events: &[Event],
    ) -> Option<String> {
        let ours = [self.here.inode, self.named.inode];
        wrong(words, passes, attempts, events, &ours)
    }

    fn end(self, problems: Vec<String>) -> Result<()> {
        if self.cx.ground_truth {
            return Ok(());
        }
        verdict(problems, &Recorded::default(), 0)
    }
}

fn wrong(
    words: &[String],
    passes: &Passes,
    attempts: &[Attempt],
    events: &[Event],
    ours: &[u64],
) -> Option<String> {
    let passing = attempts.iter().filter(|attempt| passes(attempt));
    let wanted: BTreeSet<Key> = passing.map(Attempt::key).collect();
    // Other sessions' self-checks make connections too, in namespaces of their own.
    let events = events.iter().filter(|e| ours.contains(&e.netns.inode));
    let said: Vec<Key> = events.map(Event::key).collect();
    let set: BTreeSet<Key> = said.iter().copied().collect();
    if set == wanted && said.len() == wanted.len() {
        return None;
    }
    Some(format!(
        "{}: {} events of {} distinct connections, not {}; missing {:?}; too many {:?}",
        words.join(" "),
        said.len(),
        set.len(),
        wanted.len(),
        wanted.difference(&set).collect::<Vec<_>>(),
        set.difference(&wanted).collect::<Vec<_>>()
    ))
}

/// A session ends by itself after so many events, or so much time.
pub(crate) fn count_and_duration(cx: &Context) -> Result<()> {
    cx.need_all()?;
    cx.need_sockpick()?;
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("counted", "127.0.0.1:80")?)?;
    let trace = cx.trace(&["--count", "3"])?;
    let attempts = connect("127.0.0.1:80", 5)?;
    let mut wants = Wants::default();
    wants.add(&Truth::of(&[&server]), &attempts[..3], &Expect::default())?;
    compare(cx, &trace.ended()?, &wants).context("--count 3")?;

    let start = Instant::now();
    let trace = cx.trace(&["--duration", "3s"])?;
    let attempts = connect("127.0.0.1:80", 4)?;
    let mut wants = Wants::default();
    wants.add(&Truth::of(&[&server]), &attempts, &Expect::default())?;
    let recorded = trace.ended()?;
    if start.elapsed() < Duration::from_secs(3) {
        bail!("--duration 3s ended after {:?}", start.elapsed());
    }
    compare(cx, &recorded, &wants).context("--duration 3s")
}

/// Whoever reads goes away: sockpick ends quietly, and a recording gets its end.
pub(crate) fn closed_pipe(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let _netns = Netns::fresh()?;
    let _server = Server::start(Listen::new("piped", "127.0.0.1:80")?)?;
    let mut command = cx.trace_command(&[]);
    let recording = Recording::new(&cx.sockpick, &[]);
    command.args(recording.written());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(&mut command)?;
    let mut stderr = BufReader::new(child.stderr.take().context("no pipe")?);
    let mut said = String::new();
    while !said.contains("sockpick: tracing") {
        if stderr.read_line(&mut said)? == 0 {
            bail!("sockpick ended before it traced: {said}");
        }
    }
    let mut stdout = BufReader::new(child.stdout.take().context("no pipe")?);
    connect("127.0.0.1:80", 2)?;
    let mut event = String::new();
    stdout.read_line(&mut event)?;
    drop(stdout);
    let start = Instant::now();
    while child.try_wait()?.is_none() && start.elapsed() < Duration::from_secs(15) {
        connect("127.0.0.1:80", 1)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    // Killed if it is still there: the runner sees to that.
    let status = wait(&mut child, Duration::from_secs(1))?;
    stderr.read_to_string(&mut said)?;
    let loud = ["panicked", "roken pipe", "error"]
        .iter()
        .any(|word| said.contains(word));
    if !status.success() || loud {
        return Err(Failure {
            message: format!("with its output closed, sockpick ended with {status}"),
            details: said.lines().map(str::to_owned).collect(),
        }
        .into());
    }
    recording.is_whole()
}

/// SIGTERM ends a session as Ctrl-C does: with all its events.
pub(crate) fn sigterm(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("ended", "127.0.0.1:80")?)?;
    let trace = cx.trace(&[])?;
    let attempts = connect("127.0.0.1:80", 20)?;
    all_answered(&attempts, &["ended"])?;
    trace.signal(Signal::SIGTERM)?;
    let mut wants = Wants::default();
    wants.add(&Truth::of(&[&server]), &attempts, &Expect::default())?;
    compare(cx, &trace.ended()?, &wants)
}

/// However a session ends, nothing of it stays in the kernel or on disk; and the next one
/// works.
pub(crate) fn sigkill_leaves_nothing(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("stays", "127.0.0.1:80")?)?;
    let before = Objects::now()?;
    let trace = cx.trace(&[])?;
    connect("127.0.0.1:80", 3)?;
    if Objects::now()?.beyond(&before).is_empty() {
        bail!("the scenario itself went wrong: sockpick traces without programs");
    }
    trace.kill()?;
    // Without a perf unit for kprobes (before 4.17) the names of the probes stay in tracefs,
    // until the next start.
    if Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        gone(&before).context("after SIGKILL")?;
    }
    let trace = cx.trace(&[])?;
    let attempts = connect("127.0.0.1:80", 3)?;
    check(cx, trace, &[&server], &attempts, &Expect::default())?;
    gone(&before).context("after SIGINT")
}

/// The kernel frees programs a while after the last one who holds them went.
pub(super) fn gone(before: &Objects) -> Result<()> {
    let start = Instant::now();
    loop {
        let left = Objects::now()?.beyond(before);
        if left.is_empty() {
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(15) {
            let message = format!("{} things were left behind", left.len());
            return Err(Failure {
                message,
                details: left,
            }
            .into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
