//! A real nginx with a listener per worker, through a reload.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::attempt::{Attempt, Identity, Outcome};
use crate::client::{Client, pending};
use crate::compare::compare;
use crate::context::Context;
use crate::kernel::{children_of, command, monotonic_ns};
use crate::netns::Netns;
use crate::truth::{Socket, Truth};
use crate::want::{Expect, Wants};

pub(super) const ADDRESS: &str = "127.0.0.1:8080";
const WORKERS: usize = 4;
const BACKLOG: u32 = 77;
const PATIENCE: Duration = Duration::from_secs(15);

/// A running nginx, ended when dropped.
pub(super) struct Nginx {
    master: Child,
    folder: PathBuf,
}

impl Nginx {
    pub(super) fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("nginx-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let text = configuration(&folder);
        std::fs::write(folder.join("nginx.conf"), text)?;
        let mut command = Command::new("nginx");
        command.args(arguments(&folder)).stdin(Stdio::null());
        let master = command.spawn().context("cannot start nginx")?;
        let nginx = Self { master, folder };
        nginx.workers_other_than(&[])?;
        Ok(nginx)
    }

    pub(super) fn reload(&self) -> Result<()> {
        let arguments = arguments(&self.folder);
        let mut words = vec!["nginx"];
        words.extend(arguments.iter().map(String::as_str));
        words.extend(["-s", "reload"]);
        command(&words).map(drop)
    }

    pub(super) fn workers(&self) -> Result<Vec<u32>> {
        children_of(self.master.id())
    }

    /// Waits until all workers are there and listen, and none of the old ones.
    pub(super) fn workers_other_than(&self, old: &[u32]) -> Result<Vec<u32>> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let workers = self.workers()?;
            let new = workers.iter().all(|worker| !old.contains(worker));
            if new && workers.len() == WORKERS && self.polled()?.len() >= WORKERS {
                return Ok(workers);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("nginx did not start its workers")
    }

    /// Which listener each worker takes connections from: the one its epoll waits for.
    pub(super) fn polled(&self) -> Result<HashMap<u32, u64>> {
        let listening = self.listening()?;
        let mut polled = HashMap::new();
        for worker in self.workers()? {
            let watched = watched_inodes(worker).unwrap_or_default();
            if let Some(inode) = watched.iter().find(|inode| listening.contains(inode)) {
                polled.insert(worker, *inode);
            }
        }
        Ok(polled)
    }

    /// The listeners, in the order the master opened them.
    pub(super) fn listening(&self) -> Result<Vec<u64>> {
        let table = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
        // State 0A is LISTEN; the tenth column is the inode.
        let rows = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let listening: Vec<u64> = rows
            .filter(|row| row.get(3) == Some(&"0A"))
            .filter_map(|row| row.get(9)?.parse().ok())
            .collect();
        let mut found: Vec<(u32, u64)> = descriptors(self.master.id())?
            .filter_map(|(fd, target)| Some((fd, socket_inode(&target)?)))
            .filter(|(_, inode)| listening.contains(inode))
            .collect();
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, inode)| inode).collect())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM ends the workers too; what is left the runner ends.
        let master = nix::unistd::Pid::from_raw(self.master.id().cast_signed());
        let _ = nix::sys::signal::kill(master, nix::sys::signal::Signal::SIGTERM);
        let _ = self.master.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .join(" ");
    format!(
        "daemon off; user root; worker_processes {WORKERS}; pid {folder}/pid;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; {temporary}\n\
           server {{ listen {ADDRESS} reuseport backlog={BACKLOG};\n\
             location / {{ return 200 \"$pid\"; }} }} }}\n"
    )
}

fn arguments(folder: &Path) -> [String; 6] {
    let path = |name: &str| folder.join(name).display().to_string();
    let words = [
        "-p".to_owned(),
        path(""),
        "-e".to_owned(),
        path("error.log"),
    ];
    let [p, prefix, e, log] = words;
    [p, prefix, e, log, "-c".to_owned(), path("nginx.conf")]
}

