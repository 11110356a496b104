//! Was it the right socket: what the ledger of the servers says, and what sockpick says.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;

use crate::attempt::all_answered;
use crate::bpf::programs::steer;
use crate::bpf::{SOCKMAP, SocketMap};
use crate::client::{Client, connect};
use crate::compare::compare;
use crate::context::{Context, Skip};
use crate::kernel::{command, need_module, packaged, sysctl, tried};
use crate::ledger::{Ledger, WantVerdict};
use crate::listen::Listen;
use crate::netns::Netns;
use crate::serve::set_comm;
use crate::server::{Server, descriptors};
use crate::truth::Truth;
use crate::want::{Expect, Wants};

pub(super) const TIMES: usize = 12;

/// A namespace that has the story's address.
pub(super) fn host() -> Result<Netns> {
    let netns = Netns::fresh()?;
    command(&["ip", "address", "add", "6.6.6.6/32", "dev", "lo"])?;
    let six = ["address", "add", "2001:db8::6/128", "dev", "lo", "nodad"];
    command(&[["ip", "-6"].as_slice(), &six].concat())?;
    Ok(netns)
}

pub(super) fn a(count: usize) -> Result<Listen> {
    Ok(Listen::new("A", "6.6.6.6:80")?.group(count))
}

pub(super) fn b(count: usize) -> Result<Listen> {
    Ok(Listen::new("B", "0.0.0.0:80")?.group(count))
}

fn inodes(server: &Server) -> Vec<u64> {
    server.hello.listeners.iter().map(|one| one.inode).collect()
}

/// The story this project exists for: B first then A; B restarts; A down; A back.
pub(crate) fn seed_story(cx: &Context) -> Result<()> {
    for count in [2, 8] {
        let _netns = host()?;
        let mut ledger = Ledger::default();
        let mut wants = Wants::default();
        let first_b = ledger.start(b(count)?)?;
        let first_a = ledger.start(a(count)?)?;
        let trace = cx.trace(&[])?;
        let mut step = |ledger: &Ledger| -> Result<()> {
            let mut attempts = connect("6.6.6.6:80", TIMES)?;
            attempts.extend(connect("127.0.0.1:80", 4)?);
            wants.add_judged(ledger, &attempts, &Expect::default())
        };
        step(&ledger)?;
        ledger.stop(first_b)?;
        let _b = ledger.start(b(count)?)?;
        step(&ledger)?;
        ledger.stop(first_a)?;
        step(&ledger)?;
        let _a = ledger.start(a(count)?)?;
        step(&ledger)?;
        compare(cx, &trace.finish()?, &wants)?;
    }
    Ok(())
}

/// A group bound to the device against one bound to none, in both orders of start.
fn dev_order(cx: &Context, address: &str) -> Result<()> {
    for bound_first in [true, false] {
        let _netns = host()?;
        let bound = Listen::new("bound", address)?.group(2).device("lo");
        let unbound = Listen::new("unbound", address)?.group(2);
        let (first, second) = if bound_first {
            (bound, unbound)
        } else {
            (unbound, bound)
        };
        let mut ledger = Ledger::default();
        // Without inet_diag nobody tells the device of a listener that is there already.
        let mut first = Some(first);
        let mut servers = Vec::new();
        if need_module("inet_diag").is_ok() {
            servers.extend(first.take().map(|first| ledger.start(first)).transpose()?);
        }
        let trace = cx.trace(&[])?;
        for listen in first.into_iter().chain([second]) {
            servers.push(ledger.start(listen)?);
        }
        let attempts = connect(address, TIMES)?;
        let mut wants = Wants::default();
        wants.add_judged(&ledger, &attempts, &Expect::default())?;
        compare(cx, &trace.finish()?, &wants)?;
    }
    Ok(())
}

pub(crate) fn dev_order_v4(cx: &Context) -> Result<()> {
    dev_order(cx, "6.6.6.6:80")
}

pub(crate) fn dev_order_v6(cx: &Context) -> Result<()> {
    dev_order(cx, "[2001:db8::6]:80")
}

/// The IPv4 listener goes, and the IPv6 one takes its connections.
pub(crate) fn dual_stack_fallback(cx: &Context) -> Result<()> {
    let _netns = host()?;
    let mut ledger = Ledger::default();
    let four = ledger.start(Listen::new("four", "0.0.0.0:80")?.group(1))?;
    let _six = ledger.start(Listen::new("six", "[::]:80")?.group(1))?;
    let trace = cx.trace(&[])?;
    let mut wants = Wants::default();
    let mut step = |ledger: &Ledger| -> Result<()> {
        let mut attempts = connect("6.6.6.6:80", 6)?;
        attempts.extend(connect("[2001:db8::6]:80", 4)?);
        wants.add_judged(ledger, &attempts, &Expect::default())
    };
    step(&ledger)?;
    ledger.stop(four)?;
    step(&ledger)?;
    compare(cx, &trace.finish()?, &wants)
}

