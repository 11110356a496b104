//! Netfilter rules that look up listeners themselves.

use anyhow::Result;

use super::check;
use crate::attempt::all_answered;
use crate::client::{Client, connect};
use crate::compare::compare;
use crate::context::Context;
use crate::kernel::{command, need_module, tried};
use crate::ledger::WantVerdict;
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;
use crate::truth::Truth;
use crate::want::{Expect, Wants};

/// A chain that sees incoming packets before routing, with these rules.
fn rules(rules: &[&str]) -> Result<()> {
    let chain = "{ type filter hook prerouting priority mangle; }";
    command(&["nft", "add table ip scenario"])?;
    command(&["nft", &format!("add chain ip scenario before {chain}")])?;
    for rule in rules {
        command(&["nft", &format!("add rule ip scenario before {rule}")])?;
    }
    Ok(())
}

fn need(cx: &Context, modules: &[&str]) -> Result<()> {
    if cx.ground_truth {
        return Ok(());
    }
    modules.iter().try_for_each(|module| need_module(module))
}

/// TPROXY gives connections for port 7777 to the listener on port 80. The rule looks the
/// listener up before the kernel does: still one event.
pub(crate) fn tproxy(cx: &Context) -> Result<()> {
    need(cx, &["nf_tables", "nft_tproxy"])?;
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("proxy", "127.0.0.1:80")?.transparent())?;
    rules(&["tcp dport 7777 tproxy to 127.0.0.1:80 meta mark set 1 accept"])?;
    let trace = cx.trace(&[])?;
    let truth = Truth::of(&[&server]);
    let mut wants = Wants::default();
    let attempts = Client::to("127.0.0.1:7777")?.port(4000).times(10)?;
    all_answered(&attempts, &["proxy"])?;
    let by_rule = Expect {
        via: Some("tproxy"),
        ..Expect::default()
    };
    wants.add(&truth, &attempts, &by_rule)?;
    let attempts = connect("127.0.0.1:80", 5)?;
    all_answered(&attempts, &["proxy"])?;
    wants.add(&truth, &attempts, &Expect::default())?;
    compare(cx, &trace.finish()?, &wants)
}

/// The proxy restarts, and connections meant for it fall through to whoever listens there: an
/// alert, unless only some of them were ever steered.
pub(crate) fn tproxy_target_gone(cx: &Context) -> Result<()> {
    need(cx, &["nf_tables", "nft_tproxy"])?;
    let _netns = Netns::fresh()?;
    let proxy = || Server::start(Listen::new("proxy", "127.0.0.1:80")?.transparent());
    let apache = Server::start(Listen::new("apache", "0.0.0.0:7777")?)?;
    let steer = "tproxy to 127.0.0.1:80 meta mark set 1 accept";
    rules(&[
        &format!("ip daddr 127.0.0.1 tcp dport 7777 {steer}"),
        &format!("ip saddr 127.0.0.5 ip daddr 127.0.0.2 tcp dport 7777 {steer}"),
    ])?;
    let trace = cx.trace(&[])?;
    let mut wants = Wants::default();
    let by_rule = Expect {
        via: Some("tproxy"),
        ..Expect::default()
    };
    let some = |from: [u8; 4], port| {
        Client::to("127.0.0.2:7777")?
            .from(from.into())
            .port(port)
            .times(3)
    };
    let mut step = |proxy: &Server, nth: u16| -> Result<()> {
        let truth = Truth::of(&[proxy, &apache]);
        let port = 4000 + 100 * nth;
        let attempts = Client::to("127.0.0.1:7777")?.port(port).times(3)?;
        all_answered(&attempts, &["proxy"])?;
        wants.add(&truth, &attempts, &by_rule)?;
        let attempts = some([127, 0, 0, 5], port + 10)?;
        all_answered(&attempts, &["proxy"])?;
        wants.add(&truth, &attempts, &by_rule)?;
        let attempts = some([127, 0, 0, 6], port + 20)?;
        all_answered(&attempts, &["apache"])?;
        wants.add(&truth, &attempts, &Expect::default())
    };
    let first = proxy()?;
    let inode = first.hello.listeners[0].inode;
    // A target that only just opened teaches nothing of what passes it by.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    step(&first, 0)?;
    drop(first);
    let attempts = Client::to("127.0.0.1:7777")?.port(4300).times(4)?;
    let partly = some([127, 0, 0, 5], 4310)?;
    all_answered(&attempts, &["apache"])?;
    all_answered(&partly, &["apache"])?;
    let second = proxy()?;
    step(&second, 1)?;
    let fell = Expect {
        verdict: Some(WantVerdict {
            expected: vec![inode],
            ..WantVerdict::is("uncovered", Some("restart_gap"))
        }),
        ..Expect::default()
    };
    let truth = Truth::of(&[&apache]);
    wants.add(&truth, &attempts, &fell)?;
    wants.add(&truth, &partly, &Expect::default())?;
    compare(cx, &trace.finish()?, &wants)
}

/// A rule that matches on the socket looks it up and changes nothing: one event.
pub(crate) fn nft_socket(cx: &Context) -> Result<()> {
    need(cx, &["nf_tables", "nft_socket"])?;
    let _netns = Netns::fresh()?;
    let server = Server::start(Listen::new("plain", "127.0.0.1:80")?)?;
    let group = Server::start(Listen::new("group", "127.0.0.1:81")?.group(4))?;
    let rules = rules(&[
        "socket transparent 1 meta mark set 2",
        "socket wildcard 0 accept",
        // So nobody connects unless the rule before found the listener.
        "tcp flags & (syn | ack) == syn drop",
    ]);
    tried("nft's `socket wildcard`", 5, 11, rules)?;
    let trace = cx.trace(&[])?;
    let mut attempts = connect("127.0.0.1:80", 10)?;
    attempts.extend(connect("127.0.0.1:81", 10)?);
    all_answered(&attempts, &["plain", "group"])?;
    check(cx, trace, &[&server, &group], &attempts, &Expect::default())
}
