//! `sockpick explain` where the answer is known beforehand.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};

use super::basic::second_host;
use super::surroundings::run;
use crate::attempt::{all_answered, all_refused};
use crate::bpf::programs::{choose_by_port, steer};
use crate::bpf::{REUSEPORT_SOCKARRAY, SOCKMAP, SocketMap};
use crate::client::Client;
use crate::context::{Context, Skip};
use crate::explain::{Answer, Explain, command};
use crate::kernel::{can_be_asked, command as tool, need_module, version};
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::{Server, descriptors};

/// Ports that programs steer and drop.
const STEERED: u16 = 7777;
const DROPPED: u16 = 7778;

/// All of them, with one `sockpick explain -` for each namespace.
pub(crate) fn explain_cases(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    if !can_be_asked()? {
        return Err(Skip("this kernel's lookup cannot be asked".into()).into());
    }
    namespaces(cx)?;
    let netns = Netns::fresh()?;
    let mut explain = Explain::start(cx)?;
    plain(&mut explain)?;
    group(&mut explain)?;
    connection_in_the_way(&mut explain)?;
    group_with_program(&mut explain)?;
    if version()? >= (5, 9) {
        with_sk_lookup(&netns, &mut explain)?;
    }
    by_the_rules(cx)
}

/// Fails unless the answer is that the server gets it (nobody: refused), by that rule.
fn gets(answer: &Answer, server: Option<&Server>, words: [&str; 3]) -> Result<()> {
    let inode = server.map(|server| server.hello.listeners[0].inode);
    let [rule, matched, via] = words;
    ensure!(
        answer.asked == "kernel"
            && answer.certain
            && answer.inode() == inode
            && answer.listener.is_some() == inode.is_some()
            && (
                answer.rule.as_str(),
                answer.matched.as_str(),
                answer.via.as_str()
            ) == (rule, matched, via),
        "should be {inode:?} {words:?}: {answer:?}"
    );
    Ok(())
}

/// What the answer says of a listener.
fn outcome<'a>(answer: &'a Answer, server: &Server) -> &'a str {
    let inode = server.hello.listeners[0].inode;
    let found = answer.candidates.iter().find(|one| one["inode"] == inode);
    found
        .and_then(|one| one["outcome"].as_str())
        .unwrap_or("not listed")
}

/// Exact and wildcard, device, dual-stack, `IPV6_V6ONLY`, nobody.
fn plain(explain: &mut Explain) -> Result<()> {
    let wild = Server::inside(Listen::new("wild", "0.0.0.0:80")?.group(1))?;
    let exact = Server::inside(Listen::new("exact", "127.0.0.1:80")?.group(1))?;
    let answer = explain.ask("127.0.0.1:80")?;
    // Without inet_diag (6.19 here) devices and IPV6_V6ONLY are not known.
    let known = !answer.notes.iter().any(|note| note.contains("inet_diag"));
    gets(
        &answer,
        Some(&exact),
        ["address", "exact", "reuseport_hash"],
    )?;
    ensure!(outcome(&answer, &wild) == "less_specific", "{answer:?}");
    let answer = explain.ask("127.0.0.2:80")?;
    gets(
        &answer,
        Some(&wild),
        ["only_one", "wildcard", "reuseport_hash"],
    )?;

    let both = Server::inside(Listen::new("both", "[::]:81")?)?;
    let answer = explain.ask("127.0.0.1:81")?;
    gets(&answer, Some(&both), ["only_one", "dual_stack", "lookup"])?;
    let answer = explain.ask("[::1]:81")?;
    gets(&answer, Some(&both), ["only_one", "wildcard", "lookup"])?;

    let v6only = Server::inside(Listen::new("v6only", "[::]:82")?.v6only())?;
    let answer = explain.ask("127.0.0.1:82")?;
    gets(&answer, None, [answer.rule.as_str(), "none", "lookup"])?;
    if known {
        ensure!(outcome(&answer, &v6only) == "ipv6_only", "{answer:?}");
    }
    let on_lo = Server::inside(Listen::new("on-lo", "0.0.0.0:83")?.device("lo"))?;
    let answer = explain.ask("127.0.0.1:83")?;
    gets(&answer, Some(&on_lo), ["only_one", "wildcard", "lookup"])?;
    // Not every kernel comes with its modules.
    if tool(&["ip", "link", "add", "idle", "type", "dummy"]).is_ok() {
        let answer = explain.ask("127.0.0.1:83 --dev idle")?;
        gets(&answer, None, [answer.rule.as_str(), "none", "lookup"])?;
        ensure!(!known || outcome(&answer, &on_lo) == "device", "{answer:?}");
    }
    gets(
        &explain.ask("127.0.0.1:84")?,
        None,
        ["no_listener", "none", "lookup"],
    )
}