/// The specific listener is bound to a device that the SYN does not come through.
pub(crate) fn dev_mismatch(cx: &Context) -> Result<()> {
    need_module("dummy")?;
    let _netns = host()?;
    // Symbols that look like the module's are there without it.
    if let Err(error) = command(&["ip", "link", "add", "other", "type", "dummy"]) {
        if packaged("dummy")? {
            return Err(error);
        }
        return Err(Skip("no module dummy was packaged".to_owned()).into());
    }
    let mut ledger = Ledger::default();
    let _b = ledger.start(b(1)?)?;
    let _a = ledger.start(a(2)?.device("other"))?;
    let trace = cx.trace(&[])?;
    let mut attempts = connect("6.6.6.6:80", 6)?;
    attempts.extend(connect("127.0.0.1:80", 3)?);
    all_answered(&attempts, &["B"])?;
    let mut wants = Wants::default();
    wants.add_judged(&ledger, &attempts, &Expect::default())?;
    compare(cx, &trace.finish()?, &wants)
}

/// A SYN through a VRF passes by a listener that is not bound to it.
pub(crate) fn vrf_scope(cx: &Context) -> Result<()> {
    need_module("vrf")?;
    need_module("veth")?;
    let netns = Netns::fresh()?;
    let far = Netns::fresh()?;
    let peer = ["type", "veth", "peer", "name", "near", "netns"];
    let path = netns.path();
    command(&[["ip", "link", "add", "far"].as_slice(), &peer, &[&path]].concat())?;
    command(&["ip", "address", "add", "192.0.2.2/24", "dev", "far"])?;
    command(&["ip", "link", "set", "far", "up"])?;
    netns.enter()?;
    command(&["ip", "link", "add", "blue", "type", "vrf", "table", "10"])?;
    command(&["ip", "link", "set", "blue", "up"])?;
    command(&["ip", "link", "set", "near", "master", "blue"])?;
    command(&["ip", "address", "add", "192.0.2.1/24", "dev", "near"])?;
    command(&["ip", "link", "set", "near", "up"])?;
    sysctl("net.ipv4.tcp_l3mdev_accept", "0")?;
    // Outside of the VRF the address is nobody's.
    sysctl("net.ipv4.ip_nonlocal_bind", "1")?;
    let a = Server::start(Listen::new("A", "192.0.2.1:80")?.group(1))?;
    let b = Server::start(Listen::new("B", "0.0.0.0:80")?.group(1).device("blue"))?;
    let trace = cx.trace(&[])?;
    let client = Client::to("192.0.2.1:80")?.arriving_in(&netns);
    let client = client.from(IpAddr::from([192, 0, 2, 2]));
    let attempts = far.inside(|| client.times(5))?;
    all_answered(&attempts, &["B"])?;
    let expect = Expect {
        interface: (nix::net::if_::if_nametoindex("blue")?, "blue".to_owned()),
        verdict: Some(WantVerdict {
            expected: inodes(&a),
            ..WantVerdict::is("uncovered", Some("vrf_scope"))
        }),
        ..Expect::default()
    };
    let mut wants = Wants::default();
    wants.add(&Truth::of(&[&a, &b]), &attempts, &expect)?;
    compare(cx, &trace.finish()?, &wants)
}

/// The same services in two namespaces; A goes in one of them only.
pub(crate) fn two_namespaces_verdicts(cx: &Context) -> Result<()> {
    let mut ledger = Ledger::default();
    let here = host()?;
    let _b = ledger.start(b(1)?)?;
    let leaves = ledger.start(a(1)?)?;
    let there = host()?;
    let _other_b = ledger.start(b(1)?)?;
    let _other_a = ledger.start(a(1)?)?;
    let trace = cx.trace(&[])?;
    let mut wants = Wants::default();
    let mut step = |ledger: &Ledger| -> Result<()> {
        for netns in [&here, &there] {
            let attempts = netns.inside(|| connect("6.6.6.6:80", 5))?;
            wants.add_judged(ledger, &attempts, &Expect::default())?;
        }
        Ok(())
    };
    step(&ledger)?;
    ledger.stop(leaves)?;
    step(&ledger)?;
    compare(cx, &trace.finish()?, &wants)
}

