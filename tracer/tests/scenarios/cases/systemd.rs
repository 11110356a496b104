//! The packaged service under a real systemd: it starts, sees and tells in its sandbox, is
//! reloaded, watched over, and ended.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::session::gone;
use crate::attempt::all_answered;
use crate::bpf::objects::Objects;
use crate::client::connect;
use crate::context::Context;
use crate::daemon::{Daemon, sum};
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;
use crate::systemd::{
    SERVICE, SOCKET, done, eventually, fails, holds, journal, main_pid, property, tell, until,
    until_said,
};

/// `MESSAGE_ID` of an alert that began, as docs/alerts.md has it.
const FIRING: &str = "MESSAGE_ID=cd68921433a942a19b855ebdf2b9eb85";

const SECRET: &str = "the-token-that-nobody-may-see";
const SECRET_FILE: &str = "/etc/sockpick/alertmanager-token";
const CREDENTIAL: &str = "LoadCredential=alertmanager-token:/etc/sockpick/alertmanager-token";
const WEBHOOK: &str = "
[[sink]]
type = 'webhook'
url = 'http://127.0.0.1:9099/alerts'
bearer_file = '/run/credentials/sockpick.service/alertmanager-token'
";

/// The id of a container, and where docker says what it is called.
const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A service goes down, another takes its SYNs: the journal has the alert with what is known of
/// it, a sink was shown its secret, and at the end nothing is left.
pub(crate) fn story(cx: &Context) -> Result<()> {
    tell(cx, CREDENTIAL, |host| {
        let before = Objects::now()?;
        let receiver = std::thread::spawn(received(TcpListener::bind("127.0.0.1:9099")?));
        fs::write(SECRET_FILE, SECRET)?;
        fs::set_permissions(SECRET_FILE, fs::Permissions::from_mode(0o600))?;
        host.configure(|packaged| format!("{packaged}{WEBHOOK}"))?;
        let a = Server::start(Listen::new("A", "127.0.0.2:8080")?.group(1))?;
        let b = Server::start(Listen::new("B", "0.0.0.0:8080")?.group(1))?;
        contain(b.pid())?;
        done(&["start", SERVICE])?;
        holds(&[("ActiveState", "active"), ("NRestarts", "0")])?;
        ensure!(property("StatusText")?.starts_with("watching by "));
        is_confined()?;
        elsewhere()?;
        all_answered(&connect("127.0.0.2:8080", 3)?, &["A"])?;
        drop(a);
        let attempts = connect("127.0.0.2:8080", 4)?;
        all_answered(&attempts, &["B"])?;
        is_in_the_journal(&attempts[0].client.to_string(), b.pid())?;
        is_told(receiver)?;
        counted("*:8080", 4.0)?;
        ends()?;
        gone(&before)
    })
}

/// Waits for a request and answers it: its head, and what it tells.
fn received(listener: TcpListener) -> impl FnOnce() -> Result<(String, Value)> {
    move || {
        let (stream, _) = listener.accept()?;
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(reader.read_line(&mut head)? > 0, "cut short: {head}");
        }
        let mut words = head.to_lowercase();
        words.retain(|letter| letter != '\r');
        let length = words
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.context("no length")?.parse()?];
        reader.read_exact(&mut body)?;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        reader.into_inner().write_all(answer)?;
        Ok((words, serde_json::from_slice(&body)?))
    }
}

