//! Asks rtnetlink, of this thread's network namespace: for lists, and for a single answer.
#![forbid(unsafe_code)]

use std::io;

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Every message of the answer to a request for a list.
///
/// # Errors
/// If rtnetlink does not answer, refuses, or says what cannot be read.
pub fn dump(request: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
    let socket = sent(request, NLM_F_REQUEST | NLM_F_DUMP)?;
    let mut told = Vec::new();
    loop {
        for payload in received(&socket)? {
            match payload {
                NetlinkPayload::InnerMessage(inner) => told.push(inner),
                NetlinkPayload::Done(_) => return Ok(told),
                NetlinkPayload::Error(error) => bail!("rtnetlink refused: {}", error.to_io()),
                _ => {}
            }
        }
    }
}

/// The answer to a request for one thing; the kernel's error is an answer too.
///
/// # Errors
/// If rtnetlink does not answer, or says what cannot be read.
pub fn ask(request: RouteNetlinkMessage) -> Result<io::Result<RouteNetlinkMessage>> {
    let socket = sent(request, NLM_F_REQUEST)?;
    loop {
        for payload in received(&socket)? {
            match payload {
                NetlinkPayload::InnerMessage(inner) => return Ok(Ok(inner)),
                NetlinkPayload::Error(error) => return Ok(Err(error.to_io())),
                _ => {}
            }
        }
    }
}

fn sent(request: RouteNetlinkMessage, flags: u16) -> Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE).context("cannot open an rtnetlink socket")?;
    socket
        .bind_auto()
        .context("cannot bind an rtnetlink socket")?;
    socket
        .connect(&SocketAddr::new(0, 0))
        .context("cannot reach rtnetlink")?;
    socket
        .send(&bytes(request, flags), 0)
        .context("cannot ask rtnetlink")?;
    Ok(socket)
}

/// The messages of one datagram.
fn received(socket: &Socket) -> Result<Vec<NetlinkPayload<RouteNetlinkMessage>>> {
    let (bytes, _) = socket
        .recv_from_full()
        .context("rtnetlink does not answer")?;
    messages(&bytes)
}

fn messages(bytes: &[u8]) -> Result<Vec<NetlinkPayload<RouteNetlinkMessage>>> {
    let mut payloads = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes[at..])
            .context("rtnetlink gave an answer that cannot be read")?;
        let length = message.header.length as usize;
        if length == 0 {
            bail!("rtnetlink gave an empty message");
        }
        payloads.push(message.payload);
        at += length.next_multiple_of(4);
    }
    Ok(payloads)
}

fn bytes(request: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.header.length as usize];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod bad_input;
