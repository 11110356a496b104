//! Beside other tools that use BPF.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, getppid};

use crate::attempt::{Attempt, all_answered};
use crate::bpf::{programs, retransmitted};
use crate::client::{Client, answered, connect};
use crate::compare::{compare, verdict};
use crate::context::Context;
use crate::kernel::{need_version, version};
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;
use crate::trace::{Recorded, spawn, wait};
use crate::truth::Truth;
use crate::want::{Expect, Wants};

const CLIENTS: usize = 6;
/// Between them, so that their timers go off one by one.
const APART: Duration = Duration::from_millis(37);
/// More than the clients, so that their SYNs need no cookies.
const BACKLOG: u32 = 8;

/// SYNs that are sent again by a timer, which interrupts another tool's program: the kernel
/// skips kprobe programs then, and no SYN may be missing, or told otherwise, for it.
pub(crate) fn interrupted_program(cx: &Context) -> Result<()> {
    cx.need_all()?;
    need_version("a program as long as it takes", 5, 2)?;
    let _netns = Netns::fresh()?;
    let listen = Listen::new("slow", "127.0.0.1:80")?.backlog(BACKLOG);
    let mut server = Server::start(listen.hold())?;
    let trace = cx.trace(&[])?;
    // The accept queue is full: whoever comes now has to try again.
    let mut waiting = Vec::new();
    for _ in 0..=BACKLOG {
        waiting.push(Client::to("127.0.0.1:80")?.open()?);
        thread::sleep(Duration::from_millis(20));
    }
    let program = programs::slow()?;
    let attached = program.attach_kprobe(c"__x64_sys_getppid")?;
    let done = AtomicBool::new(false);
    let late = thread::scope(|scope| {
        let busy = scope.spawn(|| -> Result<()> {
            on_first_cpu()?;
            while !done.load(Ordering::Relaxed) {
                getppid();
            }
            Ok(())
        });
        let clients = [(); CLIENTS].map(|()| {
            thread::sleep(APART);
            scope.spawn(late_client)
        });
        thread::sleep(Duration::from_millis(1500));
        let accepted = server.accept();
        let late = clients.map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?);
        done.store(true, Ordering::Relaxed);
        busy.join().map_err(|_| anyhow!("a thread panicked"))??;
        accepted?;
        late.into_iter().collect::<Result<Vec<_>>>()
    })?;
    drop(attached);
    let recorded = trace.finish()?;
    drop(waiting);
    if cx.ground_truth {
        return Ok(());
    }
    check(cx, &recorded, &late)
}

/// A connection that is made at last, and how many SYNs that took.
fn late_client() -> Result<(Attempt, u64)> {
    on_first_cpu()?;
    let (attempt, socket) = Client::to("127.0.0.1:80")?.open()?;
    let syns = 1 + u64::from(retransmitted(socket.as_fd())?);
    Ok((answered(attempt, socket)?, syns))
}

/// Where the timers of connections made by this thread are, too.
fn on_first_cpu() -> Result<()> {
    let mut first = CpuSet::new();
    first.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &first).context("cannot stay on one processor")
}

fn check(cx: &Context, recorded: &Recorded, late: &[(Attempt, u64)]) -> Result<()> {
    let mut problems = Vec::new();
    let (mut sent, mut told) = (0, 0);
    for (attempt, syns) in late {
        all_answered(std::slice::from_ref(attempt), &["slow"])?;
        if *syns < 2 {
            bail!("the scenario itself went wrong: the first SYN was answered");
        }
        let events = recorded.events.iter();
        let events: Vec<_> = events.filter(|one| one.key() == attempt.key()).collect();
        sent += syns;
        told += events.len() as u64;
        let wrong = events
            .iter()
            .find(|one| (one.via.as_str(), one.verdict.as_str()) != ("lookup", "ok"));
        problems.extend(wrong.map(|event| format!("nobody steers here, yet: {event:?}")));
    }
    let lost = recorded.lost();
    let all_by_kprobe = cx.backend == "kprobe" || cx.backend == crate::context::LEGACY;
    if !all_by_kprobe && (told, lost) != (sent, 0) {
        problems.push(format!("{sent} SYNs, {told} events, {lost} lost"));
    }
    if all_by_kprobe && told == sent {
        bail!("the scenario itself went wrong: no program was interrupted by a SYN");
    }
    // From 6.7 on the kernel counts what it skips.
    if all_by_kprobe && version()? >= (6, 7) && told + lost != sent {
        problems.push(format!("{sent} SYNs, {told} events, {lost} lost"));
    }
    verdict(problems, recorded, late.len())
}

/// Commands that try the lookup, check themselves or measure, each with connections of its own.
const COMMANDS: [&[&str]; 5] = [
    &["audit", "--severity", "info"],
    &["listeners"],
    &["explain", "127.0.0.1:80"],
    &["doctor"],
    &["trace", "--duration", "1ms", "--port", "9"],
];

/// What sockpick does itself is nobody's traffic: not shown, not judged, not in the sums.
pub(crate) fn own_commands(cx: &Context) -> Result<()> {
    cx.need_all()?;
    cx.need_sockpick()?;
    let _netns = Netns::fresh()?;
    let exact = Server::start(Listen::new("exact", "127.0.0.1:80")?.group(1))?;
    let trace = cx.trace(&[])?;
    let mut attempts = connect("127.0.0.1:80", 2)?;
    for words in COMMANDS {
        let mut command = Command::new(&cx.sockpick);
        command.args(words);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Not all is possible on every kernel, and the commands have tests of their own.
        wait(&mut spawn(&mut command)?, Duration::from_mins(1))?;
    }
    attempts.extend(connect("127.0.0.1:80", 2)?);
    let recorded = trace.finish()?;
    all_answered(&attempts, &["exact"])?;
    let mut wants = Wants::default();
    let expect = Expect::default();
    wants.add(&Truth::of(&[&exact]), &attempts, &expect)?;
    compare(cx, &recorded, &wants)?;
    let mut problems = Vec::new();
    if recorded.health.len() != 1 {
        problems.push(format!("one group, yet: {:?}", recorded.health));
    }
    let said = recorded.stderr.join("\n");
    if !said.contains("= 4 shown + 0 filtered + ") || said.contains("the sum is wrong") {
        problems.push("the account does not add up".to_owned());
    }
    if said.contains(" + 0 own + ") {
        problems.push("the scenario itself went wrong: nobody tried anything".to_owned());
    }
    verdict(problems, &recorded, attempts.len())
}
