//! Established connections of a namespace, as the kernel lists them.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::{Context as _, Result};
use netlink_packet_sock_diag::inet::{InetResponse, StateFlags};
use procfs::net::{TcpNetEntry, TcpState};

use crate::{
    event::Family,
    judge::rules::Protocol,
    namespaces::{self, Found},
    sock_diag::{self, proc_entries},
};

/// Above this many ports, one pass over all connections is cheaper than one per port.
const MOST_PORTS: usize = 4;

/// A connection, established or closed by the client only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Inode number of its namespace.
    pub netns: u32,
    /// This side, as the packets name it.
    pub local: SocketAddr,
    /// The other side.
    pub remote: SocketAddr,
    /// Family of the socket, which is that of the listener it came from.
    pub family: Family,
    /// Interface it is bound to, as the listener it came from was; 0 for none.
    pub device: u32,
    /// Inode number of the socket; 0 while no process has accepted it.
    pub inode: u64,
    /// Cookie; 0 where only `/proc` was there to ask.
    pub cookie: u64,
}

/// The connections of the namespace whose local port is one of these.
///
/// # Errors
/// If the namespace may not be entered, or neither `sock_diag` nor `/proc/net/tcp` can
/// be read.
pub fn connections(namespace: &Found, ports: BTreeSet<u16>) -> Result<Vec<Connection>> {
    let netns = namespace.inode;
    namespaces::within(&namespace.path, netns, move || {
        by_sock_diag(netns, &ports)
            .or_else(|error| by_proc(netns, &ports).with_context(|| format!("{error:#}")))
    })
}

fn by_sock_diag(netns: u32, ports: &BTreeSet<u16>) -> Result<Vec<Connection>> {
    let states = StateFlags::ESTABLISHED | StateFlags::CLOSE_WAIT;
    let mut found = Vec::new();
    let asked: Vec<u16> = if ports.len() > MOST_PORTS {
        vec![0]
    } else {
        ports.iter().copied().collect()
    };
    for port in asked {
        sock_diag::dump(Protocol::Tcp, &states, port, |response| {
            if ports.contains(&response.header.socket_id.source_port) {
                found.push(connection(netns, response));
            }
        })?;
    }
    Ok(found)
}

fn connection(netns: u32, response: &InetResponse) -> Connection {
    let id = &response.header.socket_id;
    let address = |address, port| SocketAddr::new(address, port);
    Connection {
        device: id.interface_id,
        inode: response.header.inode.into(),
        cookie: u64::from_ne_bytes(id.cookie),
        ..unbound(
            netns,
            address(id.source_address, id.source_port),
            address(id.destination_address, id.destination_port),
        )
    }
}

fn by_proc(netns: u32, ports: &BTreeSet<u16>) -> Result<Vec<Connection>> {
    let wanted = |entry: &TcpNetEntry| {
        matches!(entry.state, TcpState::Established | TcpState::CloseWait)
            && ports.contains(&entry.local_address.port())
    };
    let entries = proc_entries(Protocol::Tcp)?.into_iter().filter(wanted);
    let connections = entries.map(|entry| Connection {
        inode: entry.inode,
        ..unbound(netns, entry.local_address, entry.remote_address)
    });
    Ok(connections.collect())
}

fn unbound(netns: u32, local: SocketAddr, remote: SocketAddr) -> Connection {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    Connection {
        netns,
        local: canonical(local),
        remote: canonical(remote),
        family: Family::of(local.ip()),
        device: 0,
        inode: 0,
        cookie: 0,
    }
}