/// Puts a process into the cgroup of a container that docker has a file of.
pub(super) fn contain(pid: u32) -> Result<()> {
    let files = Path::new("/var/lib/docker/containers").join(CONTAINER);
    let cgroup = format!("/sys/fs/cgroup/system.slice/docker-{CONTAINER}.scope");
    fs::create_dir_all(&files)?;
    // As docker has it: for root alone.
    fs::set_permissions("/var/lib/docker", fs::Permissions::from_mode(0o700))?;
    let text = format!(r#"{{"ID":"{CONTAINER}","Name":"/web-1","Config":{{}}}}"#);
    fs::write(files.join("config.v2.json"), text)?;
    fs::create_dir_all(&cgroup)?;
    let procs = Path::new(&cgroup).join("cgroup.procs");
    fs::write(procs, pid.to_string()).context("cannot enter the cgroup of a container")
}

/// The sandbox of the unit is in force, and what it says to be left is what is.
pub(super) fn is_confined() -> Result<()> {
    let pid = main_pid()?;
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    for path in ["/", "/run", "/proc/sys", "/sys", "/sys/fs/cgroup"] {
        ensure!(is_read_only(&mounts, path)?, "{path} can be written to");
    }
    let of = |file: &str, key: &str| -> Result<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        Ok(line.context("no such line")?.trim().to_owned())
    };
    ensure!(of("status", "Seccomp:")? == "2", "no filter is in force");
    ensure!(of("status", "NoNewPrivs:")? == "1");
    ensure!(of("status", "CapPrm:")? == of("status", "CapBnd:")?);
    let told = until_said("privileges that are left: ")?;
    let told = told.split_once("left: ").context("nothing left")?.1;
    let told: BTreeSet<_> = told.split(", ").map(str::to_lowercase).collect();
    let bound = property("CapabilityBoundingSet")?;
    let bound: BTreeSet<_> = bound.split(' ').map(str::to_owned).collect();
    ensure!(told == bound, "it says {told:?}, systemd {bound:?}");
    let mode = |path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode() & 0o7777) };
    ensure!(mode("/var/lib/sockpick")? == 0o700);
    Ok(())
}

/// Whether the last mount at a path is read-only.
fn is_read_only(mounts: &str, path: &str) -> Result<bool> {
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut mounts = mounts.lines().map(fields);
    let last = mounts.rfind(|fields| fields.get(4).is_some_and(|place| place == path));
    let last = last.with_context(|| format!("nothing is mounted at {path}"))?;
    Ok(last.get(5).is_some_and(|options| options.starts_with("ro")))
}

/// A namespace that comes after the service is seen by its name.
pub(super) fn elsewhere() -> Result<()> {
    let netns = Netns::named("elsewhere")?;
    let _server = Server::start(Listen::new("C", "127.0.0.1:9000")?)?;
    all_answered(&connect("127.0.0.1:9000", 2)?, &["C"])?;
    Netns::host()?.enter()?;
    let labels = [("netns", "elsewhere"), ("listener", "127.0.0.1:9000")];
    is_counted(&labels, 2.0)?;
    drop(netns);
    Ok(())
}

fn counted(listener: &str, syns: f64) -> Result<()> {
    is_counted(&[("listener", listener)], syns)
}

/// The metrics come to that many SYNs, and it sees.
fn is_counted(labels: &[(&str, &str)], syns: f64) -> Result<()> {
    is_counted_as("sockpick_syn_total", labels, syns)
}

/// This metric comes to that, and it sees.
pub(super) fn is_counted_as(metric: &str, labels: &[(&str, &str)], wanted: f64) -> Result<()> {
    eventually(|| {
        let (_, body) = Daemon::get("/metrics")?;
        let found = sum(&body, metric, labels);
        ensure!(
            found == Some(wanted),
            "{metric} {labels:?}: {found:?}, not {wanted}"
        );
        let failed = [("result", "failed")];
        ensure!(sum(&body, "sockpick_self_check_total", &failed) == Some(0.0));
        Ok(())
    })?;
    let (status, body) = Daemon::get("/readyz")?;
    ensure!(status == 200, "not ready: {body}");
    Ok(())
}

/// It sees what comes now.
pub(super) fn is_seen() -> Result<()> {
    let _server = Server::start(Listen::new("A", "127.0.0.1:8081")?)?;
    all_answered(&connect("127.0.0.1:8081", 2)?, &["A"])?;
    counted("127.0.0.1:8081", 2.0)
}

