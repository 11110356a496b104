//! Who holds a listener, while processes fork, hand over, are killed, take other names, and
//! others get their numbers: by the servers' own word.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::alerts;
use crate::attempt::Attempt;
use crate::cases::verdicts::Configuration;
use crate::client::connect;
use crate::context::Context;
use crate::event::{Event, Owner};
use crate::listen::Listen;
use crate::netns::Netns;
use crate::server::Server;
use crate::trace::Recorded;

/// Longer than an event is under way, than sockpick believes that a process it saw is alive, and
/// than it rests after a look at all processes.
const SETTLE: Duration = Duration::from_secs(1);
/// Servers that change hands.
const SERVERS: usize = 6;
/// The number of a process that ended is asked for so often: others start meanwhile.
const TRIES: usize = 30;

/// Attempts, and who held the listener then: process and name.
type Phase = (Vec<Attempt>, Vec<(u32, String)>);

/// Listeners change hands; nobody is named who does not hold them.
pub(crate) fn owners_churn(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let _netns = Netns::fresh()?;
    let file = Configuration::write(
        "[[service]]\nname = \"first\"\nlisten = [\"127.0.0.1:80\"]\ncomm = \"old0\"\n",
    )?;
    let before = pair(0)?;
    let trace = cx.trace(&["--config", file.path()])?;
    let load = Load::start();
    let mut servers = vec![before];
    for nth in 1..SERVERS {
        servers.push(pair(nth)?);
    }
    let mut phases: Vec<Phase> = Vec::new();
    for (nth, server) in servers.iter().enumerate() {
        let held = vec![
            (server.pid(), format!("old{nth}")),
            heir(server).map(|pid| (pid, format!("old{nth}-heir")))?,
        ];
        phases.push((connect(&address(nth), 2)?, held));
    }
    // What a process was called is seen only while it is.
    sleep(SETTLE);
    let heirs: Vec<u32> = servers.iter().map(heir).collect::<Result<_>>()?;
    let mut impostors = Vec::new();
    for server in servers {
        let pid = server.pid();
        server.kill()?;
        impostors.extend(impostor(pid)?);
    }
    sleep(SETTLE);
    for (nth, pid) in heirs.iter().enumerate() {
        let held = vec![(*pid, format!("old{nth}-heir"))];
        phases.push((connect(&address(nth), 2)?, held));
    }
    let mut renamed = Server::start(Listen::new("before", "127.0.0.1:99")?)?;
    let held = |name: &str| vec![(renamed.pid(), name.to_owned())];
    let (old, new) = (held("before"), held("after"));
    phases.push((connect("127.0.0.1:99", 2)?, old));
    sleep(SETTLE);
    renamed.name("after")?;
    sleep(SETTLE);
    phases.push((connect("127.0.0.1:99", 2)?, new));
    let recorded = trace.finish()?;
    load.end();
    for mut impostor in impostors {
        impostor.kill()?;
        impostor.wait()?;
    }
    for pid in heirs {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
    }
    if cx.ground_truth {
        return Ok(());
    }
    held_to(&recorded, &phases)
}

fn address(nth: usize) -> String {
    format!("127.0.0.1:{}", 80 + nth)
}

/// A process that listens, and a child of it that accepts.
fn pair(nth: usize) -> Result<Server> {
    Server::with_heir(Listen::new(&format!("old{nth}"), &address(nth))?)
}

fn heir(server: &Server) -> Result<u32> {
    server.hello.heir.context("a server without an heir")
}

/// Another process with the number of one that ended, where the kernel lets it be asked for.
fn impostor(pid: u32) -> Result<Option<Child>> {
    for _ in 0..TRIES {
        let last = std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string());
        if last.is_err() {
            return Ok(None);
        }
        let mut child = Command::new("sleep").arg("60").spawn()?;
        if child.id() == pid {
            return Ok(Some(child));
        }
        child.kill()?;
        child.wait()?;
    }
    Ok(None)
}

/// Holds every event to who held the listener.
fn held_to(recorded: &Recorded, phases: &[Phase]) -> Result<()> {
    let mut wrong = Vec::new();
    for (attempts, held) in phases {
        for attempt in attempts {
            let event = recorded.events.iter().find(|e| e.key() == attempt.key());
            let event = event.with_context(|| format!("no event of {attempt:?}"))?;
            wrong.extend(differences(event, attempt, held));
        }
    }
    alerts::wrong_owners(wrong.len() as u64);
    let first = recorded.events.iter().filter(|e| e.destination.port == 80);
    let verdicts: Vec<_> = first
        .map(|e| (e.verdict.as_str(), e.reason.as_deref()))
        .collect();
    let wanted = [
        ("ok", None),
        ("ok", None),
        ("misdirected", Some("wrong_owner")),
        ("misdirected", Some("wrong_owner")),
    ];
    if verdicts != wanted {
        wrong.push(format!("of the service: {verdicts:?}"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

fn differences(event: &Event, attempt: &Attempt, held: &[(u32, String)]) -> Vec<String> {
    let Some(listener) = &event.listener else {
        return vec![format!("no listener: {event:?}")];
    };
    let mut wrong = Vec::new();
    let holds = |owner: &&Owner| !owner.ended && !owner.released;
    for owner in listener.owners.iter().filter(holds) {
        let is_it = |(pid, name): &(u32, String)| (*pid, name) == (owner.pid, &owner.comm);
        if !held.iter().any(is_it) {
            wrong.push(format!("{owner:?} does not hold it, but {held:?}"));
        }
    }
    let answered = attempt.identity().map(|identity| identity.pid);
    let named = |pid: &u32| listener.owners.iter().any(|owner| owner.pid == *pid);
    if !answered.as_ref().is_some_and(named) {
        let owners = &listener.owners;
        wrong.push(format!("{answered:?} answered and is not among {owners:?}"));
    }
    if let Some(process) = listener
        .accepted_by
        .as_ref()
        .filter(|process| !process.ended)
        && process.comm == "sleep"
    {
        wrong.push(format!("{process:?} accepted nothing"));
    }
    wrong
}

/// Processes that come and go all the time.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let mut command = Command::new("true");
                // What comes of it does not matter.
                let _ = command.stdin(Stdio::null()).status();
            }
        });
        Self { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        // It has nothing to say.
        let _ = self.thread.join();
    }
}
