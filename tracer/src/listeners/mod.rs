//! The listening sockets that are there, per namespace: from `sock_diag`, or from
//! `/proc/net/tcp` where the kernel has no `inet_diag`.

use std::{fs::File, net::IpAddr};

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use procfs::{
    FromReadSI as _,
    net::{TcpNetEntries, TcpState},
};

use crate::{
    event::{Family, Queue},
    judge::rules::{self, Bound},
    namespaces,
};

/// A listening socket as `sock_diag` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Namespaces that were asked.
    pub namespaces: usize,
    /// Why some could not be asked.
    pub problems: Vec<String>,
}

/// Listening sockets of every namespace there is. A dump also makes the kernel give
/// each socket its cookie.
#[must_use]
pub fn inventory() -> Inventory {
    let mut inventory = Inventory::default();
    for found in namespaces::all() {
        let here = || of_this_namespace(found.inode);
        match namespaces::within(&found.path, found.inode, here) {
            Ok(listeners) => {
                inventory.namespaces += 1;
                inventory.listeners.extend(listeners);
            }
            Err(error) => {
                let problem = format!("{error:#}");
                if !inventory.problems.contains(&problem) {
                    inventory.problems.push(problem);
                }
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
    let mut listeners =
        by_sock_diag().or_else(|error| by_proc().with_context(|| format!("{error:#}")))?;
    for listener in &mut listeners {
        listener.bound.netns = netns;
    }
    Ok(listeners)
}

/// What `/proc` says of the namespace of this thread. The kernel gives no cookies here.
fn by_proc() -> Result<Vec<Listening>> {
    let mut listeners = Vec::new();
    for name in ["tcp", "tcp6"] {
        let path = format!("/proc/thread-self/net/{name}");
        // A kernel without IPv6 has no tcp6.
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let entries = TcpNetEntries::from_read(file, procfs::current_system_info())
            .with_context(|| format!("cannot read {path}"))?;
        let listening = entries
            .0
            .into_iter()
            .filter(|entry| entry.state == TcpState::Listen);
        listeners.extend(listening.map(|entry| Listening {
            bound: bound(entry.local_address.ip(), entry.local_address.port()),
            inode: entry.inode,
            cookie: 0,
            uid: entry.uid,
            queue: Queue {
                length: entry.rx_queue,
                limit: 0,
            },
            complete: false,
        }));
    }
    Ok(listeners)
}

fn by_sock_diag() -> Result<Vec<Listening>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("cannot open a sock_diag socket")?;
    socket
        .bind_auto()
        .context("cannot bind a sock_diag socket")?;
    socket
        .connect(&SocketAddr::new(0, 0))
        .context("cannot reach sock_diag")?;
    let mut listeners = Vec::new();
    for family in [AF_INET, AF_INET6] {
        dump(&socket, family, &mut listeners)?;
    }
    Ok(listeners)
}

fn dump(socket: &Socket, family: u8, listeners: &mut Vec<Listening>) -> Result<()> {
    socket
        .send(&request(family), 0)
        .context("cannot ask sock_diag")?;
    loop {
        let (bytes, _) = socket
            .recv_from_full()
            .context("sock_diag does not answer")?;
        let mut at = 0;
        while at < bytes.len() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(&bytes[at..])
                .context("sock_diag gave an answer that cannot be read")?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    listeners.push(listening(&response));
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => {
                    bail!("sock_diag refused to list TCP listeners: {}", error.to_io());
                }
                _ => {}
            }
            let length = message.header.length as usize;
            if length == 0 {
                bail!("sock_diag gave an empty message");
            }
            at += length.next_multiple_of(4);
        }
    }
}

fn listening(response: &InetResponse) -> Listening {
    let header = &response.header;
    let id = &header.socket_id;
    let v6only = |nla: &Nla| matches!(nla, Nla::SkV6Only(true));
    Listening {
        bound: Bound {
            device: id.interface_id,
            v6only: response.nlas.iter().any(v6only),
            ..bound(id.source_address, id.source_port)
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

/// In a namespace yet to be named.
fn bound(address: IpAddr, port: u16) -> Bound {
    Bound {
        netns: 0,
        address: rules::mapped(address),
        port,
        family: if address.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        },
        device: 0,
        v6only: false,
    }
}

fn request(family: u8) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let socket_id = if family == AF_INET {
        SocketId::new_v4()
    } else {
        SocketId::new_v6()
    };
    let mut message = NetlinkMessage::new(
        header,
        SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id,
        })
        .into(),
    );
    message.finalize();
    let mut bytes = vec![0; message.header.length as usize];
    message.serialize(&mut bytes);
    bytes
}
