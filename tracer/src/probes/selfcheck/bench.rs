//! The private namespace of the self-check, its listeners and its connections.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd as _,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{namespaces, probes::trial::attach_filter};

/// Limit given to the accept queue of every listener of the check.
pub(super) const BACKLOG: u16 = 7;
/// How long a connection over loopback may take to arrive.
const PATIENCE_MS: u16 = 5000;
/// Index of the loopback interface in a fresh namespace.
pub(super) const LOOPBACK: u32 = 1;

/// A listener of the check.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) inode: u64,
    pub(super) cookie: u64,
    pub(super) v6only: bool,
    pub(super) device: u32,
}

/// One connection, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) client: SocketAddr,
    pub(super) destination: SocketAddr,
    /// `None`: the connection was refused.
    pub(super) listener: Option<Expected>,
    /// Index and size of the reuseport group, if it has one.
    pub(super) group: Option<(u16, u16)>,
    /// Whether the group has a classic filter.
    pub(super) filtered: bool,
    pub(super) queue_len: u32,
    pub(super) netns: u32,
}

/// A thread in a namespace of its own, ready to connect.
pub(super) struct Bench {
    pub(super) netns: u32,
    go: Sender<()>,
    thread: JoinHandle<Result<Vec<Case>>>,
}

impl Bench {
    /// Makes the namespace. Nothing listens in it yet.
    pub(super) fn open() -> Result<Self> {
        let (go, wait) = channel();
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            let private = match namespaces::enter_private() {
                Ok(private) => private,
                Err(error) => {
                    tell.send(Err(error))?;
                    return Ok(Vec::new());
                }
            };
            tell.send(Ok(private.inode))?;
            work(private.inode, &wait)
        });
        let netns = told
            .recv()
            .context("the thread of the self-check ended early")??;
        Ok(Self { netns, go, thread })
    }

    /// Listens and connects; the namespace goes with the thread.
    pub(super) fn connect(self) -> Result<Vec<Case>> {
        // If the thread is gone already, joining it tells why.
        let _ = self.go.send(());
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread of the self-check ended early"))?
    }
}

fn work(netns: u32, go: &Receiver<()>) -> Result<Vec<Case>> {
    go.recv()?;
    let mut cases = Vec::new();
    group(netns, &mut cases)?;
    ipv6_on_device(netns, &mut cases)?;
    dual_stack(netns, &mut cases)?;
    refused(netns, &mut cases)?;
    Ok(cases)
}

/// Two members of one group, told apart by a classic filter that names the second.
fn group(netns: u32, cases: &mut Vec<Case>) -> Result<()> {
    let first = listener(
        "IPv4 group",
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        |socket| socket.set_reuse_port(true),
    )?;
    let second = listener("IPv4 group", first.1.address, |socket| {
        socket.set_reuse_port(true)
    })?;
    let members = [first, second];
    // Without a filter the hash decides: whoever accepts was chosen.
    let (client, stream) = connect(members[0].1.address)?;
    let member = accepted(&members)?;
    cases.push(Case {
        name: "IPv4, by hash",
        client,
        destination: members[0].1.address,
        listener: Some(members[member].1.clone()),
        group: Some((member as u16, 2)),
        filtered: false,
        queue_len: 0,
        netns,
    });
    drop(stream);
    attach_filter(&members[0].0, 1).context("cannot attach a filter to the group")?;
    let (client, _stream) = connect(members[0].1.address)?;
    cases.push(Case {
        name: "IPv4, by filter",
        client,
        destination: members[0].1.address,
        listener: Some(members[1].1.clone()),
        group: Some((1, 2)),
        filtered: true,
        queue_len: 0,
        netns,
    });
    taken(&members[1].0, 1)
}

fn ipv6_on_device(netns: u32, cases: &mut Vec<Case>) -> Result<()> {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let (socket, mut expected) = match listener("IPv6", address, |socket| {
        socket.set_only_v6(true)?;
        socket.bind_device(Some(b"lo"))
    }) {
        Ok(listener) => listener,
        // A host may have IPv6 switched off: then there is nothing to check.
        Err(error) if is_without_ipv6(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    expected.v6only = true;
    expected.device = LOOPBACK;
    // The second connection finds the first one waiting in the queue.
    let (first, _first) = connect(expected.address)?;
    queued(&socket)?;
    let (second, _second) = connect(expected.address)?;
    for (client, queue_len) in [(first, 0), (second, 1)] {
        cases.push(Case {
            name: "IPv6",
            client,
            destination: expected.address,
            listener: Some(expected.clone()),
            group: None,
            filtered: false,
            queue_len,
            netns,
        });
    }
    taken(&socket, 2)
}

fn dual_stack(netns: u32, cases: &mut Vec<Case>) -> Result<()> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let (socket, expected) =
        match listener("dual-stack", address, |socket| socket.set_only_v6(false)) {
            Ok(listener) => listener,
            Err(error) if is_without_ipv6(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
    let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, expected.address.port()));
    let (client, _stream) = connect(destination)?;
    cases.push(Case {
        name: "dual-stack",
        client,
        destination,
        listener: Some(expected),
        group: None,
        filtered: false,
        queue_len: 0,
        netns,
    });
    taken(&socket, 1)
}

fn refused(netns: u32, cases: &mut Vec<Case>) -> Result<()> {
    // Port 1 is nobody's in a namespace that only this check uses.
    let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let client = address_of(&socket)?;
    if socket.connect(&destination.into()).is_ok() {
        return Err(anyhow!("a connection to nobody succeeded"));
    }
    cases.push(Case {
        name: "refused",
        client,
        destination,
        listener: None,
        group: None,
        filtered: false,
        queue_len: 0,
        netns,
    });
    Ok(())
}

fn listener(
    name: &'static str,
    address: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> Result<(Socket, Expected)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    socket.set_nonblocking(true)?;
    let expected = Expected {
        name,
        address: address_of(&socket)?,
        inode: nix::sys::stat::fstat(&socket)?.st_ino,
        cookie: socket.cookie()?,
        v6only: false,
        device: 0,
    };
    Ok((socket, expected))
}

fn connect(destination: SocketAddr) -> Result<(SocketAddr, Socket)> {
    let socket = Socket::new(
        Domain::for_address(destination),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket
        .connect(&destination.into())
        .context("cannot connect over loopback")?;
    Ok((address_of(&socket)?, socket))
}

/// Which member has a connection waiting, once one has.
fn accepted(members: &[(Socket, Expected)]) -> Result<usize> {
    let mut fds: Vec<PollFd<'_>> = members
        .iter()
        .map(|(socket, _)| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
        .collect();
    poll(&mut fds, PollTimeout::from(PATIENCE_MS)).context("cannot wait for the connection")?;
    let member = fds
        .iter()
        .position(|fd| fd.any() == Some(true))
        .context("nobody accepted")?;
    members[member].0.accept().context("cannot accept")?;
    Ok(member)
}

/// Waits until a connection is in the accept queue, and leaves it there.
fn queued(socket: &Socket) -> Result<()> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(PATIENCE_MS)).context("cannot wait for the connection")?;
    Ok(())
}

/// Accepts the connections, so that none dies with its listener: another sockpick would
/// tell of it.
fn taken(socket: &Socket, connections: usize) -> Result<()> {
    for _ in 0..connections {
        queued(socket)?;
        socket.set_nonblocking(true)?;
        // One that did not come in time was told of already.
        if socket.accept().is_err() {
            break;
        }
    }
    Ok(())
}

fn address_of(socket: &Socket) -> Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .context("a socket without address")
}

fn is_without_ipv6(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error)
        .is_some_and(|code| matches!(code, libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
