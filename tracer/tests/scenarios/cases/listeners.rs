//! Listeners come, go, wait and change hands.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::attempt::{Outcome, all_answered};
use crate::client::{Client, connect};
use crate::compare::compare;
use crate::context::Context;
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;
use crate::truth::Truth;
use crate::want::{Expect, Wants};

/// Nobody accepts for a while: the queue grows, event by event.
pub(crate) fn accept_queue(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let listen = Listen::new("slow", "127.0.0.1:80")?.backlog(8);
    let mut server = Server::start(listen.hold())?;
    let trace = cx.trace(&[])?;
    let truth = Truth::of(&[&server]);
    let mut wants = Wants::default();
    let mut waiting = Vec::new();
    for length in 0..6 {
        let (attempt, socket) = Client::to("127.0.0.1:80")?.open()?;
        wants.add_queued(&truth, &attempt, length)?;
        waiting.push(socket);
        // The ACK that puts it into the queue is processed after connect() returns.
        std::thread::sleep(Duration::from_millis(20));
    }
    server.accept()?;
    drop(waiting);
    compare(cx, &trace.finish()?, &wants)
}

/// Listeners that were there before sockpick, and some that come later, one on an
/// address that an earlier one had.
pub(crate) fn before_and_after(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let before = Server::start(Listen::new("before", "127.0.0.1:80")?.backlog(11))?;
    let before_group = Server::start(Listen::new("group", "0.0.0.0:81")?.group(2))?;
    let leaves = Server::start(Listen::new("leaves", "127.0.0.1:83")?.backlog(13))?;
    let trace = cx.trace(&[])?;
    let mut wants = Wants::default();
    let attempts = connect("127.0.0.1:83", 3)?;
    all_answered(&attempts, &["leaves"])?;
    wants.add(&Truth::of(&[&leaves]), &attempts, &Expect::default())?;
    drop(leaves);
    let refused = connect("127.0.0.1:83", 2)?;
    wants.add(&Truth::default(), &refused, &Expect::default())?;

    let after = Server::start(Listen::new("after", "127.0.0.1:82")?.backlog(12))?;
    let joins = Server::start(Listen::new("joins", "0.0.0.0:81")?.group(2))?;
    let follows = Server::start(Listen::new("follows", "127.0.0.1:83")?.backlog(14))?;
    let mut attempts = Vec::new();
    for (destination, times) in [
        ("127.0.0.1:80", 3),
        ("127.0.0.1:82", 3),
        ("127.0.0.1:81", 16),
        ("127.0.0.1:83", 3),
    ] {
        attempts.extend(connect(destination, times)?);
    }
    all_answered(&attempts, &["before", "after", "group", "joins", "follows"])?;
    let servers = [&before, &before_group, &after, &joins, &follows];
    wants.add(&Truth::of(&servers), &attempts, &Expect::default())?;
    compare(cx, &trace.finish()?, &wants)
}

/// A member closes: the last one moves to its place, and the group is smaller.
pub(crate) fn member_closes(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let mut server = Server::start(Listen::new("shrinks", "127.0.0.1:80")?.group(5))?;
    let trace = cx.trace(&[])?;
    let mut truth = Truth::of(&[&server]);
    let mut wants = Wants::default();
    for place in [1, 0, 2] {
        let attempts = connect("127.0.0.1:80", 15)?;
        all_answered(&attempts, &["shrinks"])?;
        wants.add(&truth, &attempts, &Expect::default())?;
        let inode = truth.sockets[place].inode;
        server.close(inode)?;
        truth.close(inode);
    }
    let attempts = connect("127.0.0.1:80", 10)?;
    all_answered(&attempts, &["shrinks"])?;
    wants.add(&truth, &attempts, &Expect::default())?;
    compare(cx, &trace.finish()?, &wants)
}

/// One process calls `listen()`, its child accepts: both hold the listener, and the child is
/// who accepted.
pub(crate) fn accepted_by_another(cx: &Context) -> Result<()> {
    let _netns = Netns::fresh()?;
    let before = Server::with_heir(Listen::new("before", "127.0.0.1:80")?)?;
    let trace = cx.trace(&[])?;
    let after = Server::with_heir(Listen::new("after", "127.0.0.1:81")?.group(2))?;
    let to_before = connect("127.0.0.1:80", 5)?;
    let to_after = connect("127.0.0.1:81", 12)?;
    for attempt in to_before.iter().chain(&to_after) {
        let Outcome::Answered(who) = &attempt.outcome else {
            bail!("the scenario itself went wrong: {:?}", attempt.outcome);
        };
        let heirs = [before.hello.heir, after.hello.heir];
        if !heirs.contains(&Some(who.pid)) {
            bail!("the scenario itself went wrong: {who:?} is no heir of {heirs:?}");
        }
    }
    let mut wants = Wants::default();
    wants.add(&Truth::of(&[&before]), &to_before, &Expect::default())?;
    // This one's heir came after listen(): sockpick can know of it once it has accepted.
    let inherited_later = Expect {
        new_heirs: true,
        ..Expect::default()
    };
    wants.add(&Truth::of(&[&after]), &to_after, &inherited_later)?;
    compare(cx, &trace.finish()?, &wants)
}

/// Where it is not looked who accepts, nobody is named who did; who holds the listener is told all
/// the same.
pub(crate) fn no_accept(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("watched", "127.0.0.1:80")?.group(2))?;
    let trace = cx.trace(&["--no-accept"])?;
    let attempts = connect("127.0.0.1:80", 8)?;
    all_answered(&attempts, &["watched"])?;
    let recorded = trace.finish()?;
    let mut listeners = recorded.events.iter().filter_map(|e| e.listener.as_ref());
    if let Some(named) = listeners.find_map(|l| l.accepted_by.as_ref()) {
        bail!("{named:?} is said to have accepted, which nobody looked at");
    }
    let mut wants = Wants::default();
    let expect = Expect {
        sequential: false,
        ..Expect::default()
    };
    wants.add(&Truth::of(&[&server]), &attempts, &expect)?;
    compare(cx, &recorded, &wants)
}
