//! Netfilter rules that look up listeners themselves.

use anyhow::Result;

use super::check;
use crate::attempt::all_answered;
use crate::client::{Client, connect};
use crate::compare::compare;
use crate::context::Context;
use crate::kernel::{command, need_module, tried};
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
