//! Namespaces and listeners that come and go by the thousand: the daemon counts every SYN of
//! them, and holds on to nothing.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, setrlimit};

use super::soak::Taken;
use crate::context::Context;
use crate::daemon::{Daemon, folder, sum};
use crate::netns::Netns;

const NAMESPACES: u16 = 1_000;
const LISTENERS: u16 = 10_000;
/// The first of the ports of those that listen at once.
const FIRST: u16 = 10_000;
/// So many of those are visited: more than sockpick has no names for, and not more than there is
/// room for series (`max_series`), of which each takes four.
const VISITED: u16 = 2_200;
/// What a thousand namespaces may take for as long as their series stay.
const NAMESPACES_KIB: u64 = 16 * 1024;
/// Likewise what all that is remembered of listeners may take: series, and who closed.
const LISTENERS_KIB: u64 = 64 * 1024;
/// What of it is not full after the first time.
const FILLS_KIB: u64 = 32 * 1024;

/// A client comes to a listener, and is accepted.
fn visit(listener: &TcpListener) -> Result<()> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    // Before its reset is sent: that may overtake the handshake's ACK on another CPU, and then
    // there is nothing to accept for ever.
    let _accepted = listener.accept()?;
    // No `TIME_WAIT`, which would take its port from others.
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    Ok(())
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Descriptors and threads are as many as before; memory has grown by so much at most.
fn holds_on_to_nothing(daemon: &Daemon, before: Taken, room_kib: u64) -> Result<Taken> {
    let now = daemon.until(
        "as many descriptors as before",
        || Taken::by(daemon.pid()),
        |now| now.descriptors <= before.descriptors && now.threads <= before.threads,
    )?;
    println!("FIGURE before {before:?}, after {now:?}");
    ensure!(
        now.rss_kib <= before.rss_kib + room_kib,
        "before {before:?}, after {now:?}"
    );
    Ok(now)
}

fn nothing_lost(daemon: &Daemon) -> Result<()> {
    for stage in ["kernel", "queue"] {
        daemon.metric("sockpick_events_lost_total", &[("stage", stage)], 0.0)?;
    }
    Ok(())
}

/// A thousand namespaces, each with a listener that gets a SYN, are made and deleted.
pub(crate) fn daemon_namespaces(cx: &Context) -> Result<()> {
    cx.need_one_of_three()?;
    let _here = Netns::fresh()?;
    let folder = folder("namespaces");
    let daemon = cx.daemon(&folder, "")?;
    let before = Taken::by(daemon.pid())?;
    for _ in 0..NAMESPACES {
        Netns::short()?;
        visit(&TcpListener::bind(loopback(7000))?)?;
    }
    let _here = Netns::fresh()?;
    let listener = [("listener", "127.0.0.1:7000")];
    daemon.metric("sockpick_syn_total", &listener, NAMESPACES.into())?;
    nothing_lost(&daemon)?;
    holds_on_to_nothing(&daemon, before, NAMESPACES_KIB)?;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// Ten thousand listeners one after the other, each with a SYN, and ten thousand at once, which is
/// more than sockpick has names for; and those once more. When they are gone, it knows who comes
/// then.
pub(crate) fn daemon_listeners(cx: &Context) -> Result<()> {
    cx.need_one_of_three()?;
    let _here = Netns::fresh()?;
    let most = u64::from(LISTENERS) + 1000;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let folder = folder("listeners");
    // Room for all of them: how fast they are read is another scenario's.
    let daemon = cx.daemon_with(&folder, "", &["--buffer-size", "8MiB"])?;
    let before = Taken::by(daemon.pid())?;
    for _ in 0..LISTENERS {
        visit(&TcpListener::bind(loopback(7000))?)?;
    }
    come_and_go(&daemon, LISTENERS + VISITED)?;
    let first = holds_on_to_nothing(&daemon, before, LISTENERS_KIB)?;
    come_and_go(&daemon, LISTENERS + 2 * VISITED)?;
    holds_on_to_nothing(&daemon, first, FILLS_KIB)?;

    let later = TcpListener::bind(loopback(7001))?;
    for _ in 0..20 {
        visit(&later)?;
    }
    let listener = [("listener", "127.0.0.1:7001")];
    daemon.metric("sockpick_syn_total", &listener, 20.0)?;
    nothing_lost(&daemon)?;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// All of them at once; so many SYNs have come then.
fn come_and_go(daemon: &Daemon, all: u16) -> Result<()> {
    let ports = FIRST..FIRST + LISTENERS;
    let listeners = ports.map(|port| TcpListener::bind(loopback(port)));
    let listeners: Vec<TcpListener> = listeners.collect::<Result<_, _>>()?;
    let visited = listeners.iter().rev().take(VISITED.into());
    visited.map(visit).collect::<Result<Vec<()>>>()?;
    let is_all = |found: &f64| (found - f64::from(all)).abs() < 0.5;
    daemon.until("SYNs of all of them", syns, is_all)?;
    Ok(())
}

/// SYNs of all listeners but the daemon's own. None while it is too busy to be scraped.
fn syns() -> Result<f64> {
    let (_, body) = Daemon::get("/metrics")?;
    let total = sum(&body, "sockpick_syn_total", &[]).unwrap_or(0.0);
    let own = [("listener", "127.0.0.1:9464")];
    Ok(total - sum(&body, "sockpick_syn_total", &own).unwrap_or(0.0))
}
