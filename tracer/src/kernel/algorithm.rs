//! Which algorithm this kernel looks listeners up by: found by what it is seen to do, then
//! by what it has, and by its version only where neither can be had.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::AsFd as _,
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use super::{btf::Btf, features::KERNEL_BTF, preflight};
use crate::{
    judge::rules::{Algorithm, BUCKETS},
    namespaces,
};

/// The first of so many ports in a row; nobody else is in the namespace.
const FIRST_PORT: u16 = 20_000;
/// Listeners on each side that bring a bucket above the ten of [`Algorithm::Hybrid`].
const CROWD: usize = 8;
/// How long a connection over loopback may take to arrive.
const PATIENCE_MS: u16 = 5000;

/// How the algorithm was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Connections of sockpick's own in a private namespace showed it.
    Tried,
    /// The kernel's type information has no table hashed by port alone.
    Structures,
    /// From the version alone, which vendors' kernels may belie.
    Version,
}

impl How {
    /// The same in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Tried => "tried in a private namespace",
            Self::Structures => "by the kernel's structures",
            Self::Version => "by the kernel's version only",
        }
    }
}

/// The algorithm of the running kernel, and how it was found. Trying it takes
/// `CAP_SYS_ADMIN` and some milliseconds.
#[must_use]
pub fn detect() -> (Algorithm, How) {
    match thread::spawn(attempt).join() {
        Ok(Ok(algorithm)) => return (algorithm, How::Tried),
        Ok(Err(error)) => log::debug!("the lookup cannot be tried: {error:#}"),
        Err(_) => log::debug!("the thread that tries the lookup ended early"),
    }
    match port_table_is_gone() {
        Some(true) => (Algorithm::AddressFirst, How::Structures),
        _ => (by_version(&preflight::release().0), How::Version),
    }
}

/// Exact before wildcard on the same port: with one chain per port, the wildcard, as the
/// last to come, stands first and takes the connection.
fn attempt() -> Result<Algorithm> {
    let _private = namespaces::enter_private()?;
    // In a bucket that others fill, 4.16 to 4.20 look the address up first: try each.
    for port in FIRST_PORT..FIRST_PORT + BUCKETS {
        let exact = listener(Ipv4Addr::LOCALHOST, port)?;
        let wildcard = listener(Ipv4Addr::UNSPECIFIED, port)?;
        let mut listeners = vec![exact, wildcard];
        if taker(port, &listeners)? == 0 {
            continue;
        }
        let mut more = |address| -> Result<()> {
            for _ in 0..CROWD {
                listeners.push(listener(address, port)?);
            }
            Ok(())
        };
        more(Ipv4Addr::LOCALHOST)?;
        more(Ipv4Addr::UNSPECIFIED)?;
        let taker = taker(port, &listeners)?;
        let exact = taker == 0 || (2..2 + CROWD).contains(&taker);
        return Ok(if exact {
            Algorithm::Hybrid
        } else {
            Algorithm::PortOnly
        });
    }
    Ok(Algorithm::AddressFirst)
}

fn listener(address: Ipv4Addr, port: u16) -> Result<Socket> {
    let make = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::V4(SocketAddrV4::new(address, port)).into())?;
        socket.listen(1)?;
        Ok(socket)
    };
    make().with_context(|| format!("cannot listen on {address}:{port}"))
}

/// Which of the listeners gets a connection to loopback.
fn taker(port: u16, listeners: &[Socket]) -> Result<usize> {
    let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    client
        .connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
        .context("cannot connect over loopback")?;
    let mut fds: Vec<PollFd<'_>> = listeners
        .iter()
        .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
        .collect();
    poll(&mut fds, PollTimeout::from(PATIENCE_MS)).context("cannot wait for the connection")?;
    let taker = fds
        .iter()
        .position(|fd| fd.any() == Some(true))
        .ok_or_else(|| anyhow!("no listener got the connection"))?;
    listeners[taker].accept().context("cannot accept")?;
    Ok(taker)
}

/// Whether `struct inet_hashinfo` is without the table hashed by port: gone in 5.19
/// (cae3873c5b3a, "net: inet: Retire port only `listening_hash`"). `None` without BTF.
fn port_table_is_gone() -> Option<bool> {
    let data = fs::read(KERNEL_BTF).ok()?;
    let btf = Btf::parse(data, &["inet_hashinfo"]).ok()?;
    btf.member("inet_hashinfo", "lhash2").ok()?;
    Some(btf.member("inet_hashinfo", "listening_hash").is_err())
}

/// As mainline kernels do it (61b7c691c731, 4.16; d9fbc7f6431f, 5.0).
fn by_version(release: &str) -> Algorithm {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version {
        (0..=3, _) | (4, 0..=15) => Algorithm::PortOnly,
        (4, _) => Algorithm::Hybrid,
        _ => Algorithm::AddressFirst,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_the_last_resort() {
        for (release, algorithm) in [
            ("4.14.67", Algorithm::PortOnly),
            ("4.15.0-213-generic", Algorithm::PortOnly),
            ("4.16.0", Algorithm::Hybrid),
            ("4.18.0-553.el8.x86_64", Algorithm::Hybrid),
            ("4.20-rc1", Algorithm::Hybrid),
            ("5.0.0", Algorithm::AddressFirst),
            ("7.3.4+deb13-cloud-amd64", Algorithm::AddressFirst),
            ("unknown", Algorithm::PortOnly),
        ] {
            assert_eq!(by_version(release), algorithm, "{release}");
        }
    }
}
