//! `sockpick explain` where the interface, the route or a netfilter rule counts: what it says,
//! and then who accepts a real SYN of that very client.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::basic::second_host;
use super::surroundings::run;
use crate::attempt::all_answered;
use crate::client::{Client, connect};
use crate::context::Context;
use crate::explain::{Answer, Explain};
use crate::kernel::{command, need_module, sysctl};
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;

/// An address by which this host connects to itself, and the other host's.
const HERE: &str = "198.18.0.77";
const FAR: &str = "192.0.2.2";

/// A prefix that a route makes local, which no interface has, with listeners bound to it, to
/// an interface, to `lo`; and an address that nothing makes local.
pub(crate) fn explain_routes(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let netns = Netns::fresh()?;
    need_module("veth")?;
    let far = second_host(&netns)?;
    command(&["ip", "route", "add", "local", "198.18.0.0/24", "dev", "lo"])?;
    far.inside(|| {
        let route = ["ip", "route", "add", "198.18.0.0/24", "via", "192.0.2.1"];
        command(&route).map(drop)
    })?;
    let mut explain = Explain::start(cx)?;
    let any = Server::inside(Listen::new("any", "0.0.0.0:80")?.group(1))?;
    let vip = Server::inside(Listen::new("vip", "198.18.0.10:80")?.group(1))?;
    let near = Server::inside(
        Listen::new("near", "198.18.0.11:80")?
            .group(1)
            .device("near"),
    )?;
    let on_lo = Server::inside(Listen::new("lo", "198.18.0.12:80")?.group(1).device("lo"))?;
    let answer = explain.ask("198.18.0.10:80")?;
    if answer.notes.iter().any(|note| note.contains("inet_diag")) && answer.asked == "rules" {
        // Devices are not known to the rules there.
        return Ok(());
    }
    let mut port = 3000;
    for (destination, from_far, from_here) in [
        ("198.18.0.10", &vip, &vip),
        ("198.18.0.11", &near, &any),
        ("198.18.0.12", &any, &on_lo),
        ("198.18.0.99", &any, &any),
    ] {
        let destination = format!("{destination}:80");
        for (client, server) in [(FAR, from_far), (HERE, from_here)] {
            port += 1;
            let syn = Client::to(&destination)?;
            let syn = syn.from(client.parse()?).port(port);
            let attempts = if client == FAR {
                far.inside(|| syn.times(1))?
            } else {
                syn.times(1)?
            };
            all_answered(&attempts, &[server.hello.name.as_str()])?;
            let answer = explain.ask(&format!("{destination} --from {client}:{port}"))?;
            let inode = server.hello.listeners[0].inode;
            ensure!(
                answer.inode() == Some(inode) && answer.local == Some(true),
                "{client} -> {destination} was accepted by {inode}: {answer:?}"
            );
        }
        // Without a client both answers are given, if they are two.
        let answer = explain.ask(&destination)?;
        let [far_inode, here_inode] =
            [from_far, from_here].map(|server| server.hello.listeners[0].inode);
        ensure!(
            answer.inode() == Some(far_inode) && answer.ifname == "near",
            "{destination}: {answer:?}"
        );
        let through_lo = answer.otherwise.iter().find(|one| one["ifname"] == "lo");
        let said = through_lo.and_then(|one| one["listener"]["inode"].as_u64());
        let expected = (here_inode != far_inode).then_some(here_inode);
        ensure!(said == expected, "{destination} through lo: {answer:?}");
    }
    not_local(&mut explain)
}

