//! Servers as a scenario holds them: a process of their own, or a thread of this one.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use socket2::Socket;

use crate::kernel::monotonic_ns;
use crate::listen::{Hello, Listen, Opened};
use crate::netns::Netns;
use crate::serve::Accepting;

/// A running server; ended when dropped.
pub(crate) struct Server {
    /// What it was asked to listen on.
    pub(crate) listen: Listen,
    /// What it says about itself.
    pub(crate) hello: Hello,
    /// Namespace it listens in.
    pub(crate) netns: u64,
    /// `CLOCK_MONOTONIC` before and after it began to listen.
    pub(crate) started: (u64, u64),
    runs: Runs,
}

enum Runs {
    Process(Child, BufReader<ChildStdout>),
    Thread {
        sockets: Vec<Socket>,
        control: Option<OwnedFd>,
        thread: Option<JoinHandle<Result<()>>>,
    },
}

impl Server {
    /// Starts a process in this thread's namespace; returns once it listens.
    pub(crate) fn start(listen: Listen) -> Result<Self> {
        Self::process(listen, &[])
    }

    /// Starts a process whose child inherits its listeners and accepts in its place.
    pub(crate) fn with_heir(listen: Listen) -> Result<Self> {
        Self::process(listen, &["--heir"])
    }

    fn process(listen: Listen, more: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments(&listen)).args(more);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let before = monotonic_ns()?;
        let mut child = command.spawn().context("cannot start a server")?;
        let mut output = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let hello = serde_json::from_str(&line)
            .with_context(|| format!("server {} did not start", listen.name))?;
        Ok(Self {
            listen,
            hello,
            netns: Netns::current()?.inode,
            started: (before, monotonic_ns()?),
            runs: Runs::Process(child, output),
        })
    }

    /// Listens in this process, in this thread's namespace, and accepts in a new thread;
    /// for scenarios that need the sockets themselves.
    pub(crate) fn inside(listen: Listen) -> Result<Self> {
        let before = monotonic_ns()?;
        let sockets = listen.open()?;
        let started = (before, monotonic_ns()?);
        let copies = sockets.iter().map(Socket::try_clone);
        let copies = copies.collect::<std::io::Result<Vec<_>>>()?;
        let (reader, writer) = nix::unistd::pipe()?;
        let mut accepting = Accepting::new(&listen.name, copies, Some(File::from(reader)))?;
        let hello = Hello {
            name: listen.name.clone(),
            pid: std::process::id(),
            heir: None,
            listeners: sockets.iter().map(Opened::of).collect::<Result<_>>()?,
        };
        Ok(Self {
            listen,
            hello,
            netns: Netns::current()?.inode,
            started,
            runs: Runs::Thread {
                sockets,
                control: Some(writer),
                thread: Some(std::thread::spawn(move || accepting.run())),
            },
        })
    }

    /// The sockets of a server inside this process.
    pub(crate) fn sockets(&self) -> Result<&[Socket]> {
        match &self.runs {
            Runs::Thread { sockets, .. } => Ok(sockets),
            Runs::Process(..) => bail!("{} is another process", self.hello.name),
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.hello.pid
    }

    /// Lets a held server accept.
    pub(crate) fn accept(&mut self) -> Result<()> {
        self.command("accept")
    }

    /// Makes it close one listener; returns when it is closed.
    pub(crate) fn close(&mut self, inode: u64) -> Result<()> {
        self.command(&format!("close {inode}"))?;
        let Runs::Process(_, output) = &mut self.runs else {
            bail!("only a server process closes listeners");
        };
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.trim() != format!("closed {inode}") {
            bail!("server {} did not close {inode}", self.hello.name);
        }
        Ok(())
    }

    /// Makes it take another name.
    pub(crate) fn name(&mut self, name: &str) -> Result<()> {
        self.command(&format!("name {name}"))?;
        let Runs::Process(_, output) = &mut self.runs else {
            bail!("only a server process takes another name");
        };
        let mut line = String::new();
        output.read_line(&mut line)?;
        Ok(())
    }

    /// Kills it; its heir lives on.
    pub(crate) fn kill(mut self) -> Result<()> {
        if let Runs::Process(child, _) = &mut self.runs {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn command(&mut self, line: &str) -> Result<()> {
        let Runs::Process(child, _) = &mut self.runs else {
            bail!("only a server process takes commands");
        };
        let input = child.stdin.as_mut().context("no pipe")?;
        writeln!(input, "{line}").context("the server is gone")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.runs {
            Runs::Process(child, _) => {
                // Closing its stdin ends it, and its heir with it.
                drop(child.stdin.take());
                let _ = child.wait();
            }
            Runs::Thread {
                control, thread, ..
            } => {
                drop(control.take());
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
        }
    }
}

fn arguments(listen: &Listen) -> Vec<String> {
    let mut words = vec![
        "--serve".to_owned(),
        listen.address.to_string(),
        "--controlled".to_owned(),
    ];
    let values = [
        ("--name", Some(listen.name.clone())),
        ("--count", Some(listen.count.to_string())),
        ("--backlog", Some(listen.backlog.to_string())),
        ("--device", listen.device.clone()),
    ];
    for (name, value) in values {
        words.extend(
            value
                .map(|value| [name.to_owned(), value])
                .into_iter()
                .flatten(),
        );
    }
    let flags = [
        ("--reuseport", listen.reuseport),
        ("--v6only", listen.v6only),
        ("--transparent", listen.transparent),
        ("--mptcp", listen.mptcp),
        ("--hold", listen.hold),
    ];
    words.extend(
        flags
            .iter()
            .filter(|(_, on)| *on)
            .map(|(flag, _)| (*flag).to_owned()),
    );
    words
}

/// File descriptors of a server's sockets, for the kernel.
pub(crate) fn descriptors(sockets: &[Socket]) -> Vec<i32> {
    use std::os::fd::AsRawFd;
    sockets.iter().map(|s| s.as_fd().as_raw_fd()).collect()
}
