//! Listeners, addresses, namespaces, devices.

use std::net::IpAddr;

use anyhow::Result;

use super::check;
use crate::attempt::{Attempt, all_answered, all_refused};
use crate::client::{Client, connect};
use crate::compare::compare;
use crate::context::Context;
use crate::kernel::{command, need_module};
use crate::ledger::WantVerdict;
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;
use crate::truth::Truth;
use crate::want::{Expect, Wants};

/// One plain listener: every field there is.
pub(crate) fn one_listener(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("only", "127.0.0.1:80")?.backlog(37))?;
    let trace = cx.trace(&[])?;
    let attempts = connect("127.0.0.1:80", 10)?;
    all_answered(&attempts, &["only"])?;
    check(cx, trace, &[&server], &attempts, &Expect::default())
}

/// A specific and a wildcard listener share a port: both are reuseport, as they must be.
pub(crate) fn exact_and_wildcard(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let wildcard = Server::start(Listen::new("wild", "0.0.0.0:80")?.group(1).backlog(5))?;
    let exact = Server::start(Listen::new("exact", "127.0.0.1:80")?.group(1).backlog(7))?;
    let exact6 = Server::start(Listen::new("exact6", "[::1]:81")?.group(1))?;
    let wildcard6 = Server::start(Listen::new("wild6", "[::]:81")?.group(1))?;
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
    let trace = cx.trace(&[])?;
    let mut attempts = Vec::new();
    for (destination, name) in [
        ("127.0.0.1:80", "exact"),
        ("127.0.0.2:80", "wild"),
        ("[::1]:81", "exact6"),
        ("[fd00::1]:81", "wild6"),
        ("127.0.0.1:81", "wild6"),
    ] {
        let some = connect(destination, 8)?;
        all_answered(&some, &[name])?;
        attempts.extend(some);
    }
    let servers = [&wildcard, &exact, &exact6, &wildcard6];
    check(cx, trace, &servers, &attempts, &Expect::default())
}

/// The same address and port in two namespaces, one of which has a name.
pub(crate) fn two_namespaces(cx: &Context) -> Result<()> {
    let name = format!("scenario-{}", std::process::id());
    let named = Netns::named(&name)?;
    let first = Server::start(Listen::new("first", "127.0.0.1:80")?)?;
    let other = Netns::fresh()?;
    let second = Server::start(Listen::new("second", "127.0.0.1:80")?)?;
    let trace = cx.trace(&[])?;
    let truth = Truth::of(&[&first, &second]);
    let with_name = Expect {
        netns_name: Some(name),
        ..Expect::default()
    };
    let mut wants = Wants::default();
    for _ in 0..3 {
        let attempts = named.inside(|| Client::to("127.0.0.1:80")?.port(2000).times(3))?;
        all_answered(&attempts, &["first"])?;
        wants.add(&truth, &attempts, &with_name)?;
        let attempts = other.inside(|| Client::to("127.0.0.1:80")?.port(2000).times(3))?;
        all_answered(&attempts, &["second"])?;
        wants.add(&truth, &attempts, &Expect::default())?;
    }
    compare(cx, &trace.finish()?, &wants)
}

/// A device-bound and an unbound listener on one port, and real devices between namespaces.
pub(crate) fn bind_to_device(cx: &Context) -> Result<()> {
    let netns = Netns::fresh()?;
    let veth = match need_module("veth") {
        Ok(()) => true,
        // Loopback is a device too; the rest of the scenario stands without veth.
        Err(skip) if skip.is::<crate::context::Skip>() => cx.ground_truth,
        Err(error) => return Err(error),
    };
    let far = veth.then(|| second_host(&netns)).transpose()?;
    // Side by side on one port only as reuseport groups, a group for each device.
    let unbound = Server::start(Listen::new("unbound", "0.0.0.0:80")?.group(2))?;
    let on_lo = Server::start(Listen::new("on-lo", "0.0.0.0:80")?.group(2).device("lo"))?;
    let on_veth = match far {
        Some(_) => Some(Server::start(
            Listen::new("on-veth", "0.0.0.0:81")?.device("near"),
        )?),
        None => None,
    };
    let mut servers = vec![&unbound, &on_lo];
    servers.extend(&on_veth);
    let truth = Truth::of(&servers);
    let trace = cx.trace(&[])?;
    let mut wants = Wants::default();

    let attempts = connect("127.0.0.1:80", 5)?;
    all_answered(&attempts, &["on-lo"])?;
    wants.add(&truth, &attempts, &Expect::default())?;
    if let Some(far) = &far {
        let attempts = connect("127.0.0.1:81", 2)?;
        all_refused(&attempts)?;
        wants.add(&truth, &attempts, &Expect::default())?;
        let index = nix::net::if_::if_nametoindex("near")?;
        let over_veth = Expect {
            interface: (index, "near".to_owned()),
            ..Expect::default()
        };
        for (port, name) in [(80, "unbound"), (81, "on-veth")] {
            let client = Client::to(&format!("192.0.2.1:{port}"))?.arriving_in(&netns);
            let client = client.from(IpAddr::from([192, 0, 2, 2]));
            let attempts = far.inside(|| client.times(5))?;
            all_answered(&attempts, &[name])?;
            wants.add(&truth, &attempts, &over_veth)?;
        }
    }
    compare(cx, &trace.finish()?, &wants)
}

/// A namespace at the other end of a veth pair: 192.0.2.1 `near` here, 192.0.2.2 `far` there.
pub(super) fn second_host(netns: &Netns) -> Result<Netns> {
    let far = Netns::fresh()?;
    let peer = [
        "type",
        "veth",
        "peer",
        "name",
        "near",
        "netns",
        &netns.path(),
    ];
    command(&[&["ip", "link", "add", "far"], peer.as_slice()].concat())?;
    up("far", "192.0.2.2/24")?;
    netns.enter()?;
    up("near", "192.0.2.1/24")?;
    Ok(far)
}

pub(super) fn up(device: &str, address: &str) -> Result<()> {
    command(&["ip", "address", "add", address, "dev", device])?;
    command(&["ip", "link", "set", device, "up"]).map(drop)
}

/// Nobody listens, or only for the other family.
pub(crate) fn refused(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("elsewhere", "127.0.0.1:80")?)?;
    let any = Server::start(Listen::new("any", "0.0.0.0:81")?)?;
    let trace = cx.trace(&[])?;
    let mut attempts = connect("127.0.0.1:99", 5)?;
    attempts.extend(connect("127.0.0.2:80", 5)?);
    let mut six = connect("[::1]:80", 5)?;
    six.extend(connect("[::1]:81", 2)?);
    all_refused(&attempts)?;
    all_refused(&six)?;
    let mut wants = Wants::default();
    let truth = Truth::of(&[&server, &any]);
    let refused = |reason| WantVerdict::is("refused", Some(reason));
    let mut add = |attempts: &[Attempt], verdict| {
        let expect = Expect {
            verdict: Some(verdict),
            ..Expect::default()
        };
        wants.add(&truth, attempts, &expect)
    };
    add(&attempts, refused("no_listener"))?;
    let inodes = [&server, &any].map(|server| server.hello.listeners[0].inode);
    let other_family = WantVerdict {
        expected: inodes.to_vec(),
        ..refused("other_family")
    };
    add(&six, other_family)?;
    compare(cx, &trace.finish()?, &wants)
}
