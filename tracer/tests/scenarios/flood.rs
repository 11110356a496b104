//! SYNs by the thousand, made by hand, as fast as this guest can send them. Their senders are
//! nowhere: nobody takes what the kernel answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::kernel::command;
use crate::segments;

/// Clients are here.
const NOWHERE: &str = "198.51.100.0/24";
/// Each has so many ports, from the first on.
const PORTS: u32 = 50_000;
const FIRST_PORT: u32 = 10_000;
/// As many send as there are processors.
const SENDERS: usize = 2;

/// An IPv4 header and a SYN.
type Packet = [u8; 40];

/// Has answers to the clients end on loopback. They come in again there, and no socket is theirs.
/// The kernel answers them with no RST, which would take a request away again, since their way is
/// none to an address of its own (`tcp_v4_send_reset`).
pub(crate) fn lead_nowhere() -> Result<()> {
    command(&["ip", "route", "add", NOWHERE, "dev", "lo"]).map(drop)
}

/// SYNs that are ready to be sent, each from another address and port.
pub(crate) struct Flood {
    to: SocketAddrV4,
    packets: Vec<Packet>,
}

impl Flood {
    /// So many, after those of a flood before.
    pub(crate) fn of(count: u32, before: u32, to: &str) -> Result<Self> {
        let to: SocketAddrV4 = to.parse().context("no IPv4 address with a port")?;
        let packets = (before..before + count).map(|nth| packet(nth, to));
        Ok(Self {
            to,
            packets: packets.collect(),
        })
    }

    /// Begins to send them, from every processor.
    pub(crate) fn begin(self) -> Vec<JoinHandle<Result<()>>> {
        let share = self.packets.len().div_ceil(SENDERS);
        let shares = self.packets.chunks(share.max(1));
        let to = self.to;
        shares
            .map(|packets| {
                let packets = packets.to_vec();
                std::thread::spawn(move || send(&packets, to))
            })
            .collect()
    }

    /// Sends them all.
    pub(crate) fn send(self) -> Result<()> {
        sent(self.begin())
    }
}

/// Waits until all are sent.
pub(crate) fn sent(senders: Vec<JoinHandle<Result<()>>>) -> Result<()> {
    senders.into_iter().try_for_each(|sender| {
        let sent = sender.join();
        sent.map_err(|_| anyhow::anyhow!("a sender panicked"))?
    })
}

fn send(packets: &[Packet], to: SocketAddrV4) -> Result<()> {
    // With this protocol the kernel takes the header as it is.
    let raw = Some(Protocol::from(libc::IPPROTO_RAW));
    let socket = Socket::new(Domain::IPV4, Type::from(libc::SOCK_RAW), raw)?;
    let to = SockAddr::from(SocketAddrV4::new(*to.ip(), 0));
    for packet in packets {
        socket.send_to(packet, &to).context("cannot send a SYN")?;
    }
    Ok(())
}

fn packet(nth: u32, to: SocketAddrV4) -> Packet {
    let source = Ipv4Addr::new(198, 51, 100, 1 + (nth / PORTS) as u8);
    let port = (FIRST_PORT + nth % PORTS) as u16;
    let tcp = segments::segment(IpAddr::V4(source), port, SocketAddr::V4(to), segments::SYN);
    let mut packet = [0; 40];
    // Version and length of the header; the kernel adds the length of all, and the checksum.
    packet[0] = 0x45;
    packet[6] = 0x40; // not to be fragmented
    packet[8] = 64; // time to live
    packet[9] = libc::IPPROTO_TCP as u8;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    packet[20..].copy_from_slice(&tcp);
    packet
}
