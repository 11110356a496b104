//! Opens listening sockets as a scenario describes them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// What to listen on, and how.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "socket options, each on or off"
)]
pub(crate) struct Listen {
    /// Name of the server: its answer to clients and its `comm`.
    pub(crate) name: String,
    /// Address and port.
    pub(crate) address: SocketAddr,
    /// How many sockets; more than one needs `reuseport`.
    pub(crate) count: usize,
    /// `SO_REUSEPORT`
    pub(crate) reuseport: bool,
    /// Argument of `listen()`.
    pub(crate) backlog: u32,
    /// `SO_BINDTODEVICE`
    pub(crate) device: Option<String>,
    /// `IPV6_V6ONLY`
    pub(crate) v6only: bool,
    /// `IP_TRANSPARENT`, which TPROXY asks for.
    pub(crate) transparent: bool,
    /// `IPPROTO_MPTCP`
    pub(crate) mptcp: bool,
    /// Do not accept until told to.
    pub(crate) hold: bool,
}

impl Listen {
    /// One plain listener.
    pub(crate) fn on(address: SocketAddr) -> Self {
        Self {
            name: "server".to_owned(),
            address,
            count: 1,
            reuseport: false,
            backlog: 64,
            device: None,
            v6only: false,
            transparent: false,
            mptcp: false,
            hold: false,
        }
    }

    /// `name` on an address written as text.
    pub(crate) fn new(name: &str, address: &str) -> Result<Self> {
        let mut listen = Self::on(address.parse().with_context(|| address.to_owned())?);
        name.clone_into(&mut listen.name);
        Ok(listen)
    }

    /// A reuseport group of `count` sockets.
    pub(crate) fn group(mut self, count: usize) -> Self {
        self.reuseport = true;
        self.count = count;
        self
    }

    /// Argument of `listen()`.
    pub(crate) fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// `SO_BINDTODEVICE`
    pub(crate) fn device(mut self, device: &str) -> Self {
        self.device = Some(device.to_owned());
        self
    }

    /// `IPV6_V6ONLY`
    pub(crate) fn v6only(mut self) -> Self {
        self.v6only = true;
        self
    }

    /// `IP_TRANSPARENT`
    pub(crate) fn transparent(mut self) -> Self {
        self.transparent = true;
        self
    }

    /// `IPPROTO_MPTCP`
    pub(crate) fn mptcp(mut self) -> Self {
        self.mptcp = true;
        self
    }

    /// Do not accept until told to.
    pub(crate) fn hold(mut self) -> Self {
        self.hold = true;
        self
    }

    /// Opens the sockets, in order.
    pub(crate) fn open(&self) -> Result<Vec<Socket>> {
        (0..self.count)
            .map(|_| self.open_one())
            .collect::<Result<_>>()
            .with_context(|| format!("{} cannot listen on {}", self.name, self.address))
    }

    fn open_one(&self) -> Result<Socket> {
        let domain = Domain::for_address(self.address);
        let socket = Socket::new(domain, Type::STREAM, Some(protocol(self.mptcp)))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(self.reuseport)?;
        if domain == Domain::IPV6 && self.v6only {
            socket.set_only_v6(true)?;
        }
        if self.transparent {
            socket.set_ip_transparent_v4(true)?;
        }
        if let Some(device) = &self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.bind(&SockAddr::from(self.address))?;
        socket.listen(i32::try_from(self.backlog)?)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// TCP, with more than one path or without.
pub(crate) fn protocol(mptcp: bool) -> Protocol {
    if mptcp {
        Protocol::MPTCP
    } else {
        Protocol::TCP
    }
}

/// What a server says about its listeners once they are open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Name of the server.
    pub(crate) name: String,
    /// Process that listens.
    pub(crate) pid: u32,
    /// Process that accepts, if another.
    pub(crate) heir: Option<u32>,
    /// Its listeners, in the order they were opened.
    pub(crate) listeners: Vec<Opened>,
}

/// One listener, as its owner sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// Inode number of the socket.
    pub(crate) inode: u64,
    /// Where it is bound.
    pub(crate) address: IpAddr,
    /// Its port.
    pub(crate) port: u16,
    /// Takes no IPv4.
    pub(crate) v6only: bool,
}

impl Opened {
    /// Asks the socket itself.
    pub(crate) fn of(socket: &Socket) -> Result<Self> {
        let address = socket.local_addr()?;
        let address = address.as_socket().context("not an Internet socket")?;
        Ok(Self {
            inode: inode(socket)?,
            address: address.ip(),
            port: address.port(),
            v6only: address.is_ipv6() && only_v6(socket)?,
        })
    }
}

/// Before 5.16 a socket for MPTCP does not tell this (c9406a23c116); it is off unless asked for.
fn only_v6(socket: &Socket) -> Result<bool> {
    match socket.only_v6() {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        answer => Ok(answer?),
    }
}

/// Inode number of a socket.
pub(crate) fn inode(socket: impl AsFd) -> Result<u64> {
    Ok(nix::sys::stat::fstat(socket)?.st_ino)
}
