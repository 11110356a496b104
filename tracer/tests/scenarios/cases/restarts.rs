//! Listeners that come and go under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::verdicts::host;
use crate::alerts;
use crate::attempt::{Attempt, Outcome};
use crate::client::{Client, connect};
use crate::compare::{compare, verdict};
use crate::context::Context;
use crate::kernel::{monotonic_ns, version};
use crate::ledger::{Ledger, is_alert};
use crate::listen::Listen;
use crate::serve::set_comm;
use crate::server::Server;
use crate::trace::Recorded;
use crate::want::{Expect, Wants};

const RESTARTS: usize = 200;
const CLIENTS: usize = 2;
/// For so long at most it is waited for somebody to be answered.
const NOBODY: Duration = Duration::from_millis(300);

/// A restarts 200 times under load. Every connection's verdict agrees with who accepted it
/// and with whether A listened just then.
pub(crate) fn restarts_200(cx: &Context) -> Result<()> {
    let _netns = host()?;
    set_comm("A")?;
    let mut ledger = Ledger::default();
    let _b = ledger.start(Listen::new("B", "0.0.0.0:80")?.group(2))?;
    let trace = cx.trace(&[])?;
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let attempts = std::thread::scope(|scope| -> Result<Vec<Attempt>> {
        let client = || scope.spawn(|| load(&done, &answered));
        let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
        let restarted = restart(&mut ledger, &answered);
        done.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in clients {
            let Ok(attempts) = client.join() else {
                bail!("a client panicked");
            };
            all.extend(attempts?);
        }
        restarted.map(|()| all)
    })?;
    let recorded = trace.finish()?;
    if cx.ground_truth {
        return Ok(());
    }
    let mut problems = Vec::new();
    let by_key: std::collections::HashMap<_, Vec<_>> =
        recorded
            .events
            .iter()
            .fold(std::collections::HashMap::new(), |mut map, event| {
                let events: &mut Vec<_> = map.entry(event.key()).or_insert_with(Vec::new);
                events.push(event);
                map
            });
    let (mut answered, mut unseen) = (0, Vec::new());
    for attempt in &attempts {
        let during = attempt.began_ns..=attempt.ended_ns;
        let mine = by_key.get(&attempt.key()).into_iter().flatten();
        let mine: Vec<_> = mine
            .filter(|event| during.contains(&event.ktime_ns))
            .collect();
        let accepted = attempt.identity().map(|who| who.inode);
        // A SYN that met a listener in its last moment is dropped, and sent again; one that
        // was answered too late is sent again as well: the one that led to the connection
        // counts.
        let led = mine.iter().rev().find(|event| event.inode() == accepted);
        let Some(event) = led.or(mine.last()) else {
            if cx.suspects && is_ok(&ledger, attempt)? {
                answered += usize::from(accepted.is_some());
                continue;
            }
            unseen.push(format!("{} has no event", attempt.client));
            continue;
        };
        // Reset in the accept queue of a listener that closed: nobody accepted it.
        let Outcome::Answered(who) = &attempt.outcome else {
            continue;
        };
        answered += 1;
        let want = ledger.verdict(attempt, "lo")?;
        alerts::count(&want, &event.verdict);
        let fits = |(verdict, _): &(&str, Option<&str>)| *verdict == event.verdict;
        if event.inode() != Some(who.inode) || !want.any_of.iter().any(fits) {
            let (verdict, reason) = (&event.verdict, &event.reason);
            problems.push(format!(
                "{}: {who:?} accepted, said {:?} {verdict} {reason:?}, wanted {want:?}",
                attempt.client,
                event.inode()
            ));
        }
    }
    if unseen.len() as u64 > may_be_missed(&recorded, attempts.len())? {
        problems.append(&mut unseen);
    }
    if answered < RESTARTS / 4 {
        bail!("the scenario itself went wrong: {answered} connections were answered");
    }
    verdict(problems, &recorded, attempts.len())
}

/// Whether there may be nothing to say of it, where only alerts are told.
fn is_ok(ledger: &Ledger, attempt: &Attempt) -> Result<bool> {
    if attempt.identity().is_none() {
        return Ok(true);
    }
    let want = ledger.verdict(attempt, "lo")?;
    let alerts = want.any_of.iter().filter(|(verdict, _)| is_alert(verdict));
    let is_ok = alerts.count() < want.any_of.len();
    if !is_ok {
        alerts::missed();
    }
    Ok(is_ok)
}

