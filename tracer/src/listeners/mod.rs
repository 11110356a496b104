//! The listening sockets that are there, per namespace: from `sock_diag`, or from
//! `/proc/net/tcp` where the kernel has no `inet_diag`.

use anyhow::{Context as _, Result};
use netlink_packet_sock_diag::inet::{InetResponse, StateFlags, nlas::Nla};
use procfs::net::TcpState;
use rustc_hash::FxHashSet;

#[cfg(test)]
mod bad_input;
pub mod chain;
pub mod connections;

use crate::{
    event::Queue,
    judge::rules::{Bound, Protocol},
    namespaces::{self, Found},
    sock_diag::{self, proc_entries},
};

/// A listening socket as `sock_diag` tells it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listening {
    /// Where it is bound.
    pub bound: Bound,
    /// Inode number of the socket; 0 for a kernel socket.
    pub inode: u64,
    /// Cookie; 0 where only `/proc` was there to ask.
    pub cookie: u64,
    /// Owner of the socket, as seen from its namespace.
    pub uid: u32,
    /// Its accept queue.
    pub queue: Queue,
    /// Whether device, `v6only`, cookie and queue are known: `/proc` tells none of them.
    pub complete: bool,
}

/// What was found, and what could not be asked.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Listening TCP sockets of every namespace; within a namespace and a family in the
    /// order of the dump, which is that of the kernel's chains (`inet_diag_dump_icsk`,
    /// `net/ipv4/inet_diag.c`).
    pub listeners: Vec<Listening>,
    /// Namespaces that were asked, by inode number.
    pub asked: FxHashSet<u32>,
    /// Those that could not be asked.
    pub refused: Vec<Found>,
    /// Why some could not be asked.
    pub problems: Vec<String>,
}

impl Inventory {
    /// Adds what was found elsewhere.
    pub fn extend(&mut self, other: Self) {
        self.listeners.extend(other.listeners);
        self.asked.extend(other.asked);
        self.refused.extend(other.refused);
        self.problems.extend(other.problems);
        self.problems.dedup();
    }
}

/// Listening sockets of every namespace there is. A dump also makes the kernel give
/// each socket its cookie.
#[must_use]
pub fn inventory() -> Inventory {
    inventory_of(namespaces::all())
}

/// Listening sockets of these namespaces. An ordinary user may ask its own only.
#[must_use]
pub fn inventory_of(namespaces: Vec<Found>) -> Inventory {
    let mut inventory = Inventory::default();
    for found in namespaces {
        let here = || of_this_namespace(found.inode);
        match namespaces::within(&found.path, found.inode, here) {
            Ok(listeners) => {
                inventory.asked.insert(found.inode);
                inventory.listeners.extend(listeners);
            }
            Err(error) => {
                let problem = format!("{error:#}");
                if !inventory.problems.contains(&problem) {
                    inventory.problems.push(problem);
                }
                inventory.refused.push(found);
            }
        }
    }
    inventory
}

/// Listening sockets of this thread's namespace, whose inode number is given; ordered as
/// [`Inventory::listeners`].
///
/// # Errors
/// If neither `sock_diag` nor `/proc` answers.
pub fn of_this_namespace(netns: u32) -> Result<Vec<Listening>> {
    let mut listeners = by_sock_diag(Protocol::Tcp)
        .or_else(|error| by_proc(Protocol::Tcp).with_context(|| format!("{error:#}")))?;
    for listener in &mut listeners {
        listener.bound.netns = netns;
    }
    Ok(listeners)
}

/// What `/proc` says of the namespace of this thread. The kernel gives no cookies here.
fn by_proc(protocol: Protocol) -> Result<Vec<Listening>> {
    let entries = proc_entries(protocol)?.into_iter();
    let listening = entries.filter(|entry| entry.state == TcpState::Listen);
    let listeners = listening.map(|entry| Listening {
        // In a namespace yet to be named.
        bound: Bound {
            protocol,
            ..Bound::to(0, entry.local_address.ip(), entry.local_address.port())
        },
        inode: entry.inode,
        cookie: 0,
        uid: entry.uid,
        queue: Queue {
            length: entry.rx_queue,
            limit: 0,
        },
        complete: false,
    });
    Ok(listeners.collect())
}

fn by_sock_diag(protocol: Protocol) -> Result<Vec<Listening>> {
    let mut listeners = Vec::new();
    sock_diag::dump(protocol, &StateFlags::LISTEN, 0, |response| {
        listeners.push(listening(protocol, response));
    })?;
    Ok(listeners)
}

fn listening(protocol: Protocol, response: &InetResponse) -> Listening {
    let header = &response.header;
    let id = &header.socket_id;
    let v6only = |nla: &Nla| matches!(nla, Nla::SkV6Only(true));
    Listening {
        bound: Bound {
            protocol,
            device: id.interface_id,
            v6only: response.nlas.iter().any(v6only),
            ..Bound::to(0, id.source_address, id.source_port)
        },
        inode: header.inode.into(),
        cookie: u64::from_ne_bytes(id.cookie),
        uid: header.uid,
        // For a listener these are the accept queue and its limit (`inet_sk_diag_fill`).
        queue: Queue {
            length: header.recv_queue,
            limit: header.send_queue,
        },
        complete: true,
    }
}
