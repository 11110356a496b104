//! TCP segments made by hand and sent through a raw socket.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// Flag combinations that are no connection attempt.
pub(crate) const STRAY: [(&str, u8); 9] = [
    ("ACK", ACK),
    ("RST", RST),
    ("FIN", FIN),
    ("SYN+FIN", SYN | FIN),
    ("Xmas", FIN | PSH | URG),
    ("SYN+RST", SYN | RST),
    ("SYN+ACK", SYN | ACK),
    ("null", 0),
    ("data", PSH | ACK),
];

/// A raw socket that sends TCP segments from one address.
pub(crate) struct Sender {
    socket: Socket,
    source: IpAddr,
}

impl Sender {
    /// Sends from this address.
    pub(crate) fn new(source: IpAddr) -> Result<Self> {
        let address = SocketAddr::new(source, 0);
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::from(libc::SOCK_RAW), Some(Protocol::TCP))
            .context("cannot open a raw socket")?;
        socket.bind(&SockAddr::from(address))?;
        Ok(Self { socket, source })
    }

    /// Sends one segment.
    pub(crate) fn send(&self, port: u16, destination: SocketAddr, flags: u8) -> Result<()> {
        let segment = segment(self.source, port, destination, flags);
        // A raw IPv6 socket takes no port.
        let to = SockAddr::from(SocketAddr::new(destination.ip(), 0));
        self.socket
            .send_to(&segment, &to)
            .context("cannot send a segment")?;
        Ok(())
    }
}

/// A segment without options and data.
pub(crate) fn segment(source: IpAddr, port: u16, destination: SocketAddr, flags: u8) -> [u8; 20] {
    let mut tcp = [0; 20];
    tcp[..2].copy_from_slice(&port.to_be_bytes());
    tcp[2..4].copy_from_slice(&destination.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
    tcp[8..12].copy_from_slice(&0x0bad_cafe_u32.to_be_bytes());
    tcp[12] = 5 << 4; // header length in words
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&1024_u16.to_be_bytes());
    let sum = checksum(source, destination.ip(), &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    tcp
}

/// RFC 9293: over the addresses, the protocol, the length and the segment.
fn checksum(source: IpAddr, destination: IpAddr, tcp: &[u8]) -> u16 {
    let octets = |address| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let mut bytes = octets(source);
    bytes.extend(octets(destination));
    bytes.extend([0, 6]);
    bytes.extend((tcp.len() as u16).to_be_bytes());
    bytes.extend(tcp);
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A counter of this thread's namespace from `/proc/net/snmp`, as `Tcp: InSegs`.
pub(crate) fn tcp_counter(name: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next(), lines.next());
    let (names, values) = names.zip(values).context("no TCP counters")?;
    let at = names.split(' ').position(|other| other == name);
    let value = at.and_then(|at| values.split(' ').nth(at));
    value
        .context("no such counter")?
        .parse()
        .context("no number")
}
