//! Programs that put a connection on another listener than the lookup would.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::Result;

use super::check;
use crate::attempt::{Attempt, all_answered, all_refused};
use crate::bpf::programs::{assign, steer};
use crate::bpf::{Program, SOCKMAP, SocketMap};
use crate::client::{Client, connect};
use crate::compare::compare;
use crate::context::Context;
use crate::kernel::{command, need_module, tried, version};
use crate::listen::Listen;
use crate::netns::Netns;
use crate::serve::set_comm;
use crate::server::{Server, descriptors};
use crate::truth::Truth;
use crate::want::{Expect, Wants};

/// Nobody listens here; a program sends it to port 80.
const STEERED: u16 = 7777;
/// Somebody listens here, but a program says no.
const DROPPED: u16 = 7778;

fn via(via: &'static str) -> Expect {
    Expect {
        via: Some(via),
        ..Expect::default()
    }
}

/// A program chose, and is named.
fn by(via: &'static str, program: &Program) -> Result<Expect> {
    Ok(Expect {
        via: Some(via),
        steered_by: Some(program.id()?),
        ..Expect::default()
    })
}

/// A listener on port 80 of this process.
fn target() -> Result<Server> {
    set_comm("target")?;
    Server::inside(Listen::new("target", "127.0.0.1:80")?.backlog(21))
}

fn ten(port: u16) -> Result<Vec<Attempt>> {
    connect(&format!("127.0.0.1:{port}"), 10)
}

/// An `sk_lookup` program steers one port; another port, and IPv6, take the ordinary way.
pub(crate) fn sk_lookup(cx: &Context) -> Result<()> {
    let netns = Netns::fresh()?;
    let target = target()?;
    let v6 = Server::start(Listen::new("v6", "[::1]:80")?)?;
    let map = SocketMap::new(SOCKMAP, &descriptors(target.sockets()?));
    let map = tried("sk_lookup", 5, 9, map)?;
    let program = tried("sk_lookup", 5, 9, steer(&map, STEERED, DROPPED))?;
    let _link = program.attach_lookup(&netns)?;
    let trace = cx.trace(&[])?;
    let truth = Truth::of(&[&target, &v6]);
    let mut wants = Wants::default();
    let attempts = ten(STEERED)?;
    all_answered(&attempts, &["target"])?;
    wants.add(&truth, &attempts, &by("sk_lookup", &program)?)?;
    let mut attempts = ten(80)?;
    attempts.extend(connect("[::1]:80", 3)?);
    all_answered(&attempts, &["target", "v6"])?;
    wants.add(&truth, &attempts, &via("lookup"))?;
    let attempts = connect("127.0.0.1:99", 3)?;
    all_refused(&attempts)?;
    wants.add(&truth, &attempts, &via("lookup"))?;
    compare(cx, &trace.finish()?, &wants)
}

/// A filter by port is about the packet's, whichever port the listener has that a program chose.
pub(crate) fn steered_ports(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let netns = Netns::fresh()?;
    let target = target()?;
    let map = SocketMap::new(SOCKMAP, &descriptors(target.sockets()?));
    let map = tried("sk_lookup", 5, 9, map)?;
    let program = tried("sk_lookup", 5, 9, steer(&map, STEERED, DROPPED))?;
    let _link = program.attach_lookup(&netns)?;
    let truth = Truth::of(&[&target]);
    for (shown, expect) in [(STEERED, by("sk_lookup", &program)?), (80, via("lookup"))] {
        let trace = cx.trace(&["--port", &shown.to_string()])?;
        let mut wants = Wants::default();
        for port in [STEERED, 80] {
            let attempts = ten(port)?;
            all_answered(&attempts, &["target"])?;
            if port == shown {
                wants.add(&truth, &attempts, &expect)?;
            }
        }
        compare(cx, &trace.finish()?, &wants)?;
    }
    Ok(())
}

/// An `sk_lookup` program refuses connections to a listener that is there.
pub(crate) fn sk_lookup_drop(cx: &Context) -> Result<()> {
    let netns = Netns::fresh()?;
    let target = target()?;
    let hidden = Server::start(Listen::new("hidden", &format!("0.0.0.0:{DROPPED}"))?)?;
    let map = SocketMap::new(SOCKMAP, &descriptors(target.sockets()?));
    let map = tried("sk_lookup", 5, 9, map)?;
    let program = tried("sk_lookup", 5, 9, steer(&map, STEERED, DROPPED))?;
    let _link = program.attach_lookup(&netns)?;
    let trace = cx.trace(&[])?;
    let attempts = ten(DROPPED)?;
    all_refused(&attempts)?;
    let expect = by("sk_lookup", &program)?;
    check(cx, trace, &[&target, &hidden], &attempts, &expect)
}

/// `bpf_sk_assign` at tc ingress: no lookup happens.
pub(crate) fn sk_assign(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let target = target()?;
    let program = tried("bpf_sk_assign", 5, 7, assign(STEERED, 80))?;
    let _attached = attach_to_ingress(cx, &program)?;
    let trace = cx.trace(&[])?;
    let truth = Truth::of(&[&target]);
    let mut wants = Wants::default();
    let attempts = Client::to(&format!("127.0.0.1:{STEERED}"))?
        .port(4000)
        .times(10)?;
    all_answered(&attempts, &["target"])?;
    wants.add(&truth, &attempts, &by("sk_assign", &program)?)?;
    let attempts = ten(80)?;
    all_answered(&attempts, &["target"])?;
    wants.add(&truth, &attempts, &via("lookup"))?;
    compare(cx, &trace.finish()?, &wants)
}

/// What keeps a program at an interface's ingress.
enum Attached {
    Link(#[expect(dead_code, reason = "held to be dropped")] OwnedFd),
    Pinned(PathBuf),
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Self::Pinned(path) = self {
            // The guest goes as well; there is nobody to tell.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Loopback's ingress: directly where the kernel can, else through tc and its modules.
fn attach_to_ingress(cx: &Context, program: &Program) -> Result<Attached> {
    if version()? >= (6, 6) {
        return Ok(Attached::Link(program.attach_tcx(1)?));
    }
    if !cx.ground_truth {
        need_module("sch_ingress")?;
        need_module("cls_bpf")?;
    }
    let path = PathBuf::from(format!("/sys/fs/bpf/scenario-{}", std::process::id()));
    program.pin(&path)?;
    let pinned = Attached::Pinned(path.clone());
    command(&["tc", "qdisc", "add", "dev", "lo", "clsact"])?;
    let filter = [
        "tc",
        "filter",
        "add",
        "dev",
        "lo",
        "ingress",
        "bpf",
        "direct-action",
    ];
    command(
        &[
            filter.as_slice(),
            &["object-pinned", &path.to_string_lossy()],
        ]
        .concat(),
    )?;
    Ok(pinned)
}
