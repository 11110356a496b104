//! `sockpick listeners` and `sockpick audit` against real listeners on this machine, as
//! whoever runs the tests. What they say is compared with who accepts.
//!
//! The listeners are on loopback addresses and a port that the kernel chose; every server
//! is a process of its own, so that owners can be told apart.

#![cfg(target_os = "linux")]

mod daemon;
mod server;

use std::{
    net::{IpAddr, SocketAddr},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use server::{Server, client};

const NOBODY: u32 = 65534;

fn sockpick(arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_sockpick")).args(arguments))
}

fn run(command: &mut Command) -> Output {
    command.output().expect("sockpick starts")
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

/// Findings of the kind on the port, of any severity.
fn findings(port: u16, kind: &str) -> (Vec<Value>, Option<i32>) {
    let port = port.to_string();
    let output = sockpick(&["audit", "-o", "json", "--severity", "info", "--port", &port]);
    let found = lines(&output).into_iter();
    let found = found.filter(|finding| finding["kind"] == kind).collect();
    (found, output.status.code())
}

fn owner(party: &Value) -> u64 {
    party["owners"][0]["pid"].as_u64().unwrap_or(0)
}

#[test]
fn listeners_come_in_the_order_the_kernel_meets_them() {
    let b = Server::start("0.0.0.0", 0, &[]);
    let a = Server::start("127.0.0.2", b.port, &["sockets=2"]);
    let port = b.port.to_string();
    let output = sockpick(&["listeners", "-o", "json", "--port", &port]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let all = lines(&output);
    let brief: Vec<_> = all
        .iter()
        .map(|one| {
            (
                one["address"].as_str().unwrap_or("").to_owned(),
                one["reuseport"]["chain"].as_u64(),
                owner(one),
            )
        })
        .collect();
    assert_eq!(
        brief,
        [
            ("127.0.0.2".into(), Some(0), a.pid()),
            ("127.0.0.2".into(), Some(1), a.pid()),
            ("0.0.0.0".into(), None, b.pid()),
        ]
    );
    assert_eq!(all[0]["reuseport"]["size"], 2);
    let table = sockpick(&["listeners", "--port", &port]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("2 of 2"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 120));
}

#[test]
fn a_connection_that_another_accepted_is_evidence_until_it_ends() {
    let b = Server::start("0.0.0.0", 0, &[]);
    let (stream, accepted) = client("127.0.0.2", b.port);
    assert_eq!(accepted, b.pid());
    let a = Server::start("127.0.0.2", b.port, &[]);
    // A connection of A's own proves nothing.
    let (_own, accepted) = client("127.0.0.2", b.port);
    let taken_from_a = u64::from(accepted == b.pid());
    let (found, code) = findings(b.port, "evidence");
    assert_eq!(code, Some(1));
    assert_eq!(found.len(), 1, "{found:?}");
    let parties = &found[0]["listeners"];
    assert_eq!((owner(&parties[0]), owner(&parties[1])), (a.pid(), b.pid()));
    assert_eq!(found[0]["connections"], 1 + taken_from_a);
    drop(stream);
    let end = Instant::now() + Duration::from_secs(10);
    while taken_from_a == 0 && !findings(b.port, "evidence").0.is_empty() {
        assert!(Instant::now() < end, "the connection is closed");
    }
    let (overlap, _) = findings(b.port, "overlap");
    assert_eq!(overlap.len(), 1, "{overlap:?}");
    if overlap[0]["algorithm"] == "address_first" {
        assert_eq!(overlap[0]["severity"], "info");
        let quiet = sockpick(&["audit", "--port", &b.port.to_string()]);
        let said = String::from_utf8_lossy(&quiet.stdout).into_owned();
        assert_eq!(quiet.status.code(), Some(0), "{said}");
        assert!(
            said.starts_with("no findings, 1 of severity info not shown"),
            "{said}"
        );
    }
}

#[test]
fn device_groups_go_by_start_order_as_audit_says() {
    for (address, client_address) in [("0.0.0.0", "127.0.0.1"), ("::", "::1")] {
        if address == "::" && !has_ipv6() {
            continue;
        }
        for device_first in [true, false] {
            let options = |bound: bool| if bound { &["device=lo"][..] } else { &[] };
            let first = Server::start(address, 0, options(device_first));
            let second = Server::start(address, first.port, options(!device_first));
            let (bound, unbound) = if device_first {
                (&first, &second)
            } else {
                (&second, &first)
            };
            let (_stream, accepted) = client(client_address, first.port);
            let (found, code) = findings(first.port, "dev_order");
            assert_eq!((found.len(), code), (1, Some(1)), "{found:?}");
            let parties = &found[0]["listeners"];
            assert_eq!(
                (owner(&parties[0]), owner(&parties[1])),
                (bound.pid(), unbound.pid())
            );
            let cause = found[0]["cause"].as_str().unwrap_or("");
            let says_robbed = cause.contains("gets nothing");
            assert_eq!(
                says_robbed,
                accepted == unbound.pid(),
                "{accepted}: {cause}"
            );
        }
    }
}

#[test]
fn a_queue_that_nobody_empties_is_found() {
    let server = Server::start("127.0.0.3", 0, &["backlog=1", "accept=no"]);
    let clients = [(), ()].map(|()| server.connect());
    let (found, code) = findings(server.port, "no_acceptor");
    assert_eq!((found.len(), code), (1, Some(1)), "{found:?}");
    assert_eq!(found[0]["severity"], "critical", "{found:?}");
    assert_eq!(found[0]["connections"], clients.len());
    let critical = sockpick(&[
        "audit",
        "--severity",
        "critical",
        "--port",
        &server.port.to_string(),
    ]);
    assert_eq!(critical.status.code(), Some(1));
}

#[test]
fn an_ordinary_user_sees_less_and_is_told() {
    let b = Server::start("0.0.0.0", 0, &[]);
    let port = b.port.to_string();
    let _a = Server::start("127.0.0.2", b.port, &[]);
    // Root's copy may lie where others cannot reach it.
    let copy = Copy::new();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(&copy.0);
        command
            .args(arguments)
            .args(["-o", "json", "--port", &port]);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        run(&mut command)
    };
    let listeners = ask(&["listeners"]);
    assert_eq!(listeners.status.code(), Some(0), "{listeners:?}");
    assert_eq!(lines(&listeners).len(), 2, "{listeners:?}");
    let audit = ask(&["audit", "--severity", "info"]);
    assert_eq!(lines(&audit).len(), 1, "{audit:?}");
    assert_ne!(lines(&audit)[0]["algorithm_from"], "tried");
    for output in [listeners, audit] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("run it as root"), "{said}");
        // The servers are of whoever runs the test.
        let hidden = said.contains("the owners of 2 listeners are not known");
        assert_eq!(hidden, is_root(), "{said}");
    }
}

