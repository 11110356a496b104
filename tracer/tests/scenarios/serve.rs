//! The server side of a connection: accepts, says who it is, closes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;

use crate::listen::{Hello, Listen, Opened, inode};
use crate::options::Serve;

/// Runs a server process until it is killed, or, if controlled, its parent goes.
pub(crate) fn run(serve: &Serve) -> Result<()> {
    let listen = &serve.listen;
    set_comm(&listen.name)?;
    let sockets = if serve.inherited.is_empty() {
        listen.open()?
    } else {
        serve.inherited.iter().map(|fd| adopt(*fd)).collect()
    };
    let mut heir = None;
    if serve.heir {
        heir = Some(hand_over(listen, &sockets)?);
    }
    let hello = Hello {
        name: listen.name.clone(),
        pid: std::process::id(),
        heir: heir.as_ref().map(Child::id),
        listeners: sockets.iter().map(Opened::of).collect::<Result<_>>()?,
    };
    println!("{}", serde_json::to_string(&hello)?);
    let control = serve
        .controlled
        .then(|| {
            std::io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .map(File::from)
        })
        .transpose()?;
    let mut server = Accepting::new(&listen.name, sockets, control)?;
    server.held = listen.hold || serve.heir;
    let ended = server.run();
    if let Some(mut heir) = heir {
        heir.kill()?;
        heir.wait()?;
    }
    ended
}

/// The name that the kernel gives as this process's `comm`.
pub(crate) fn set_comm(name: &str) -> Result<()> {
    let name = std::ffi::CString::new(name)?;
    nix::sys::prctl::set_name(&name).context("cannot set this process's name")
}

fn adopt(descriptor: i32) -> Socket {
    // SAFETY: the parent passed this descriptor to us and nothing else here knows of it.
    Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Starts a child that accepts from the same sockets.
fn hand_over(listen: &Listen, sockets: &[Socket]) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--serve", &listen.address.to_string()]);
    command.args(["--name", &format!("{}-heir", listen.name)]);
    for socket in sockets {
        fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
        command.args(["--inherited", &socket.as_raw_fd().to_string()]);
    }
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start the heir")?;
    // Its greeting says that it accepts.
    let mut byte = [0];
    let mut output = child.stdout.take().context("no pipe")?;
    output
        .read_exact(&mut byte)
        .context("the heir did not start")?;
    Ok(child)
}

/// Listeners, and the loop that accepts from them.
pub(crate) struct Accepting {
    name: String,
    pid: u32,
    listeners: Vec<(usize, u64, Socket)>,
    control: Option<File>,
    /// Do not accept for now.
    pub(crate) held: bool,
}

impl Accepting {
    /// `control` takes commands, one a line: `close INODE`, `name NAME`, `accept`; its end ends the loop.
    pub(crate) fn new(name: &str, sockets: Vec<Socket>, control: Option<File>) -> Result<Self> {
        let listeners = sockets.into_iter().enumerate().map(|(index, socket)| {
            let inode = inode(&socket)?;
            Ok((index, inode, socket))
        });
        Ok(Self {
            name: name.to_owned(),
            pid: std::process::id(),
            listeners: listeners.collect::<Result<_>>()?,
            control,
            held: false,
        })
    }

    /// Accepts until the controlling end is closed.
    pub(crate) fn run(&mut self) -> Result<()> {
        loop {
            let (commanded, ready) = self.wait()?;
            for index in ready {
                self.accept(index)?;
            }
            if commanded && !self.obey()? {
                return Ok(());
            }
        }
    }

    /// Waits; returns whether a command came, and which listeners have a connection.
    fn wait(&self) -> Result<(bool, Vec<usize>)> {
        let mut polled: Vec<PollFd<'_>> = Vec::new();
        if !self.held {
            let sockets = self.listeners.iter();
            polled.extend(sockets.map(|(_, _, s)| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        }
        let listeners = polled.len();
        if let Some(control) = &self.control {
            polled.push(PollFd::new(control.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut polled, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => return Ok((false, Vec::new())),
            other => other?,
        };
        let any = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let ready = (0..listeners).filter(|at| any(&polled[*at])).collect();
        Ok((polled[listeners..].iter().any(any), ready))
    }

    fn accept(&self, at: usize) -> Result<()> {
        let (index, inode, socket) = &self.listeners[at];
        loop {
            match socket.accept() {
                Ok((mut connection, _)) => {
                    let answer = format!("{} {} {index} {inode}\n", self.name, self.pid);
                    // A client that went away needs no answer.
                    let _ = connection.write_all(answer.as_bytes());
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                // Reset while it waited in the queue.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error).context("cannot accept"),
            }
        }
    }

    /// Obeys one command; false at the end.
    fn obey(&mut self) -> Result<bool> {
        let mut line = Vec::new();
        let Some(control) = &mut self.control else {
            return Ok(false);
        };
        // Byte by byte: what comes after the line stays in the pipe, where poll sees it.
        let mut byte = [0];
        while control.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        let line = String::from_utf8(line)?;
        if let Some(inode) = line.strip_prefix("close ") {
            let inode: u64 = inode.parse()?;
            self.listeners.retain(|(_, other, _)| *other != inode);
            println!("closed {inode}");
        } else if let Some(name) = line.strip_prefix("name ") {
            set_comm(name)?;
            name.clone_into(&mut self.name);
            println!("named {name}");
        } else if line == "accept" {
            self.held = false;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}