/// A service that is named and never starts.
pub(crate) fn configured_never_started(cx: &Context) -> Result<()> {
    let _netns = host()?;
    let b = Server::start(b(1)?)?;
    let trace = cx.trace(&["--expect", "6.6.6.6:80=A"])?;
    let attempts = connect("6.6.6.6:80", 5)?;
    let uncovered = Expect {
        verdict: Some(WantVerdict::is("uncovered", Some("not_listening")).of("A", vec![])),
        ..Expect::default()
    };
    let mut wants = Wants::default();
    let truth = Truth::of(&[&b]);
    wants.add(&truth, &attempts, &uncovered)?;
    wants.add(&truth, &connect("127.0.0.1:80", 3)?, &Expect::default())?;
    compare(cx, &trace.finish()?, &wants)
}

/// A specific and a wildcard listener, both wanted, and nothing that goes wrong.
pub(crate) fn overlap_on_purpose(cx: &Context) -> Result<()> {
    let _netns = host()?;
    let mut ledger = Ledger::default();
    let _b = ledger.start(b(2)?)?;
    let _a = ledger.start(a(2)?)?;
    let _six = ledger.start(Listen::new("six", "[::]:81")?.group(2))?;
    let trace = cx.trace(&[])?;
    let mut attempts = Vec::new();
    for to in [
        "6.6.6.6:80",
        "127.0.0.1:80",
        "[2001:db8::6]:81",
        "6.6.6.6:81",
    ] {
        attempts.extend(connect(to, 10)?);
    }
    let mut wants = Wants::default();
    wants.add_judged(&ledger, &attempts, &Expect::default())?;
    compare(cx, &trace.finish()?, &wants)
}

/// An `sk_lookup` program gives A's port to somebody else: on purpose, unless A is named.
pub(crate) fn sk_lookup_steals(cx: &Context) -> Result<()> {
    let netns = host()?;
    set_comm("thief")?;
    let thief = Server::inside(Listen::new("thief", "127.0.0.1:99")?)?;
    let a = Server::start(Listen::new("A", "6.6.6.6:80")?)?;
    let map = SocketMap::new(SOCKMAP, &descriptors(thief.sockets()?));
    let map = tried("sk_lookup", 5, 9, map)?;
    let program = tried("sk_lookup", 5, 9, steer(&map, 80, 7778))?;
    let _link = program.attach_lookup(&netns)?;
    let truth = Truth::of(&[&thief, &a]);
    let steered = WantVerdict::is("steered", Some("bpf_sk_lookup"));
    let stolen = WantVerdict::is("misdirected", Some("bpf_sk_lookup")).of("A", inodes(&a));
    let cases: [(&[&str], WantVerdict); 2] =
        [(&[], steered), (&["--expect", "6.6.6.6:80=A"], stolen)];
    for (options, verdict) in cases {
        let trace = cx.trace(options)?;
        let attempts = connect("6.6.6.6:80", 5)?;
        all_answered(&attempts, &["thief"])?;
        let expect = Expect {
            via: Some("sk_lookup"),
            verdict: Some(verdict),
            ..Expect::default()
        };
        let mut wants = Wants::default();
        wants.add(&truth, &attempts, &expect)?;
        compare(cx, &trace.finish()?, &wants)?;
    }
    Ok(())
}

/// The right address, held by the wrong program.
pub(crate) fn wrong_owner(cx: &Context) -> Result<()> {
    let _netns = host()?;
    let a = Server::start(Listen::new("A", "6.6.6.6:80")?)?;
    let wrong = WantVerdict::is("misdirected", Some("wrong_owner")).of("web", vec![]);
    for (comm, verdict) in [("nginx", wrong), ("A", WantVerdict::is("ok", None))] {
        let file = Configuration::write(&format!(
            "[[service]]\nname = \"web\"\nlisten = [\"6.6.6.6:80\"]\ncomm = \"{comm}\"\n"
        ))?;
        let trace = cx.trace(&["--config", file.path()])?;
        let attempts = connect("6.6.6.6:80", 5)?;
        let expect = Expect {
            verdict: Some(verdict),
            ..Expect::default()
        };
        let mut wants = Wants::default();
        wants.add(&Truth::of(&[&a]), &attempts, &expect)?;
        compare(cx, &trace.finish()?, &wants)?;
    }
    Ok(())
}

/// A configuration file, removed when dropped.
pub(super) struct Configuration(PathBuf);

impl Configuration {
    pub(super) fn write(text: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("sockpick-{}.toml", std::process::id()));
        std::fs::write(&path, text)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        // The guest goes as well.
        let _ = std::fs::remove_file(&self.0);
    }
}
