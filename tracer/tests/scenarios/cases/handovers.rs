//! What becomes of a connection after its SYN was looked up.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::verdicts::host;
use crate::attempt::{Attempt, Identity, Outcome, all_answered};
use crate::client::{Client, answered, connect};
use crate::compare::{compare, verdict};
use crate::context::{Context, Skip};
use crate::event::Event;
use crate::kernel::sysctl;
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;
use crate::trace::Recorded;
use crate::truth::Truth;
use crate::want::{Expect, WantHandover, Wants};

/// Connections were open at the same time.
fn at_once() -> Expect {
    Expect {
        sequential: false,
        ..Expect::default()
    }
}

/// The attempt, as if this listener had answered it: the one that its SYN got.
fn as_of_syn(attempt: &Attempt, server: &Server, index: usize) -> Result<Attempt> {
    let listener = server.hello.listeners.get(index).context("no listener")?;
    let mut attempt = attempt.clone();
    attempt.outcome = Outcome::Answered(Identity {
        name: server.hello.name.clone(),
        pid: server.pid(),
        index,
        inode: listener.inode,
    });
    Ok(attempt)
}

fn inode(attempt: &Attempt) -> Result<u64> {
    let identity = attempt.identity().context("not answered")?;
    Ok(identity.inode)
}

/// A closes between a SYN and the ACK of its cookie: the ACK is looked up anew, and B accepts.
pub(crate) fn cookie_handover(cx: &Context) -> Result<()> {
    let _netns = host()?;
    sysctl("net.ipv4.tcp_syncookies", "2")?;
    let b = Server::start(Listen::new("B", "0.0.0.0:80")?.group(1))?;
    let trace = cx.trace(&[])?;
    let mut wants = Wants::default();
    // A listener takes the ACK of a cookie only if it gave one lately itself.
    let before = connect("127.0.0.1:80", 2)?;
    all_answered(&before, &["B"])?;
    wants.add(&Truth::of(&[&b]), &before, &at_once())?;
    let mut handed_over = 0;
    for _ in 0..5 {
        let mut a = Server::start(Listen::new("A", "6.6.6.6:80")?.group(1))?;
        let own = a.hello.listeners.first().context("no listener")?.inode;
        let mut truth = Truth::of(&[&b, &a]);
        // Each A is a group of its own.
        for socket in truth.sockets.iter_mut().filter(|one| one.inode == own) {
            socket.generation = own;
        }
        // A's owner is looked up while it holds the listener.
        let warm = connect("6.6.6.6:80", 1)?;
        all_answered(&warm, &["A"])?;
        wants.add(&truth, &warm, &at_once())?;
        std::thread::sleep(Duration::from_secs(1));
        let (attempt, socket) = Client::to("6.6.6.6:80")?.late_ack().open()?;
        a.close(own)?;
        let attempt = answered(attempt, socket)?;
        all_answered(std::slice::from_ref(&attempt), &["A", "B"])?;
        let syn = as_of_syn(&attempt, &a, 0)?;
        wants.add(&truth, &[syn], &at_once())?;
        let inode = inode(&attempt)?;
        // On a slow machine the ACK may have come before A closed.
        if inode != own {
            handed_over += 1;
            wants.handovers.push(WantHandover {
                attempt,
                why: "cookie_ack",
                inode,
                syn: own,
                verdict: ("uncovered", "restart_gap"),
                expected: Some(own),
            });
        }
    }
    if handed_over == 0 {
        bail!("the scenario itself went wrong: A accepted every connection");
    }
    compare(cx, &trace.finish()?, &wants)
}

