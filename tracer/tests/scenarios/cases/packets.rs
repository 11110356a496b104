//! Unusual ways for a SYN to come, and segments that are none.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail};

use super::check;
use crate::attempt::all_answered;
use crate::client::{Client, connect};
use crate::context::Context;
use crate::kernel::sysctl;
use crate::listen::Listen;
use crate::load::loopback;
use crate::netns::Netns;
use crate::segments::{STRAY, Sender, tcp_counter};
use crate::server::Server;
use crate::want::Expect;

/// A client uses its port again while the server's side is in `TIME_WAIT`: the kernel
/// meets that first and then looks for the listener. One event each time.
pub(crate) fn time_wait_reuse(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("again", "127.0.0.1:80")?)?;
    let trace = cx.trace(&[])?;
    let client = Client::to("127.0.0.1:80")?.port(5000).leave_time_wait();
    let mut attempts = Vec::new();
    for _ in 0..5 {
        attempts.extend(client.times(1)?);
        wait_for_time_wait()?;
    }
    all_answered(&attempts, &["again"])?;
    check(cx, trace, &[&server], &attempts, &Expect::default())
}

/// Waits until the last connection is in `TIME_WAIT`, and until its clock has moved on.
fn wait_for_time_wait() -> Result<()> {
    for _ in 0..200 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        // local address, remote address, state 06; port 80 is 0050.
        let table = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
        let mut rows = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        if rows.any(|row| row.len() > 3 && row[1].ends_with(":0050") && row[3] == "06") {
            return Ok(());
        }
    }
    bail!("the scenario itself went wrong: no connection in TIME_WAIT");
}

/// Every SYN is answered with a cookie: the listener is met again when the ACK comes.
pub(crate) fn syn_cookies(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    sysctl("net.ipv4.tcp_syncookies", "2")?;
    let single = Server::start(Listen::new("single", "127.0.0.1:80")?)?;
    let group = Server::start(Listen::new("group", "127.0.0.1:81")?.group(4))?;
    let group6 = Server::start(Listen::new("group6", "[::1]:81")?.group(4))?;
    let trace = cx.trace(&[])?;
    let mut attempts = connect("127.0.0.1:80", 10)?;
    attempts.extend(connect("127.0.0.1:81", 20)?);
    attempts.extend(connect("[::1]:81", 10)?);
    all_answered(&attempts, &["single", "group", "group6"])?;
    check(
        cx,
        trace,
        &[&single, &group, &group6],
        &attempts,
        &Expect::default(),
    )
}

/// Segments that belong to no connection reach the lookup and are no SYNs: no event. An
/// ordinary connection afterwards has its one.
pub(crate) fn stray_segments(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("v4", "127.0.0.1:80")?)?;
    let server6 = Server::start(Listen::new("v6", "[::1]:80")?.group(2))?;
    let trace = cx.trace(&[])?;
    let (before, bad) = (tcp_counter("InSegs")?, tcp_counter("InErrs")?);
    let mut sent = HashSet::new();
    for v6 in [false, true] {
        let address: IpAddr = loopback(v6);
        let sender = Sender::new(address)?;
        for port in [80, 99] {
            for (nth, (_, flags)) in STRAY.iter().enumerate() {
                let from = 6000 + nth as u16;
                sender.send(from, SocketAddr::new(address, port), *flags)?;
                sent.insert((v6, port, nth));
            }
        }
    }
    let arrived = tcp_counter("InSegs")? - before;
    if arrived < sent.len() as u64 || tcp_counter("InErrs")? != bad {
        bail!(
            "the scenario itself went wrong: of {} segments {arrived} arrived",
            sent.len()
        );
    }
    let mut attempts = connect("127.0.0.1:80", 2)?;
    attempts.extend(connect("[::1]:80", 2)?);
    all_answered(&attempts, &["v4", "v6"])?;
    check(
        cx,
        trace,
        &[&server, &server6],
        &attempts,
        &Expect::default(),
    )
}