/// Found by its number, with fields of the alert, and whose it is by journald's own word.
pub(super) fn is_in_the_journal(client: &str, pid: u32) -> Result<()> {
    let main = main_pid()?.to_string();
    let entry = eventually(|| {
        let entries = journal(&[FIRING, &format!("_PID={main}")])?;
        entries.first().cloned().context("no such entry")
    })?;
    let owners = format!("B({pid}) in container web-1");
    for (field, wanted) in [
        ("_SYSTEMD_UNIT", SERVICE),
        ("_PID", &main),
        ("_EXE", "/usr/bin/sockpick"),
        ("PRIORITY", "2"),
        ("SYSLOG_IDENTIFIER", "sockpick"),
        ("SOCKPICK_ALERT", "began"),
        ("SOCKPICK_VERDICT", "uncovered"),
        ("SOCKPICK_REASON", "restart_gap"),
        ("SOCKPICK_EXPECTED", "127.0.0.2:8080"),
        ("SOCKPICK_DESTINATION", "127.0.0.2:8080"),
        ("SOCKPICK_LISTENER", "*:8080"),
        ("SOCKPICK_CLIENT", client),
        ("SOCKPICK_OWNERS", &owners),
    ] {
        let found = &entry[field];
        ensure!(found == wanted, "{field} is {found}, not {wanted}: {entry}");
    }
    Ok(())
}

/// The webhook was shown the secret and told whose the listeners are; nobody else has the secret.
fn is_told(receiver: JoinHandle<Result<(String, Value)>>) -> Result<()> {
    eventually(|| {
        ensure!(receiver.is_finished(), "the webhook was sent nothing");
        Ok(())
    })?;
    let Ok(request) = receiver.join() else {
        bail!("the receiver failed");
    };
    let (head, told) = request?;
    let wanted = format!("authorization: bearer {SECRET}\n");
    ensure!(head.contains(&wanted), "not authorized: {head}");
    let notice = &told["notices"][0];
    for (owner, field, wanted) in [
        ("owners", "exe", "/usr/bin/sockpick-scenarios"),
        ("owners", "container_name", "web-1"),
        ("expected_owners", "unit", "guest-command.service"),
    ] {
        let found = &notice[owner][0][field];
        ensure!(found == wanted, "{owner}: {field} is {found}: {told}");
    }
    let has_it = |entry: &Value| entry.to_string().contains(SECRET);
    ensure!(!journal(&[])?.iter().any(has_it), "the journal has it");
    let copy = "/run/credentials/sockpick.service/alertmanager-token";
    let mode = fs::metadata(copy)?.permissions().mode() & 0o777;
    ensure!(mode == 0o400, "{copy} has mode {mode:o}");
    Ok(())
}

/// Told to stop, it ends at once and leaves what it remembers to root alone.
pub(super) fn ends() -> Result<()> {
    let start = Instant::now();
    done(&["stop", SERVICE])?;
    let took = start.elapsed();
    ensure!(took < Duration::from_secs(10), "it took {took:?} to end");
    holds(&[("ActiveState", "inactive"), ("Result", "success")])?;
    let about = fs::metadata("/var/lib/sockpick/alerts.json")?;
    ensure!(about.permissions().mode() & 0o777 == 0o600);
    Ok(fs::remove_file("/var/lib/sockpick/alerts.json")?)
}

/// A good configuration is taken. A bad one fails the reload and changes nothing; given to the
/// process itself it is refused, which the status says until the next good one.
pub(crate) fn reload(cx: &Context) -> Result<()> {
    tell(cx, "", |host| {
        done(&["start", SERVICE])?;
        let pid = main_pid()?;
        // The programs are attached anew, in the sandbox and without what was given up.
        host.configure(|packaged| format!("{packaged}[watch]\nports = [8081]\n"))?;
        done(&["reload", SERVICE])?;
        until_said("the configuration was read again: [watch]")?;
        let running = [("ActiveState", "active"), ("SubState", "running")];
        until(&running)?;
        is_seen()?;

        host.configure(|packaged| format!("{packaged}nonsense = 3\n"))?;
        fails(&["reload", SERVICE])?;
        until_said("has no key `nonsense`")?;
        until(&running)?;
        ensure!(!is_refused()?, "the process was given it");

        done(&["kill", "--signal=HUP", "--kill-who=main", SERVICE])?;
        eventually(|| ensured(is_refused()?, "the status does not say so"))?;
        until(&running)?;
        host.configure(str::to_owned)?;
        done(&["reload", SERVICE])?;
        eventually(|| ensured(!is_refused()?, "the status still says so"))?;
        ensure!(main_pid()? == pid, "it is another process");
        holds(&[("NRestarts", "0")])
    })
}