/// Descriptors of a process, and what they refer to.
fn descriptors(pid: u32) -> Result<impl Iterator<Item = (u32, String)>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    Ok(entries.filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let fd = entry.file_name().to_str()?.parse().ok()?;
        Some((fd, target.to_string_lossy().into_owned()))
    }))
}

fn socket_inode(target: &str) -> Option<u64> {
    let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

/// Inodes of what a process's epoll descriptors wait for.
fn watched_inodes(pid: u32) -> Result<Vec<u64>> {
    let mut inodes = Vec::new();
    for (fd, target) in descriptors(pid)? {
        if target == "anon_inode:[eventpoll]" {
            let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"))?;
            let fields = info
                .split_whitespace()
                .filter_map(|w| w.strip_prefix("ino:"));
            inodes.extend(fields.filter_map(|hex| u64::from_str_radix(hex, 16).ok()));
        }
    }
    Ok(inodes)
}

/// One request: the answer is the worker's process id. Its listener is filled in later.
fn request() -> Result<Attempt> {
    let (mut attempt, mut socket) = Client::to(ADDRESS)?.open()?;
    if attempt.outcome != pending() {
        return Ok(attempt);
    }
    let mut answer = String::new();
    socket.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    socket.read_to_string(&mut answer)?;
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
    attempt.outcome = match body.parse() {
        Ok(pid) => Outcome::Answered(Identity {
            name: "nginx".to_owned(),
            pid,
            index: 0,
            inode: 0,
        }),
        Err(_) => Outcome::Failed(format!("answer `{answer}`")),
    };
    attempt.ended_ns = monotonic_ns()?;
    Ok(attempt)
}

pub(super) fn requests(times: usize) -> Result<Vec<Attempt>> {
    (0..times).map(|_| request()).collect()
}

/// Requests before, during and after a reload that replaces every worker.
pub(crate) fn reload(cx: &Context) -> Result<()> {
    let netns = Netns::fresh()?;
    let nginx = Nginx::start()?;
    let trace = cx.trace(&[])?;
    let old = nginx.workers()?;
    let mut polled = nginx.polled()?;
    let listening = nginx.listening()?;
    let before = requests(12)?;
    nginx.reload()?;
    let mut after = requests(10)?;
    nginx.workers_other_than(&old)?;
    polled.extend(nginx.polled()?);
    after.extend(requests(25)?);

    let truth = truth(&netns, &nginx, &listening)?;
    let mut wants = Wants::default();
    wants.add(&truth, &at_listener(before, &polled)?, &Expect::default())?;
    let new_workers = Expect {
        new_heirs: true,
        ..Expect::default()
    };
    wants.add(&truth, &at_listener(after, &polled)?, &new_workers)?;
    compare(cx, &trace.finish()?, &wants)
}

pub(super) fn truth(netns: &Netns, nginx: &Nginx, listening: &[u64]) -> Result<Truth> {
    if listening.len() != WORKERS || nginx.listening()? != listening {
        bail!("nginx has other listeners than expected: {listening:?}");
    }
    let address: SocketAddr = ADDRESS.parse()?;
    let sockets = listening.iter().map(|inode| Socket {
        netns: netns.inode,
        name: "nginx".to_owned(),
        pid: nginx.master.id(),
        heirs: Vec::new(),
        inode: *inode,
        address,
        v6only: false,
        device: None,
        backlog: BACKLOG,
        reuseport: true,
        generation: 0,
    });
    Ok(Truth {
        sockets: sockets.collect(),
    })
}

/// Fills in which listener the answering worker takes connections from.
pub(super) fn at_listener(
    attempts: Vec<Attempt>,
    polled: &HashMap<u32, u64>,
) -> Result<Vec<Attempt>> {
    let fill = |mut attempt: Attempt| {
        let Outcome::Answered(identity) = &mut attempt.outcome else {
            bail!("the scenario itself went wrong: {:?}", attempt.outcome);
        };
        let inode = polled.get(&identity.pid);
        identity.inode = *inode.context("a worker answered that never listened")?;
        Ok(attempt)
    };
    attempts.into_iter().map(fill).collect()
}
