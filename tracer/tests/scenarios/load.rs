//! Workloads that count connections instead of asking each who answered.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::kernel::monotonic_ns;
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

/// `--load`: connect, accept and close, one after the other, in one thread; prints what
/// one such round costs.
pub(crate) fn run(load: &Load) -> Result<()> {
    let place = Place::new(load)?;
    place.rounds(0, 1)?;
    // Whoever watches has met the listener then. Idle time is not counted.
    sleep(Duration::from_secs(1));
    let warm_up = load.warm_up.max(1);
    place.rounds(1, warm_up - 1)?;
    let start = monotonic_ns()?;
    place.rounds(warm_up, load.connections)?;
    let elapsed = monotonic_ns()? - start;
    println!(
        "LOAD connections={} ns_per_connection={}",
        load.connections,
        elapsed / u64::from(load.connections.max(1))
    );
    Ok(())
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