fn is_refused() -> Result<bool> {
    Ok(property("StatusText")?.contains("was refused"))
}

fn ensured(is_so: bool, otherwise: &'static str) -> Result<()> {
    is_so.then_some(()).context(otherwise)
}

/// What cannot become right by itself is not started again: a wrong configuration, and a host that
/// cannot be traced, unless it is to go on there.
pub(crate) fn refused(cx: &Context) -> Result<()> {
    tell(cx, "CapabilityBoundingSet=~CAP_SYS_PTRACE\n", |host| {
        host.configure(|packaged| format!("{packaged}nonsense = 3\n"))?;
        fails_for_good("2")?;
        host.configure(str::to_owned)?;
        fails_for_good("3")?;
        host.configure(|packaged| format!("{packaged}[daemon]\non_untraceable = 'inventory'\n"))?;
        done(&["start", SERVICE])?;
        ensure!(property("StatusText")?.starts_with("does not trace"));
        let (status, _) = Daemon::get("/readyz")?;
        ensure!(status == 503, "ready, and cannot trace");
        holds(&[("ActiveState", "active"), ("NRestarts", "0")])
    })
}

/// With this status, and is not about to be started again.
fn fails_for_good(status: &str) -> Result<()> {
    fails(&["start", SERVICE])?;
    holds(&[
        ("ActiveState", "failed"),
        ("SubState", "failed"),
        ("ExecMainStatus", status),
        ("NRestarts", "0"),
    ])
}

/// It feeds the watchdog while nothing happens. Stopped, it is killed and started again, and sees.
pub(crate) fn watchdog(cx: &Context) -> Result<()> {
    tell(cx, "WatchdogSec=6\nRestartSec=1\n", |_| {
        let before = Objects::now()?;
        done(&["start", SERVICE])?;
        let pid = main_pid()?;
        std::thread::sleep(Duration::from_secs(7));
        holds(&[("ActiveState", "active"), ("NRestarts", "0")])?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP)?;
        until(&[("NRestarts", "1"), ("ActiveState", "active")])?;
        ensure!(main_pid()? != pid, "it is the same process");
        let entries = journal(&["UNIT=sockpick.service", "_PID=1"])?;
        let of_watchdog = |entry: &Value| {
            let message = entry["MESSAGE"].as_str();
            message.is_some_and(|message| message.contains("Watchdog timeout"))
        };
        ensure!(
            entries.iter().any(of_watchdog),
            "systemd says nothing of it"
        );
        is_seen()?;
        done(&["stop", SERVICE])?;
        gone(&before)
    })
}

/// On a slow machine the start may take longer than a scrape waits, which is told so.
fn is_answered_by_what_it_starts() -> Result<()> {
    let (status, body) = eventually(|| {
        let (status, body) = Daemon::get("/readyz")?;
        ensure!(!body.starts_with("sockpick still starts"), "{body}");
        Ok((status, body))
    })?;
    ensure!(status == 200, "{status}: {body}");
    Ok(())
}

/// systemd listens for metrics: a scrape starts the service and is answered by it.
pub(crate) fn socket(cx: &Context) -> Result<()> {
    tell(cx, "", |host| {
        let without = |packaged: &str| packaged.replace("listen = ", "# listen = ");
        host.configure(without)?;
        done(&["start", SERVICE])?;
        // Not handed to what runs already, as docs/operations.md says.
        fails(&["start", SOCKET])?;
        done(&["stop", SERVICE])?;
        done(&["start", SOCKET])?;
        holds(&[("ActiveState", "inactive")])?;
        for _ in 0..2 {
            is_answered_by_what_it_starts()?;
            holds(&[("ActiveState", "active")])?;
            done(&["stop", SERVICE])?;
        }
        done(&["stop", SOCKET])?;
        ensure!(TcpStream::connect("127.0.0.1:9464").is_err(), "it listens");
        holds(&[("ActiveState", "inactive"), ("NRestarts", "0")])
    })
}
