//! Workloads that count connections instead of asking each who answered.

use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::listen::Listen;
use crate::options::Load;

/// Client ports are given explicitly, from here on: no search, no chance.
pub(crate) const FIRST_PORT: u16 = 10_000;
/// And used again after so many. Every connection ends with a reset, which leaves no
/// `TIME_WAIT` in the way.
pub(crate) const PORTS: u32 = 20_000;

/// The port that the bench listens on.
const PORT: u16 = 8080;

/// Loopback of one family.
pub(crate) fn loopback(v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    }
}

/// A socket bound to the `nth` client port, that will end with a reset.
pub(crate) fn client(address: IpAddr, nth: u32) -> Result<Socket> {
    let source = SocketAddr::new(address, FIRST_PORT + (nth % PORTS) as u16);
    let socket = Socket::new(
        Domain::for_address(source),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket
        .bind(&SockAddr::from(source))
        .with_context(|| format!("client cannot bind {source}"))?;
    Ok(socket)
}

/// Far longer than any flush interval. Idle time is not counted.
const SETTLED: Duration = Duration::from_secs(2);

/// `--load`: connect, accept and close, one after the other, in one thread; prints what
/// all such rounds cost, and whoever watches for them.
///
/// What comes once is over before it counts: the start of this process, its listeners, and whose
/// they are.
pub(crate) fn run(load: &Load) -> Result<()> {
    let place = Place::new(load)?;
    place.rounds(0, 1)?;
    // Whoever watches has met the listener then.
    sleep(SETTLED);
    let warm_up = load.warm_up.max(1);
    place.rounds(1, warm_up - 1)?;
    sleep(SETTLED);
    let before = cost(load.tool)?;
    place.rounds(warm_up, load.connections)?;
    sleep(SETTLED);
    let after = cost(load.tool)?;
    println!(
        "LOAD {} {} {}",
        load.connections,
        after.0 - before.0,
        after.1 - before.1
    );
    Ok(())
}

/// Nanoseconds that the one processor was not idle since boot, and those of a process.
fn cost(tool: Option<u32>) -> Result<(u64, u64)> {
    let path = "/proc/schedstat";
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {path} (CONFIG_SCHEDSTATS)"))?;
    let line = text.lines().find(|line| line.starts_with("cpu0 "));
    let busy = line.and_then(|line| line.split_whitespace().nth(7)?.parse().ok());
    let busy = busy.with_context(|| format!("{path} does not say how long cpu0 ran"))?;
    Ok((busy, tool.map_or(Ok(0), ran)?))
}

/// Nanoseconds of all threads of a process.
fn ran(process: u32) -> Result<u64> {
    let threads = fs::read_dir(format!("/proc/{process}/task"))
        .with_context(|| format!("process {process} is gone"))?;
    let ran = |thread: io::Result<DirEntry>| {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().context("it is empty")?;
        Ok(first.parse::<u64>()?)
    };
    threads.map(ran).sum()
}

/// Where connections go.
struct Place {
    address: IpAddr,
    destination: SockAddr,
    /// None where connections are to be refused.
    listeners: Vec<Socket>,
}

impl Place {
    fn new(load: &Load) -> Result<Self> {
        let address = loopback(load.v6);
        let members = if load.refused { 0 } else { load.members };
        let mut listen = Listen::on(SocketAddr::new(address, PORT)).group(members);
        listen.backlog = 128;
        let listeners = listen.open()?;
        for listener in &listeners {
            // Accepted connections inherit it.
            listener.set_linger(Some(Duration::ZERO))?;
        }
        Ok(Self {
            address,
            destination: SockAddr::from(listen.address),
            listeners,
        })
    }

    fn rounds(&self, first: u32, count: u32) -> Result<()> {
        (first..first + count).try_for_each(|nth| self.round(nth))
    }

    fn round(&self, nth: u32) -> Result<()> {
        let client = client(self.address, nth)?;
        match client.connect(&self.destination) {
            Err(error)
                if self.listeners.is_empty() && error.kind() == ErrorKind::ConnectionRefused =>
            {
                Ok(())
            }
            Ok(()) => self.accept(),
            Err(error) => Err(error).context("cannot connect"),
        }
    }

    fn accept(&self) -> Result<()> {
        let mut polled: Vec<PollFd<'_>> = self
            .listeners
            .iter()
            .map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut polled, PollTimeout::from(5000_u16))?;
        let ready = polled.iter().position(|fd| fd.any().unwrap_or(false));
        let ready = ready.context("no listener got the connection")?;
        let (accepted, _) = self.listeners[ready].accept().context("cannot accept")?;
        drop(accepted);
        Ok(())
    }
}