#[test]
fn other_namespaces_are_looked_into_or_named_as_missing() {
    if !is_root() {
        let output = sockpick(&["listeners"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("network namespace"), "{said}");
        return;
    }
    let server = Server::start_apart("0.0.0.0", 0, &[]);
    let netns = format!("pid:{}", server.pid());
    let output = sockpick(&["listeners", "-o", "json", "--netns", &netns]);
    let all = lines(&output);
    assert_eq!(all.len(), 1, "{output:?}");
    assert_eq!(all[0]["port"], server.port);
    let quiet = sockpick(&["audit", "--netns", &netns]);
    let said = String::from_utf8_lossy(&quiet.stdout).into_owned();
    assert_eq!(quiet.status.code(), Some(0), "{said}");
    assert!(
        said.starts_with("no findings; 1 listener in 1 namespace"),
        "{said}"
    );
    assert!(said.contains("tried in a private namespace"), "{said}");
}

/// Neither `/proc` nor `/run/netns` knows of it (`pidfd_getfd`, Linux 5.6).
#[test]
fn a_namespace_that_only_a_socket_keeps_is_found() {
    if !is_root() {
        return;
    }
    let listener = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        std::net::TcpListener::bind(("0.0.0.0", 0)).expect("a listener")
    });
    let listener = listener.join().expect("the thread ends");
    let port = listener.local_addr().map_or(0, |at| at.port()).to_string();
    let output = sockpick(&["listeners", "-o", "json", "--port", &port]);
    let mine = u64::from(std::process::id());
    let found = lines(&output).into_iter().find(|one| owner(one) == mine);
    let found = found.unwrap_or_else(|| panic!("it is not listed: {output:?}"));
    let netns = found["netns"]["inode"].to_string();
    let quiet = sockpick(&["audit", "--netns", &netns]);
    let said = String::from_utf8_lossy(&quiet.stdout).into_owned();
    assert!(said.contains("1 listener in 1 namespace"), "{quiet:?}");
    drop(listener);
    // Another namespace may have the number by now.
    let gone = sockpick(&[
        "listeners",
        "-o",
        "json",
        "--netns",
        &netns,
        "--port",
        &port,
    ]);
    assert!(lines(&gone).is_empty(), "{gone:?}");
}

#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_not() {
    for command in ["listeners", "audit"] {
        let full = std::fs::File::create("/dev/full").expect("/dev/full is there");
        let output = run(&mut sockpick_to(command, full.into()));
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("cannot write the output"), "{said}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = run(&mut sockpick_to(command, writer.into()));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

fn sockpick_to(command: &str, out: Stdio) -> Command {
    let mut sockpick = Command::new(env!("CARGO_BIN_EXE_sockpick"));
    sockpick
        .args([command, "--port", "1"])
        .stdout(out)
        .stderr(Stdio::piped());
    sockpick
}

fn has_ipv6() -> bool {
    let any: SocketAddr = ("::1".parse::<IpAddr>().expect("an address"), 0).into();
    std::net::TcpListener::bind(any).is_ok()
}

/// The program where every user can start it; goes with this value.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sockpick-audit-{}", std::process::id()));
        // By another process: a child that a test beside this one starts meanwhile would hold
        // the file open for writing ("Text file busy").
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_sockpick"))
            .arg(&path)
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "no copy");
        Self(path)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