/// The member is named for a client with a port, and only then; it is the one that answers.
fn group(explain: &mut Explain) -> Result<()> {
    let four = Server::inside(Listen::new("four", "127.0.0.1:90")?.group(4))?;
    for port in 3000..3010 {
        let answer = explain.ask(&format!("127.0.0.1:90 --from 127.0.0.1:{port}"))?;
        let attempts = Client::to("127.0.0.1:90")?.port(port).times(1)?;
        let accepted = attempts[0].identity().map(|identity| identity.inode);
        let size = answer
            .reuseport
            .as_ref()
            .map(|group| group["size"].as_u64());
        ensure!(
            answer.certain && answer.inode() == accepted && size == Some(Some(4)),
            "{accepted:?} accepted: {answer:?}"
        );
    }
    let answer = explain.ask("127.0.0.1:90 --from 127.0.0.1")?;
    ensure!(
        !answer.certain
            && answer.listener.is_some()
            && answer.inode().is_none()
            && outcome(&answer, &four) == "picked_group",
        "{answer:?}"
    );
    Ok(())
}

/// A connection with the very tuple is no listener.
fn connection_in_the_way(explain: &mut Explain) -> Result<()> {
    let server = Server::inside(Listen::new("busy", "127.0.0.1:95")?)?;
    let (attempt, _open) = Client::to("127.0.0.1:95")?.port(3100).open()?;
    let answer = explain.ask(&format!("127.0.0.1:95 --from {}", attempt.client))?;
    gets(&answer, Some(&server), ["only_one", "exact", "lookup"])?;
    let said = answer.notes.iter().any(|note| note.contains("connection"));
    ensure!(said, "{answer:?}");
    Ok(())
}

/// What a group's program will choose cannot be foreseen, and is not guessed.
fn group_with_program(explain: &mut Explain) -> Result<()> {
    let server = Server::inside(Listen::new("steered", "127.0.0.1:91")?.group(4))?;
    let map = SocketMap::new(REUSEPORT_SOCKARRAY, &descriptors(server.sockets()?))?;
    let program = choose_by_port(&map, 4)?;
    program.attach_group(&server.sockets()?[0])?;
    let answer = explain.ask("127.0.0.1:91 --from 127.0.0.1:3000")?;
    let id = answer
        .reuseport
        .as_ref()
        .map(|group| group["program_id"].as_u64());
    ensure!(
        answer.via == "reuseport_bpf"
            && !answer.certain
            && answer.inode().is_none()
            && id == Some(Some(program.id()?.into()))
            && answer.notes.iter().any(|note| note.contains("foreseen")),
        "{answer:?}"
    );
    Ok(())
}

/// `sk_lookup` programs run in the lookup that is asked.
fn with_sk_lookup(netns: &Netns, explain: &mut Explain) -> Result<()> {
    let target = Server::inside(Listen::new("target", "127.0.0.1:92")?)?;
    let hidden = Server::inside(Listen::new("hidden", &format!("0.0.0.0:{DROPPED}"))?)?;
    let map = SocketMap::new(SOCKMAP, &descriptors(target.sockets()?))?;
    let _link = steer(&map, STEERED, DROPPED)?.attach_lookup(netns)?;
    let answer = explain.ask(&format!("127.0.0.1:{STEERED}"))?;
    gets(&answer, Some(&target), ["sk_lookup", "none", "sk_lookup"])?;
    let answer = explain.ask(&format!("127.0.0.1:{DROPPED}"))?;
    gets(&answer, None, ["sk_lookup", "none", "sk_lookup"])?;
    ensure!(outcome(&answer, &hidden) == "steered", "{answer:?}");
    gets(
        &explain.ask("127.0.0.1:92")?,
        Some(&target),
        ["only_one", "exact", "lookup"],
    )
}

