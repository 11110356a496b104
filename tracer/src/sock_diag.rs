//! The sockets of this thread's namespace: from `sock_diag`, which any user may ask, or from
//! `/proc/net/tcp`.

use std::fs::File;

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use procfs::{
    FromReadSI as _,
    net::{TcpNetEntries, TcpNetEntry},
};

use crate::judge::rules::Protocol;

/// Every socket in one of these states, IPv4 before IPv6, in the order of the kernel's
/// tables. A local port other than 0 restricts them to it, in the kernel.
pub(crate) fn dump(
    protocol: Protocol,
    states: &StateFlags,
    port: u16,
    mut take: impl FnMut(&InetResponse),
) -> Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("cannot open a sock_diag socket")?;
    socket
        .bind_auto()
        .context("cannot bind a sock_diag socket")?;
    socket
        .connect(&SocketAddr::new(0, 0))
        .context("cannot reach sock_diag")?;
    for id in [SocketId::new_v4(), SocketId::new_v6()] {
        let id = SocketId {
            source_port: port,
            ..id
        };
        family(&socket, &request(protocol, states, id), &mut take)?;
    }
    Ok(())
}

fn family(socket: &Socket, request: &[u8], take: &mut impl FnMut(&InetResponse)) -> Result<()> {
    socket.send(request, 0).context("cannot ask sock_diag")?;
    loop {
        let (bytes, _) = socket
            .recv_from_full()
            .context("sock_diag does not answer")?;
        if read(&bytes, take)? {
            return Ok(());
        }
    }
}

/// Takes what a datagram tells; says whether it was the last one.
pub(crate) fn read(bytes: &[u8], take: &mut impl FnMut(&InetResponse)) -> Result<bool> {
    let mut at = 0;
    while at < bytes.len() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(&bytes[at..])
            .context("sock_diag gave an answer that cannot be read")?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                take(&response);
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => {
                bail!("sock_diag refused to list TCP sockets: {}", error.to_io());
            }
            _ => {}
        }
        let length = message.header.length as usize;
        if length == 0 {
            bail!("sock_diag gave an empty message");
        }
        at += length.next_multiple_of(4);
    }
    Ok(false)
}

fn request(protocol: Protocol, states: &StateFlags, socket_id: SocketId) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let family = if socket_id.source_address.is_ipv4() {
        AF_INET
    } else {
        AF_INET6
    };
    let mut message = NetlinkMessage::new(
        header,
        SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: match protocol {
                Protocol::Tcp => IPPROTO_TCP,
            },
            extensions: ExtensionFlags::empty(),
            states: states.clone(),
            socket_id,
        })
        .into(),
    );
    message.finalize();
    let mut bytes = vec![0; message.header.length as usize];
    message.serialize(&mut bytes);
    bytes
}

/// What `/proc` says of them, in whatever state they are.
pub(crate) fn proc_entries(protocol: Protocol) -> Result<Vec<TcpNetEntry>> {
    let files = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
    };
    let mut found = Vec::new();
    for name in files {
        let path = format!("/proc/thread-self/net/{name}");
        // A kernel without IPv6 has no tcp6.
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let entries = TcpNetEntries::from_read(file, procfs::current_system_info())
            .with_context(|| format!("cannot read {path}"))?;
        found.extend(entries.0);
    }
    Ok(found)
}