/// SYNs that no program saw: on a busy CPU a softirq interrupts a BPF program of a kprobe now and
/// then, and the kernel skips the others meanwhile. It counts them from 6.7, and sockpick has to
/// tell of each; before that nobody can.
fn may_be_missed(recorded: &Recorded, attempts: usize) -> Result<u64> {
    if version()? < (6, 7) {
        return Ok(attempts as u64 / 500);
    }
    let kernel = recorded.lost.iter().filter(|lost| lost.stage == "kernel");
    Ok(kernel.map(|lost| lost.lost).sum())
}

/// A listens each time until somebody was answered, so that enough are on a machine of any speed.
fn restart(ledger: &mut Ledger, answered: &AtomicUsize) -> Result<()> {
    for _ in 0..RESTARTS {
        let a = Server::inside(Listen::new("A", "6.6.6.6:80")?.group(2))?;
        ledger.opened(&a);
        let (before, start) = (answered.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(Duration::from_millis(12));
        while answered.load(Ordering::Relaxed) == before && start.elapsed() < NOBODY {
            std::thread::sleep(Duration::from_millis(2));
        }
        ledger.stop(a)?;
        std::thread::sleep(Duration::from_millis(6));
    }
    Ok(())
}

fn load(done: &AtomicBool, answered: &AtomicUsize) -> Result<Vec<Attempt>> {
    let client = Client::to("6.6.6.6:80")?;
    let mut attempts = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let made = client.times(1)?;
        let of_these = made.iter().filter(|one| one.identity().is_some()).count();
        answered.fetch_add(of_these, Ordering::Relaxed);
        attempts.extend(made);
    }
    Ok(attempts)
}

/// Closes 2 ms before some connections, and opens 2 ms after others, while events wait two
/// seconds to be read.
pub(crate) fn late_reader(cx: &Context) -> Result<()> {
    let _netns = host()?;
    let mut ledger = Ledger::default();
    let _b = ledger.start(Listen::new("B", "0.0.0.0:80")?.group(1))?;
    let trace = cx.trace(&["--flush-interval", "2s"])?;
    let mut wants = Wants::default();
    let unordered = Expect {
        sequential: false,
        new_heirs: true,
        ..Expect::default()
    };
    for _ in 0..5 {
        // Before it ever listened, and later while it does not.
        let attempts = connect("6.6.6.6:80", 2)?;
        wants.add_judged(&ledger, &attempts, &unordered)?;
        std::thread::sleep(Duration::from_millis(2));
        let a = ledger.start(Listen::new("A", "6.6.6.6:80")?.group(1))?;
        let attempts = connect("6.6.6.6:80", 2)?;
        wants.add_judged(&ledger, &attempts, &unordered)?;
        ledger.stop(a)?;
        std::thread::sleep(Duration::from_millis(2));
    }
    let attempts = connect("6.6.6.6:80", 2)?;
    wants.add_judged(&ledger, &attempts, &unordered)?;
    compare(cx, &trace.finish()?, &wants)
}

/// Connections that nobody accepted die with their listener, and are counted; so is a
/// member that came and went.
pub(crate) fn died_in_the_queue(cx: &Context) -> Result<()> {
    cx.need_all()?;
    cx.need_sockpick()?;
    let _netns = host()?;
    let stays = Server::start(Listen::new("stays", "0.0.0.0:80")?.group(1))?;
    let trace = cx.trace(&[])?;
    let mut held = Vec::new();
    let leaves = Server::start(Listen::new("leaves", "6.6.6.6:80")?.group(1).hold())?;
    for _ in 0..4 {
        held.push(Client::to("6.6.6.6:80")?.open()?);
    }
    // The last ACK is processed after connect() returns.
    std::thread::sleep(Duration::from_millis(50));
    let before = monotonic_ns()?;
    drop(leaves);
    let recorded = trace.finish()?;
    drop((held, stays));
    let mut problems = Vec::new();
    let destroyed: u64 = recorded.health.iter().map(|group| group.destroyed).sum();
    if destroyed != 4 {
        problems.push(format!("4 connections were destroyed, said {destroyed}"));
    }
    let members = recorded.health.iter().flat_map(|group| &group.members);
    let short: Vec<_> = members.filter(|member| member.short_lived).collect();
    if !matches!(short.as_slice(), [member] if member.syns == 4 && !member.unbalanced) {
        problems.push(format!(
            "one member came and went with 4 SYNs, said {short:?}"
        ));
    }
    if recorded.health.iter().map(|group| group.syns).sum::<u64>() != 4 {
        problems.push(format!(
            "4 SYNs to groups since {before}, said {:?}",
            recorded.health
        ));
    }
    verdict(problems, &recorded, 4)
}
