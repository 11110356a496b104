//! The client side of a connection: connects from a known port and asks who is there.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::attempt::{Attempt, Identity, Outcome};
use crate::kernel::monotonic_ns;
use crate::listen::protocol;
use crate::netns::Netns;
use crate::options::Connect;

/// A SYN that is not answered within this time has been lost.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How to connect.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Where to.
    pub(crate) destination: SocketAddr,
    source: SocketAddr,
    netns: Option<u64>,
    reset: bool,
    late_ack: bool,
    mptcp: bool,
}

impl Client {
    /// To a loopback address, from this host's first one.
    pub(crate) fn to(destination: &str) -> Result<Self> {
        let destination: SocketAddr = destination.parse().context("bad destination")?;
        let source = match destination {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        Ok(Self {
            destination,
            source: SocketAddr::new(source, 0),
            netns: None,
            reset: true,
            late_ack: false,
            mptcp: false,
        })
    }

    /// Source address.
    pub(crate) fn from(mut self, source: IpAddr) -> Self {
        self.source.set_ip(source);
        self
    }

    /// Source port of the first connection; each further one has the next.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.source.set_port(port);
        self
    }

    /// The SYN arrives in another namespace than this thread's.
    pub(crate) fn arriving_in(mut self, netns: &Netns) -> Self {
        self.netns = Some(netns.inode);
        self
    }

    /// Ends connections in the ordinary way, so that the server's side stays in `TIME_WAIT`.
    pub(crate) fn leave_time_wait(mut self) -> Self {
        self.reset = false;
        self
    }

    /// The ACK of the handshake is sent a fifth of a second late (`TCP_DELACK_MAX`): the kernel
    /// waits for data that it could go with, if the socket says so.
    pub(crate) fn late_ack(mut self) -> Self {
        self.late_ack = true;
        self
    }

    /// By MPTCP, ended in the ordinary way: before 5.14 there is no `SO_LINGER` for it.
    pub(crate) fn mptcp(mut self) -> Self {
        self.mptcp = true;
        self.leave_time_wait()
    }

    /// Connects a number of times, one after the other.
    pub(crate) fn times(&self, times: usize) -> Result<Vec<Attempt>> {
        let netns = match self.netns {
            Some(inode) => inode,
            None => Netns::current()?.inode,
        };
        let attempt = |at: usize| {
            let mut client = self.clone();
            if client.source.port() != 0 {
                client.source.set_port(client.source.port() + at as u16);
            }
            client.attempt(netns)
        };
        (0..times).map(attempt).collect()
    }

    /// Connects once and keeps the connection open without reading.
    pub(crate) fn open(&self) -> Result<(Attempt, Socket)> {
        let netns = Netns::current()?.inode;
        let (mut attempt, socket) = self.connect(netns)?;
        attempt.ended_ns = monotonic_ns()?;
        Ok((attempt, socket))
    }

    fn attempt(&self, netns: u64) -> Result<Attempt> {
        let (attempt, socket) = self.connect(netns)?;
        answered(attempt, socket)
    }

    fn connect(&self, netns: u64) -> Result<(Attempt, Socket)> {
        let domain = Domain::for_address(self.destination);
        let socket = Socket::new(domain, Type::STREAM, Some(protocol(self.mptcp)))?;
        socket.set_reuse_address(true)?;
        if self.reset {
            socket.set_linger(Some(Duration::ZERO))?;
        }
        if self.late_ack {
            socket.set_tcp_quickack(false)?;
        }
        let source = self.source;
        socket
            .bind(&SockAddr::from(source))
            .with_context(|| format!("client cannot bind {source}"))?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        let client = socket.local_addr()?.as_socket().context("no address")?;
        let began_ns = monotonic_ns()?;
        let result = socket.connect_timeout(&SockAddr::from(self.destination), TIMEOUT);
        let outcome = match result {
            Ok(()) => pending(),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Outcome::Refused,
            Err(error) => failed(&error.to_string()),
        };
        let attempt = Attempt {
            netns,
            client,
            destination: self.destination,
            began_ns,
            ended_ns: 0,
            outcome,
        };
        Ok((attempt, socket))
    }
}

/// The attempt with what the server on this connection says, if it is one.
pub(crate) fn answered(mut attempt: Attempt, mut socket: Socket) -> Result<Attempt> {
    if attempt.outcome == pending() {
        let mut answer = Vec::new();
        let ended = socket.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        attempt.outcome = match ended {
            // By MPTCP the end may come long after the line, and the line is all there is.
            Err(error) if !answer.ends_with('\n') => failed(&format!("no answer: {error}")),
            _ => Identity::parse(&answer)
                .map_or_else(|| failed(&format!("answer `{answer}`")), Outcome::Answered),
        };
    }
    drop(socket);
    attempt.ended_ns = monotonic_ns()?;
    Ok(attempt)
}

/// Connected; nobody has answered yet.
pub(crate) fn pending() -> Outcome {
    failed("connected, no answer yet")
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed(why.to_owned())
}

/// Connects to loopback or elsewhere `times` times; the usual case in a scenario.
pub(crate) fn connect(destination: &str, times: usize) -> Result<Vec<Attempt>> {
    Client::to(destination)?.times(times)
}

/// `--connect`
pub(crate) fn by_hand(connect: &Connect) -> Result<()> {
    let mut client = Client::to(&connect.destination.to_string())?;
    if !connect.destination.ip().is_loopback() {
        let any: IpAddr = match connect.destination {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        client = client.from(any);
    }
    if let Some(source) = connect.source {
        client = client.from(source);
    }
    for attempt in client.port(connect.port).times(connect.times)? {
        let answer = match &attempt.outcome {
            Outcome::Answered(who) => format!(
                "{} (process {}, listener {}, inode {})",
                who.name, who.pid, who.index, who.inode
            ),
            Outcome::Refused => "refused".to_owned(),
            Outcome::Failed(why) => why.clone(),
        };
        println!("{} -> {}  {answer}", attempt.client, attempt.destination);
    }
    Ok(())
}