/// Whoever listens on an address that is not local, no SYN gets there; with a route it does.
fn not_local(explain: &mut Explain) -> Result<()> {
    let at: SocketAddr = "203.0.113.9:80".parse()?;
    sysctl("net.ipv4.ip_nonlocal_bind", "1")?;
    let free = Server::inside(Listen::new("free", "203.0.113.9:80")?.group(1))?;
    let connected = TcpStream::connect_timeout(&at, Duration::from_secs(2));
    ensure!(connected.is_err(), "{at} should not be reached");
    let answer = explain.ask("203.0.113.9:80")?;
    ensure!(
        answer.listener.is_none() && answer.rule == "not_local" && answer.local == Some(false),
        "{answer:?}"
    );
    command(&["ip", "route", "add", "local", "203.0.113.9/32", "dev", "lo"])?;
    all_answered(&connect("203.0.113.9:80", 1)?, &["free"])?;
    let answer = explain.ask("203.0.113.9:80")?;
    let inode = free.hello.listeners[0].inode;
    ensure!(answer.inode() == Some(inode), "{answer:?}");
    Ok(())
}

/// A rule gives SYNs for port 80 to port 81: the answer for port 80 names the rule, and a
/// trace of port 80 says why it saw nothing.
pub(crate) fn explain_redirect(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    for module in ["nf_tables", "nft_chain_nat", "nft_redir"] {
        need_module(module)?;
    }
    let netns = Netns::fresh()?;
    command(&["nft", "add table ip scenario"])?;
    // Before 4.18 answers are translated back only where the other hooks have a chain, too.
    for (name, hook) in [("in", "input"), ("after", "postrouting"), ("out", "output")] {
        let chain =
            format!("add chain ip scenario {name} {{ type nat hook {hook} priority -100; }}");
        command(&["nft", &chain])?;
    }
    for rule in [
        "tcp dport 80 redirect to :81",
        "tcp dport 90 redirect to :91",
    ] {
        command(&["nft", &format!("add rule ip scenario out {rule}")])?;
    }
    let mut explain = Explain::start(cx)?;
    let plain = Server::inside(Listen::new("plain", "127.0.0.1:80")?)?;
    let target = Server::inside(Listen::new("target", "127.0.0.1:81")?)?;
    all_answered(&connect("127.0.0.1:80", 1)?, &["target"])?;
    let answer = explain.ask("127.0.0.1:80")?;
    let expected = serde_json::json!([{
        "place": "nftables chain ip scenario out",
        "action": "redirect",
        "to": ":81",
        "names_port": true,
    }]);
    ensure!(
        Value::from(answer.translations.clone()) == expected
            && answer.inode() == Some(plain.hello.listeners[0].inode),
        "{answer:?}"
    );
    let answer = explain.ask("127.0.0.1:81")?;
    ensure!(
        answer.translations.is_empty() && answer.inode() == Some(target.hello.listeners[0].inode),
        "{answer:?}"
    );
    let inside = netns.inode.to_string();
    let options = ["--netns", &inside, "--port", "80", "--duration", "300ms"];
    let ended = run(&mut cx.trace_command(&options))?;
    let said = ["no SYN reached a listener lookup", "redirect to :81"];
    ensure!(
        ended.code == Some(0) && said.iter().all(|words| ended.stderr.contains(words)),
        "{ended:?}"
    );
    Ok(())
}

/// An IPv6 link-local listener is asked for as it is shown.
pub(crate) fn explain_link_local(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let netns = Netns::fresh()?;
    need_module("veth")?;
    let _far = second_host(&netns)?;
    let add = [
        "ip",
        "-6",
        "address",
        "add",
        "fe80::7/64",
        "dev",
        "near",
        "nodad",
    ];
    command(&add)?;
    let server = Server::inside(Listen::new("near", "[::]:80")?.device("near"))?;
    let mut explain = Explain::start(cx)?;
    for question in [
        "[fe80::7]%near:80",
        "[fe80::7%near]:80",
        "[fe80::7]:80 --dev near",
    ] {
        let answer: Answer = explain.ask(question)?;
        let inode = server.hello.listeners[0].inode;
        ensure!(
            answer.inode() == Some(inode) && answer.ifname == "near",
            "{question}: {answer:?}"
        );
    }
    let answer = explain.ask("[fe80::7]%lo:80")?;
    let unknown = answer.notes.iter().any(|note| note.contains("inet_diag"));
    ensure!(answer.listener.is_none() || unknown, "{answer:?}");
    Ok(())
}
