//! IPv6, and IPv6 sockets that take IPv4.

use anyhow::Result;

use super::check;
use crate::attempt::{all_answered, all_refused};
use crate::client::{Client, connect};
use crate::compare::compare;
use crate::context::Context;
use crate::kernel::{command, need_mptcp, version};
use crate::ledger::Ledger;
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;
use crate::want::{Expect, Wants};

/// A listener on one IPv6 address, one on all, a group.
pub(crate) fn ipv6(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    command(&[
        "ip",
        "-6",
        "address",
        "add",
        "fd00::1/128",
        "dev",
        "lo",
        "nodad",
    ])?;
    let exact = Server::start(Listen::new("exact", "[::1]:80")?.backlog(3))?;
    let all = Server::start(Listen::new("all", "[::]:81")?.backlog(4).v6only())?;
    let group = Server::start(Listen::new("group", "[fd00::1]:82")?.group(3))?;
    let trace = cx.trace(&[])?;
    let mut attempts = Vec::new();
    for (destination, name) in [
        ("[::1]:80", "exact"),
        ("[::1]:81", "all"),
        ("[fd00::1]:81", "all"),
        ("[fd00::1]:82", "group"),
    ] {
        let client = Client::to(destination)?;
        let itself = client.destination.ip();
        let some = client.from(itself).times(8)?;
        all_answered(&some, &[name])?;
        attempts.extend(some);
    }
    check(
        cx,
        trace,
        &[&exact, &all, &group],
        &attempts,
        &Expect::default(),
    )
}

/// `[::]` takes IPv4 too, unless it is IPv6 only or an IPv4 listener is there.
pub(crate) fn dual_stack(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let both = Server::start(Listen::new("both", "[::]:80")?)?;
    let only = Server::start(Listen::new("only-v6", "[::]:81")?.v6only())?;
    let group = Server::start(Listen::new("group", "[::]:82")?.group(4))?;
    let v4 = Server::start(Listen::new("v4", "0.0.0.0:83")?.group(1))?;
    let v6 = Server::start(Listen::new("v6", "[::]:83")?.group(1))?;
    let trace = cx.trace(&[])?;
    let mut attempts = Vec::new();
    for (destination, name) in [
        ("127.0.0.1:80", Some("both")),
        ("[::1]:80", Some("both")),
        ("127.0.0.1:81", None),
        ("[::1]:81", Some("only-v6")),
        ("127.0.0.1:82", Some("group")),
        ("[::1]:82", Some("group")),
        ("127.0.0.1:83", Some("v4")),
        ("[::1]:83", Some("v6")),
    ] {
        let some = connect(destination, 5)?;
        match name {
            Some(name) => all_answered(&some, &[name])?,
            None => all_refused(&some)?,
        }
        attempts.extend(some);
    }
    let servers = [&both, &only, &group, &v4, &v6];
    check(cx, trace, &servers, &attempts, &Expect::default())
}

/// An IPv6 socket bound to an IPv4 address stands beside IPv4 sockets and beats the wildcard.
pub(crate) fn v4_mapped(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let mut ledger = Ledger::default();
    let _servers = [
        ledger.start(Listen::new("mapped", "[::ffff:127.0.0.1]:80")?.group(1))?,
        ledger.start(Listen::new("wild", "0.0.0.0:80")?.group(1))?,
        ledger.start(Listen::new("alone", "[::ffff:127.0.0.3]:81")?)?,
    ];
    // In one chain per port (before 5.0) the wildcard stands in front.
    let first = if version()? < (5, 0) {
        "wild"
    } else {
        "mapped"
    };
    let trace = cx.trace(&[])?;
    let mut attempts = Vec::new();
    for (destination, name) in [
        ("127.0.0.1:80", first),
        ("127.0.0.2:80", "wild"),
        ("127.0.0.3:81", "alone"),
    ] {
        let some = connect(destination, 5)?;
        all_answered(&some, &[name])?;
        attempts.extend(some);
    }
    let mut wants = Wants::default();
    wants.add_judged(&ledger, &attempts, &Expect::default())?;
    compare(cx, &trace.finish()?, &wants)
}

/// Listeners for MPTCP, one from before and one from after sockpick's start: the socket that
/// listens is the kernel's own, under the inode number of its owner's. Clients of either kind.
pub(crate) fn mptcp(cx: &Context) -> Result<()> {
    need_mptcp()?;
    let _netns = Netns::fresh()?;
    let before = Server::start(Listen::new("before", "127.0.0.1:80")?.backlog(5).mptcp())?;
    let trace = cx.trace(&[])?;
    let after = Server::start(Listen::new("after", "[::]:81")?.backlog(6).mptcp())?;
    let mut attempts = Vec::new();
    for (destination, name) in [
        ("127.0.0.1:80", "before"),
        ("127.0.0.1:81", "after"),
        ("[::1]:81", "after"),
    ] {
        let client = Client::to(destination)?;
        let mut some = client.times(4)?;
        some.extend(client.mptcp().times(4)?);
        all_answered(&some, &[name])?;
        attempts.extend(some);
    }
    check(cx, trace, &[&before, &after], &attempts, &Expect::default())
}