/// Connections wait for `accept()` when their listener closes: the other of the group gets them.
pub(crate) fn migrated(cx: &Context) -> Result<()> {
    const MIGRATE: &str = "net.ipv4.tcp_migrate_req";
    cx.need_all()?;
    let _netns = Netns::fresh()?;
    // 5.10 has had the sysctl since a late stable release, and nothing that reads it.
    let symbols = std::fs::read_to_string("/proc/kallsyms")?;
    if !symbols.contains(" reuseport_migrate_sock\n") {
        return Err(Skip("migration needs Linux 5.14".to_owned()).into());
    }
    sysctl(MIGRATE, "1")?;
    let mut server = Server::start(Listen::new("pair", "127.0.0.1:80")?.group(2).hold())?;
    let truth = Truth::of(&[&server]);
    let inodes: Vec<u64> = server.hello.listeners.iter().map(|one| one.inode).collect();
    let &[closes, stays] = inodes.as_slice() else {
        bail!("the scenario itself went wrong: {inodes:?}");
    };
    let trace = cx.trace(&[])?;
    let open = |_| Client::to("127.0.0.1:80")?.open();
    let open = (0..24).map(open).collect::<Result<Vec<_>>>()?;
    // The last ACK is processed after connect() returns.
    std::thread::sleep(Duration::from_millis(50));
    let waiting = accept_queue(closes)?;
    server.close(closes)?;
    server.accept()?;
    let attempts = open
        .into_iter()
        .map(|(attempt, socket)| answered(attempt, socket))
        .collect::<Result<Vec<_>>>()?;
    all_answered(&attempts, &["pair"])?;
    if waiting == 0 || attempts.iter().any(|one| inode(one).ok() != Some(stays)) {
        bail!("the scenario itself went wrong: {waiting} waited, {attempts:?}");
    }
    let recorded = trace.finish()?;
    if cx.ground_truth {
        return Ok(());
    }
    let mut wants = Wants::default();
    for attempt in attempts {
        // Which of the two the SYN got only sockpick can tell: held to the queue's length.
        let mut events = recorded.events.iter();
        let event = events.find(|event| event.key() == attempt.key());
        let first = event.and_then(Event::inode) == Some(closes);
        let syn = as_of_syn(&attempt, &server, usize::from(!first))?;
        wants.add(&truth, &[syn], &at_once())?;
        if first {
            wants.handovers.push(WantHandover {
                attempt,
                why: "migrated",
                inode: stays,
                syn: closes,
                verdict: ("ok", "migrated"),
                expected: None,
            });
        }
    }
    if wants.handovers.len() as u64 != waiting {
        bail!(
            "{waiting} connections waited, {} SYNs",
            wants.handovers.len()
        );
    }
    compare(cx, &recorded, &wants)
}

/// Connections in a listener's accept queue, as /proc has it.
fn accept_queue(listener: u64) -> Result<u64> {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    for row in table.lines().skip(1) {
        let words: Vec<&str> = row.split_whitespace().collect();
        // local, remote, state, tx_queue:rx_queue, …, inode
        if let (Some(queues), Some(inode)) = (words.get(4), words.get(9))
            && *inode == listener.to_string()
        {
            let waiting = queues.rsplit(':').next().context("no queue")?;
            return Ok(u64::from_str_radix(waiting, 16)?);
        }
    }
    bail!("the scenario itself went wrong: no listener {listener} in /proc/net/tcp")
}

/// The accept queue is full: the SYN is dropped, and its retransmission is looked up anew.
pub(crate) fn accept_overflow(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let _netns = Netns::fresh()?;
    let listen = Listen::new("slow", "127.0.0.1:80")?.backlog(1);
    let mut server = Server::start(listen.hold())?;
    let trace = cx.trace(&[])?;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(Client::to("127.0.0.1:80")?.open()?);
        std::thread::sleep(Duration::from_millis(20));
    }
    let late = Client::to("127.0.0.1:80")?;
    let late = std::thread::spawn(move || late.times(1));
    // Less than the second after which the client tries again.
    std::thread::sleep(Duration::from_millis(300));
    server.accept()?;
    let late = late
        .join()
        .map_err(|_| anyhow::anyhow!("the client panicked"))??;
    all_answered(&late, &["slow"])?;
    let took = late.iter().map(|one| one.ended_ns - one.began_ns).max();
    if took.unwrap_or(0) < 500_000_000 {
        bail!("the scenario itself went wrong: the first SYN was answered");
    }
    drop(waiting);
    let recorded = trace.finish()?;
    if cx.ground_truth {
        return Ok(());
    }
    overflowed(&recorded, late.first().context("no attempt")?)
}

/// The first SYN was dropped and the last one was not.
fn overflowed(recorded: &Recorded, late: &Attempt) -> Result<()> {
    let events = recorded.events.iter();
    let said: Vec<(&str, Option<&str>, bool)> = events
        .filter(|event| event.key() == late.key())
        .map(|event| {
            let queue = event.listener.as_ref().map(|listener| listener.queue);
            let full = queue.is_some_and(|queue| queue.length > queue.limit);
            (event.verdict.as_str(), event.reason.as_deref(), full)
        })
        .collect();
    let mut problems = Vec::new();
    let dropped = ("ok", Some("accept_overflow"), true);
    if said.len() < 2 || said.first() != Some(&dropped) || said.last() != Some(&("ok", None, false))
    {
        problems.push(format!("of the late connection's SYNs was said: {said:?}"));
    }
    let reasons = recorded
        .events
        .iter()
        .filter(|event| event.reason.is_some());
    let dropped = reasons.count();
    let noun = if dropped == 1 { "SYN" } else { "SYNs" };
    let line = format!("{dropped} {noun} dropped: the accept queue of the listener was full");
    if !recorded.stderr.contains(&line) {
        problems.push(format!("the summary does not say `{line}`"));
    }
    verdict(problems, recorded, 3)
}