/// Another namespace, by its name; the exit codes.
fn namespaces(cx: &Context) -> Result<()> {
    let name = format!("explain-{}", std::process::id());
    let _named = Netns::named(&name)?;
    let server = Server::inside(Listen::new("there", "127.0.0.1:80")?)?;
    let ended = run(&mut command(cx, &["127.0.0.1:80", "--netns", &name]))?;
    let answer = Answer::parse(&ended.stdout).with_context(|| format!("{ended:?}"))?;
    gets(&answer, Some(&server), ["only_one", "exact", "lookup"])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    for (words, code) in [
        (vec!["127.0.0.1:81", "--netns", name.as_str()], 1),
        (vec!["127.0.0.1:80", "--netns", "no-such-namespace"], 2),
        (vec!["127.0.0.1:80", "--dev", "no-such-device"], 2),
        (vec!["127.0.0.1:80", "--from", "::1"], 2),
        (vec!["127.0.0.1"], 2),
    ] {
        let ended = run(&mut command(cx, &words))?;
        if ended.code != Some(code) {
            bail!("{words:?} should end with {code}: {ended:?}");
        }
    }
    Ok(())
}

/// An ordinary user is told which way the answer came about, and gets the same one.
fn by_the_rules(cx: &Context) -> Result<()> {
    let wild = Server::inside(Listen::new("wild", "0.0.0.0:96")?.group(2))?;
    let exact = Server::inside(Listen::new("exact", "127.0.0.1:96")?.group(1))?;
    let mut explain = Explain::start_as_nobody(cx)?;
    let answer = explain.ask("127.0.0.1:96")?;
    let inode = exact.hello.listeners[0].inode;
    ensure!(
        answer.asked == "rules" && answer.certain && answer.inode() == Some(inode),
        "{answer:?}"
    );
    let answer = explain.ask("127.0.0.9:96")?;
    ensure!(
        !answer.certain && outcome(&answer, &wild) == "picked_group",
        "{answer:?}"
    );
    // Another's namespace is not his to look into.
    let mut command = command(cx, &["127.0.0.1:96", "--netns", "pid:1"]);
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    let status = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(matches!(status.code(), Some(2 | 3)), "{status}");
    Ok(())
}

/// Through a VRF the rules answer: unbound listeners get nothing, the VRF's do.
pub(crate) fn explain_vrf(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let netns = Netns::fresh()?;
    need_module("veth")?;
    need_module("vrf")?;
    let far = second_host(&netns)?;
    tool(&["ip", "link", "add", "red", "type", "vrf", "table", "10"])?;
    tool(&["ip", "link", "set", "red", "up"])?;
    tool(&["ip", "link", "set", "near", "master", "red"])?;
    let mut explain = Explain::start(cx)?;
    let unbound = Server::inside(Listen::new("unbound", "0.0.0.0:80")?.group(1))?;
    let connect = || {
        let client = Client::to("192.0.2.1:80")?.from([192, 0, 2, 2].into());
        far.inside(|| client.times(1))
    };
    let answer = explain.ask("192.0.2.1:80")?;
    all_refused(&connect()?)?;
    let known = !answer.notes.iter().any(|note| note.contains("inet_diag"));
    let refused = answer.listener.is_none() && outcome(&answer, &unbound) == "vrf_scope";
    ensure!(answer.asked == "rules" && refused, "{answer:?}");
    let red = Server::inside(Listen::new("red", "0.0.0.0:80")?.group(1).device("red"))?;
    let answer = explain.ask("192.0.2.1:80")?;
    all_answered(&connect()?, &["red"])?;
    let inode = red.hello.listeners[0].inode;
    // Without inet_diag the listener's device is not known to the rules.
    ensure!(!known || answer.inode() == Some(inode), "{answer:?}");
    Ok(())
}
