//! Measures `struct sk_buff`: a SYN over loopback, of which ports, priority and sequence number
//! are known.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use log::debug;
use socket2::{Domain, Protocol, Socket, Type};
use sockpick_ebpf::abi::{ABSENT, Offsets};

use super::{
    finding::{is_address, number, only, places},
    peeker::{Peeker, Seen},
    sockets::{tcp_option, touch},
};
use crate::probes::trial::TRIES;

/// `SO_PRIORITY` of the connection: a value that nothing else in a packet has.
const PRIORITY: i32 = 0x3c5a_7e11;
/// Bytes of an IPv4 header without options, and of an Ethernet header.
const IP_HEADER: u64 = 20;
const ETHERNET_HEADER: u64 = 14;
/// Index of the loopback interface in a fresh namespace.
const LOOPBACK: u64 = 1;

pub(super) fn measure(peeker: &mut Peeker, offsets: &mut Offsets) -> Result<()> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    listener.listen(16)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let client = client()?;
    let port = client.local_addr()?.as_socket();
    let port_be = port.context("a socket without address")?.port().to_be();
    // `__inet_lookup_listener(net, hashinfo, skb, doff, saddr, sport, ...)` up to 6.17.
    peeker.attach("__inet_lookup_listener", 2)?;
    let connect = || {
        client
            .connect(&address)
            .context("cannot connect over loopback")
    };
    let seen = peeker.look_for((5, port_be), connect)?;
    headers(&seen, offsets).context("sk_buff.head was not found")?;
    offsets.skb_iif = interface(&seen).unwrap_or(ABSENT);
    offsets.skb_cb_seq = sequence(peeker, &listener)?.unwrap_or(ABSENT);
    Ok(())
}

/// Where the sequence number is, once it is read: in `tcp_conn_request`.
fn sequence(peeker: &mut Peeker, listener: &Socket) -> Result<Option<u16>> {
    let address = listener.local_addr()?;
    peeker.attach("inet_csk_accept", 0)?;
    let sk = peeker.look(|| touch(listener))?.address;
    // `tcp_conn_request(rsk_ops, af_ops, sk, skb)`. On a busy host another thread takes the
    // packet to the listener, and those for others come by; only half a listener's address
    // can be asked for.
    peeker.attach("tcp_conn_request", 3)?;
    for _ in 0..TRIES {
        let client = client()?;
        let connect = || {
            client
                .connect(&address)
                .context("cannot connect over loopback")
        };
        let seen = peeker.look_for((2, (sk & 0xffff) as u16), connect)?;
        match first_sequence(&client) {
            Ok(sequence) => {
                if let Some(at) = sequence_at(&seen, sequence) {
                    return Ok(Some(at));
                }
            }
            Err(error) => {
                debug!("the sequence number cannot be had: {error}");
                break;
            }
        }
    }
    Ok(None)
}

fn client() -> Result<Socket> {
    let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    set(&client, libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY)?;
    client.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(client)
}

/// `head` and `data`, told by where they lie to each other and to the offsets of the headers:
/// the packet is at the TCP layer, so `data` is at the transport header.
fn headers(seen: &Seen, offsets: &mut Offsets) -> Option<()> {
    let bytes = &seen.bytes;
    // The first that fits: behind the structure lie others, of earlier packets.
    for head in places::<8>(bytes, is_address) {
        let transport = number::<8>(bytes, head + 8)?.wrapping_sub(number::<8>(bytes, head)?);
        if transport < IP_HEADER + ETHERNET_HEADER || transport > u16::MAX.into() {
            continue;
        }
        let network = transport - IP_HEADER;
        // The offsets of the three headers stand in a row.
        let row = [transport, network, network - ETHERNET_HEADER];
        let is_row = |&at: &usize| {
            let mut row = row.iter().enumerate();
            row.all(|(nth, value)| number::<2>(bytes, at + 2 * nth) == Some(*value))
        };
        if let Some(row) = only((0..head).step_by(2).filter(is_row)) {
            let head = u16::try_from(head).ok()?;
            (offsets.skb_head, offsets.skb_data) = (head, head + 8);
            (offsets.skb_transport_header, offsets.skb_network_header) = (row, row + 2);
            return Some(());
        }
    }
    debug!("nothing fits sk_buff.head in {bytes:?}");
    None
}

/// `skb_iif` follows `priority` (include/linux/skbuff.h, 4.14 to 7.3).
fn interface(seen: &Seen) -> Option<u16> {
    let priority = u64::from(PRIORITY.cast_unsigned());
    let at = places::<4>(&seen.bytes, |value| value == priority).next()? + 4;
    let at = (number::<4>(&seen.bytes, at) == Some(LOOPBACK)).then_some(at)?;
    u16::try_from(at).ok()
}

/// `tcp_skb_cb.seq`, with `end_seq` behind it: one more for a SYN.
fn sequence_at(seen: &Seen, sequence: u32) -> Option<u16> {
    let end = u64::from(sequence.wrapping_add(1));
    let places = places::<4>(&seen.bytes, |value| value == u64::from(sequence));
    let mut in_a_row = places.filter(|&at| number::<4>(&seen.bytes, at + 4) == Some(end));
    // The control block comes before everything else that may have a copy.
    u16::try_from(in_a_row.next()?).ok()
}

/// Sequence number of the connection's SYN, as `TCP_REPAIR` tells it (3.5).
fn first_sequence(client: &Socket) -> io::Result<u32> {
    const TCP_SEND_QUEUE: i32 = 2;
    set(client, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1)?;
    set(
        client,
        libc::IPPROTO_TCP,
        libc::TCP_REPAIR_QUEUE,
        TCP_SEND_QUEUE,
    )?;
    let next: u32 = tcp_option(client, libc::TCP_QUEUE_SEQ, 0)?;
    // Left so, its end sends nothing.
    Ok(next.wrapping_sub(1))
}

fn set(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: an option of type int, given as one.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
