//! SYNs that the kernel drops after it picked their listener.

use std::fs;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::libc;
use socket2::{SockFilter, Socket};

use super::verdicts::{a, b, host};
use crate::attempt::{Attempt, all_answered};
use crate::client::{Client, connect};
use crate::context::{Context, LEGACY, Skip};
use crate::daemon::{Daemon, folder, sum};
use crate::kernel::monotonic_ns;
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;

/// From now on the socket is given nothing; a client tries all the same.
fn shut_out(socket: &Socket, address: &str) -> Result<JoinHandle<Result<Vec<Attempt>>>> {
    // BPF_RET of 0: no byte of the packet is kept.
    let nothing = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
    socket
        .attach_filter(&[nothing])
        .context("cannot attach a socket filter")?;
    let client = Client::to(address)?;
    Ok(spawn(move || client.times(1)))
}

/// The client is let in with its second try. Says since when, and what came of it.
fn let_in(
    socket: &Socket,
    client: JoinHandle<Result<Vec<Attempt>>>,
) -> Result<(u64, Vec<Attempt>)> {
    sleep(Duration::from_millis(300));
    let lifted = monotonic_ns()?;
    socket.detach_filter()?;
    let attempts = client
        .join()
        .map_err(|_| anyhow::anyhow!("the client panicked"))??;
    Ok((lifted, attempts))
}

/// A socket filter on one of two listeners lets nothing in; then it is taken off, and the
/// retransmission is taken.
pub(crate) fn not_taken(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let _netns = Netns::fresh()?;
    let deaf = Server::inside(Listen::new("deaf", "127.0.0.1:80")?)?;
    let open = Server::start(Listen::new("open", "127.0.0.1:81")?)?;
    let trace = cx.trace(&[])?;
    let socket = deaf.sockets()?.first().context("no socket")?;
    let late = shut_out(socket, "127.0.0.1:80")?;
    // Others are taken meanwhile, on whichever CPU. Less than the second after which the client
    // tries again.
    let others = connect("127.0.0.1:81", 8)?;
    all_answered(&others, &["open"])?;
    let (lifted, late) = let_in(socket, late)?;
    all_answered(&late, &["deaf"])?;
    let recorded = trace.finish()?;
    drop(open);
    if cx.ground_truth {
        return Ok(());
    }
    let late = late.first().context("no attempt")?;
    let mut problems = Vec::new();
    let mut dropped = 0;
    for event in &recorded.events {
        let wanted = (event.key() == late.key() && event.ktime_ns < lifted).then_some("not_taken");
        let said = (event.verdict.as_str(), event.reason.as_deref());
        if said != ("ok", wanted) {
            problems.push(format!("{said:?} and not {wanted:?} of {event:?}"));
        }
        dropped += u64::from(wanted.is_some());
    }
    let syns = recorded.events.len() as u64 - dropped;
    if dropped == 0 || syns != 9 {
        problems.push(format!("{dropped} SYNs dropped, {syns} taken"));
    }
    let noun = if dropped == 1 { "SYN" } else { "SYNs" };
    let line = format!(
        "{dropped} {noun} dropped after the lookup: TCP-MD5 or -AO, a socket filter or a policy"
    );
    if !recorded.stderr.contains(&line) {
        problems.push(format!("the summary does not say `{line}`"));
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

/// Where suspects alone are recorded, a packet is read when its listener takes it: one that is
/// dropped before has its alert all the same.
pub(crate) fn dropped_suspect(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    if cx.backend == LEGACY {
        return Err(Skip("these programs record every SYN".into()).into());
    }
    let cx = &cx.of_suspects();
    let _netns = host()?;
    let b = Server::inside(b(1)?)?;
    let a = Server::start(a(1)?)?;
    let trace = cx.trace(&[])?;
    all_answered(&connect("6.6.6.6:80", 3)?, &["A"])?;
    let socket = b.sockets()?.first().context("no socket")?;
    drop(a);
    let late = shut_out(socket, "6.6.6.6:80")?;
    let (lifted, late) = let_in(socket, late)?;
    all_answered(&late, &["B"])?;
    let late = late.first().context("no attempt")?;
    let recorded = trace.finish()?;
    let said: Vec<_> = recorded
        .events
        .iter()
        .map(|event| {
            let is_late = event.key() == late.key();
            (is_late, event.ktime_ns < lifted, event.verdict.as_str())
        })
        .collect();
    let [dropped @ .., taken] = &said[..] else {
        bail!("no event");
    };
    let is_dropped = |said: &(bool, bool, &str)| *said == (true, true, "uncovered");
    if dropped.is_empty() || !dropped.iter().all(is_dropped) || *taken != (true, false, "uncovered")
    {
        bail!("(the client's, before it was let in, verdict): {said:?}");
    }
    Ok(())
}

/// Retransmissions of SYNs in this namespace.
fn retransmitted() -> Result<u32> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat")?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = lines.next().zip(lines.next()).context("no TcpExt")?;
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs
        .find(|(name, _)| *name == "TCPSynRetrans")
        .context("no TCPSynRetrans")?;
    Ok(value.parse()?)
}

/// What the daemon says of SYNs for the listener: told, and lost.
fn told_and_lost(listener: &str) -> Result<(f64, f64)> {
    let (_, body) = Daemon::get("/metrics")?;
    let told = sum(&body, "sockpick_syn_total", &[("listener", listener)]);
    let lost = sum(&body, "sockpick_events_lost_total", &[]);
    Ok((told.unwrap_or(0.0), lost.unwrap_or(0.0)))
}

/// A daemon need not see lookups end. Of a listener that takes nothing it loses the first SYN at
/// most, and says so; the others alert as ever.
pub(crate) fn daemon_dropped(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let _netns = host()?;
    let folder = folder("dropped");
    let b = Server::inside(b(1)?)?;
    let settings =
        "[daemon]\nself_check = 'off'\n[[service]]\nname = 'A'\nlisten = ['6.6.6.6:80']\n";
    let daemon = cx.daemon(&folder, settings)?;
    let socket = b.sockets()?.first().context("no socket")?;
    let client = shut_out(socket, "6.6.6.6:80")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    let until = |enough: &dyn Fn(f64, f64) -> Result<bool>| -> Result<()> {
        loop {
            let (told, lost) = told_and_lost("*:80")?;
            if enough(told, lost)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{told} SYNs told, {lost} lost, {} sent again",
                    retransmitted()?
                );
            }
            sleep(Duration::from_millis(100));
        }
    };
    // The second one comes a second later, and is dropped as well.
    until(&|told, lost| Ok(told + lost > 1.5))?;
    let (_, attempts) = let_in(socket, client)?;
    all_answered(&attempts, &["B"])?;
    until(&|told, lost| {
        let sent = f64::from(1 + retransmitted()?);
        Ok(lost < 1.5 && (told + lost - sent).abs() < 0.5)
    })?;
    let (told, _) = told_and_lost("*:80")?;
    daemon.metric("sockpick_alerts_total", &[("service", "A")], told)?;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}
