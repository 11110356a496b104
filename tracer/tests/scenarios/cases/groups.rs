//! Reuseport groups: by hash, by a classic filter, by a program.

use std::os::fd::AsFd;

use anyhow::{Result, bail};

use super::check;
use crate::attempt::{Attempt, all_answered, all_refused};
use crate::bpf::programs::{
    choose_by_port, choose_nobody, classic_by_port, drop_odd, member_by_port,
};
use crate::bpf::{REUSEPORT_SOCKARRAY, SocketMap, attach_classic};
use crate::client::{Client, connect};
use crate::compare::compare;
use crate::context::Context;
use crate::kernel::need_version;
use crate::ledger::WantVerdict;
use crate::listen::Listen;
use crate::netns::Netns;
use crate::serve::set_comm;
use crate::server::{Server, descriptors};
use crate::truth::Truth;
use crate::want::{Expect, Wants};

/// Members in the groups that something else than the hash steers.
const MEMBERS: usize = 4;

/// Four members in one process.
pub(crate) fn group_of_4(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("four", "127.0.0.1:80")?.group(4).backlog(9))?;
    let trace = cx.trace(&[])?;
    let attempts = connect("127.0.0.1:80", 40)?;
    all_answered(&attempts, &["four"])?;
    check(cx, trace, &[&server], &attempts, &Expect::default())
}

/// Sixteen members in four processes, on the wildcard address, with a smaller group beside.
pub(crate) fn group_of_16(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let listen = |name: &str| Listen::new(name, "0.0.0.0:80");
    let names = ["first", "second", "third", "fourth"];
    let servers = names.map(|name| Server::start(listen(name)?.group(4)));
    let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
    let beside = Server::start(Listen::new("beside", "127.0.0.9:80")?.group(2))?;
    let trace = cx.trace(&[])?;
    let mut attempts = connect("127.0.0.1:80", 60)?;
    all_answered(&attempts, &names)?;
    let to_beside = connect("127.0.0.9:80", 6)?;
    all_answered(&to_beside, &["beside"])?;
    attempts.extend(to_beside);
    let mut all: Vec<&Server> = servers.iter().collect();
    all.push(&beside);
    check(cx, trace, &all, &attempts, &Expect::default())
}

/// A group in this process, whose sockets a program can be attached to.
fn group_inside() -> Result<Server> {
    set_comm("steered")?;
    Server::inside(Listen::new("steered", "127.0.0.1:80")?.group(MEMBERS))
}

/// 24 client ports of our own choice.
fn from_known_ports() -> Result<Vec<Attempt>> {
    let attempts = Client::to("127.0.0.1:80")?.port(3000).times(24)?;
    all_answered(&attempts, &["steered"])?;
    Ok(attempts)
}

/// Fails unless the program chose as it should have.
fn chosen(attempts: &[Attempt], index: impl Fn(u16) -> usize) -> Result<()> {
    for attempt in attempts {
        let wanted = index(attempt.client.port());
        match attempt.identity() {
            Some(identity) if identity.index == wanted => {}
            other => bail!(
                "the scenario itself went wrong: {} was not served by member {wanted} but by {other:?}",
                attempt.client
            ),
        }
    }
    Ok(())
}

/// A classic filter chooses.
pub(crate) fn group_cbpf(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let server = group_inside()?;
    attach_classic(server.sockets()?[0].as_fd(), &mut classic_by_port(MEMBERS)?)?;
    let trace = cx.trace(&[])?;
    let attempts = from_known_ports()?;
    chosen(&attempts, |port| member_by_port(port, MEMBERS))?;
    let expect = Expect {
        via: Some("reuseport_cbpf"),
        ..Expect::default()
    };
    check(cx, trace, &[&server], &attempts, &expect)
}

/// An `SK_REUSEPORT` program chooses, another member than the hash or the order would.
pub(crate) fn group_sk_reuseport(cx: &Context) -> Result<()> {
    need_version("SK_REUSEPORT", 4, 19)?;
    let _netns = Netns::fresh()?;
    let server = group_inside()?;
    let map = SocketMap::new(REUSEPORT_SOCKARRAY, &descriptors(server.sockets()?))?;
    let program = choose_by_port(&map, MEMBERS)?;
    program.attach_group(&server.sockets()?[0])?;
    let trace = cx.trace(&[])?;
    let attempts = from_known_ports()?;
    chosen(&attempts, |port| {
        MEMBERS - 1 - member_by_port(port, MEMBERS)
    })?;
    let expect = Expect {
        via: Some("reuseport_bpf"),
        program_id: Some(program.id()?),
        ..Expect::default()
    };
    check(cx, trace, &[&server], &attempts, &expect)
}

/// An `SK_REUSEPORT` program names nobody: the hash chooses, and is said to.
pub(crate) fn group_sk_reuseport_falls_back(cx: &Context) -> Result<()> {
    need_version("SK_REUSEPORT", 4, 19)?;
    let _netns = Netns::fresh()?;
    let server = group_inside()?;
    let program = choose_nobody()?;
    program.attach_group(&server.sockets()?[0])?;
    let trace = cx.trace(&[])?;
    let attempts = from_known_ports()?;
    let expect = Expect {
        via: Some("reuseport_hash"),
        program_id: Some(program.id()?),
        ..Expect::default()
    };
    check(cx, trace, &[&server], &attempts, &expect)
}

/// An `SK_REUSEPORT` program turns clients away, though listeners are there.
pub(crate) fn group_sk_reuseport_drops(cx: &Context) -> Result<()> {
    need_version("SK_REUSEPORT", 4, 19)?;
    let _netns = Netns::fresh()?;
    let server = group_inside()?;
    let program = drop_odd()?;
    program.attach_group(&server.sockets()?[0])?;
    let trace = cx.trace(&[])?;
    let attempts = Client::to("127.0.0.1:80")?.port(3000).times(24)?;
    let (dropped, answered): (Vec<Attempt>, Vec<Attempt>) = attempts
        .into_iter()
        .partition(|attempt| attempt.client.port() % 2 == 1);
    all_answered(&answered, &["steered"])?;
    all_refused(&dropped)?;
    let truth = Truth::of(&[&server]);
    let mut wants = Wants::default();
    let expect = Expect {
        via: Some("reuseport_hash"),
        program_id: Some(program.id()?),
        ..Expect::default()
    };
    wants.add(&truth, &answered, &expect)?;
    let expect = Expect {
        via: Some("reuseport_bpf"),
        steered_by: cx.knows_programs().then(|| program.id()).transpose()?,
        verdict: Some(WantVerdict {
            expected: server.hello.listeners.iter().map(|one| one.inode).collect(),
            ..WantVerdict::is("refused", Some("reuseport_bpf"))
        }),
        ..Expect::default()
    };
    wants.add(&truth, &dropped, &expect)?;
    compare(cx, &trace.finish()?, &wants)
}
