//! What the servers say about their listeners: the ground truth.

use std::net::{IpAddr, SocketAddr};

use crate::server::Server;

/// One listening socket.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    /// Namespace.
    pub(crate) netns: u64,
    /// Server's name: the `comm` of its process.
    pub(crate) name: String,
    /// Process that opened it.
    pub(crate) pid: u32,
    /// Processes that hold it as well.
    pub(crate) heirs: Vec<u32>,
    /// Inode number.
    pub(crate) inode: u64,
    /// Where it is bound.
    pub(crate) address: SocketAddr,
    /// Takes no IPv4.
    pub(crate) v6only: bool,
    /// Interface it is bound to.
    pub(crate) device: Option<String>,
    /// Argument of `listen()`.
    pub(crate) backlog: u32,
    /// Is in a reuseport group.
    pub(crate) reuseport: bool,
    /// Tells its group from earlier ones that were bound alike, where there were any.
    pub(crate) generation: u64,
}

/// The kernel puts two reuseport sockets of one user into one group if these agree.
pub(crate) type GroupKey = (u64, SocketAddr, bool, Option<String>, u64);

impl Socket {
    /// The group it belongs to, if it is in one.
    pub(crate) fn group(&self) -> GroupKey {
        let device = self.device.clone();
        (
            self.netns,
            self.address,
            self.v6only,
            device,
            self.generation,
        )
    }

    /// How a packet for `destination` fits it, as `match` says it.
    pub(crate) fn fits(&self, destination: SocketAddr) -> &'static str {
        let bound = self.address.ip();
        if destination.port() != self.address.port() {
            return "none";
        }
        match (bound, destination.ip()) {
            (bound, wanted) if bound.to_canonical() == wanted.to_canonical() => "exact",
            (IpAddr::V4(bound), IpAddr::V4(_)) if bound.is_unspecified() => "wildcard",
            (IpAddr::V6(bound), IpAddr::V6(_)) if bound.is_unspecified() => "wildcard",
            (IpAddr::V6(bound), IpAddr::V4(_)) if bound.is_unspecified() => "dual_stack",
            _ => "none",
        }
    }

    /// As `listener.family` says it.
    pub(crate) fn family(&self) -> &'static str {
        if self.address.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        }
    }
}

/// All listening sockets at one time, each group in the kernel's order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// In the order they were opened.
    pub(crate) sockets: Vec<Socket>,
}

impl Truth {
    /// What these servers say, in the order they were started.
    pub(crate) fn of(servers: &[&Server]) -> Self {
        let sockets = servers.iter().flat_map(|server| {
            let hello = &server.hello;
            hello.listeners.iter().map(|opened| Socket {
                netns: server.netns,
                name: hello.name.clone(),
                pid: hello.pid,
                heirs: hello.heir.into_iter().collect(),
                inode: opened.inode,
                address: SocketAddr::new(opened.address, opened.port),
                v6only: opened.v6only,
                device: server.listen.device.clone(),
                backlog: server.listen.backlog,
                reuseport: server.listen.reuseport,
                generation: 0,
            })
        });
        Self {
            sockets: sockets.collect(),
        }
    }

    /// The socket with this inode.
    pub(crate) fn socket(&self, inode: u64) -> Option<&Socket> {
        self.sockets.iter().find(|socket| socket.inode == inode)
    }

    /// A socket was closed: the last member of its group moves to its place.
    pub(crate) fn close(&mut self, inode: u64) {
        let Some(at) = self.sockets.iter().position(|s| s.inode == inode) else {
            return;
        };
        let group = self.sockets[at].group();
        let last = self.sockets.iter().rposition(|s| s.group() == group);
        let last = last.unwrap_or(at);
        self.sockets.swap(at, last);
        self.sockets.remove(last);
    }

    /// Members of the group of a socket, and its place among them.
    pub(crate) fn place(&self, socket: &Socket) -> (u16, u16) {
        let group = socket.group();
        let members = self
            .sockets
            .iter()
            .filter(|s| s.reuseport && s.group() == group);
        let inodes: Vec<u64> = members.map(|s| s.inode).collect();
        let place = inodes.iter().position(|inode| *inode == socket.inode);
        (inodes.len() as u16, place.unwrap_or(inodes.len()) as u16)
    }
}
