//! Measures `struct sock` and what it points to.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use log::debug;
use nix::unistd::{Uid, setfsuid};
use socket2::{Domain, Protocol, Socket, Type};
use sockpick_ebpf::abi::{ABSENT, Offsets};

use super::{
    finding::{common, is_address, number, only, places},
    peeker::{Peeker, Seen},
};
use crate::probes::trial::{LOOK_INTERVAL, LOOKS, attach_filter};

const AF_INET: u64 = 2;
const TCP_LISTEN: u64 = 10;
/// Limits of accept queues: all below the lowest default of `net.core.somaxconn` (128).
const LIMITS: [u8; 4] = [101, 113, 89, 67];
/// User ids that nothing else in a socket looks like.
const USERS: [u32; 2] = [0x0051_7a31, 0x0047_1b97];
/// The same for `SO_INCOMING_CPU`.
const CPUS: [u32; 2] = [0x3a17, 0x2b59];
/// Connections that wait in a queue.
const WAITING: u64 = 3;
const MEMBERS: u64 = 3;

/// A listener, and the kernel's structure of it.
struct Known {
    socket: Socket,
    cookie: Option<u64>,
    seen: Seen,
}

pub(super) fn measure(peeker: &mut Peeker, netns: u32, offsets: &mut Offsets) -> Result<()> {
    // accept() on a listener without connections comes by here and changes nothing.
    peeker.attach("inet_csk_accept", 0)?;
    let mut listeners = Vec::new();
    for limit in LIMITS {
        listeners.push(known(peeker, listener(limit, |_| Ok(()))?)?);
    }
    let first = listeners.first().context("no listener")?;
    table(&listeners, offsets)?;
    namespace(peeker, first, netns, offsets)?;
    offsets.sk_cookie = found("skc_cookie", cookie(&listeners));
    offsets.sk_v6_rcv_saddr = found("skc_v6_rcv_saddr", ipv6(peeker)?);
    let limits = listeners.iter().zip(LIMITS);
    let limits: Vec<(&[u8], u64)> = limits
        .map(|(known, limit)| (&known.seen.bytes[..], limit.into()))
        .collect();
    offsets.sk_max_ack_backlog = found("sk_max_ack_backlog", common::<4>(&limits));
    offsets.sk_ack_backlog = found("sk_ack_backlog", queue(peeker, &listeners)?);
    offsets.sk_uid = found("sk_uid", users(peeker)?);
    offsets.sk_incoming_cpu = found("skc_incoming_cpu", cpus(peeker)?);
    inode(peeker, &listeners, offsets)?;
    group(peeker, first, offsets)
}

/// What was found, or that the field is absent.
fn found(name: &str, offset: Option<u16>) -> u16 {
    offset.unwrap_or_else(|| {
        debug!("{name} was not found");
        ABSENT
    })
}

fn listener(limit: u8, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> Result<Socket> {
    listener_at((Ipv4Addr::LOCALHOST, 0).into(), limit, prepare)
}

fn listener_at(
    address: SocketAddr,
    limit: u8,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(limit.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Has the kernel come by the listener: a connection that waits is taken.
pub(super) fn touch(socket: &Socket) -> Result<()> {
    match socket.accept() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error).context("cannot accept"),
    }
}

fn known(peeker: &mut Peeker, socket: Socket) -> Result<Known> {
    // The kernel gives it one when it is asked for; the option is of 4.12.
    let cookie = socket.cookie().ok();
    let seen = peeker.look(|| touch(&socket))?;
    Ok(Known {
        socket,
        cookie,
        seen,
    })
}

fn local(socket: &Socket) -> Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.context("a socket without address")
}

/// Whether the table holds.
fn table(listeners: &[Known], offsets: &Offsets) -> Result<()> {
    let address = u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets());
    for Known { socket, seen, .. } in listeners {
        let port = local(socket)?.port();
        let bytes = &seen.bytes;
        for (name, found, value) in [
            (
                "family",
                number::<2>(bytes, offsets.sk_family.into()),
                AF_INET,
            ),
            (
                "state",
                number::<1>(bytes, offsets.sk_state.into()),
                TCP_LISTEN,
            ),
            (
                "num",
                number::<2>(bytes, offsets.sk_num.into()),
                port.into(),
            ),
            (
                "rcv_saddr",
                number::<4>(bytes, offsets.sk_rcv_saddr.into()),
                address.into(),
            ),
        ] {
            ensure!(
                found == Some(value),
                "skc_{name} is not where it always was"
            );
        }
    }
    Ok(())
}

/// `skc_net`, and `inum` of the namespace that it points to.
fn namespace(peeker: &mut Peeker, known: &Known, netns: u32, offsets: &mut Offsets) -> Result<()> {
    let mut fits = Vec::new();
    for (at, address) in pointers(&known.seen) {
        let seen = peeker.look_at(address, || touch(&known.socket))?;
        if let Some(inum) = only(places::<4>(&seen.bytes, |value| value == u64::from(netns))) {
            fits.push((at, inum));
        }
    }
    let [(net, inum)] = fits.as_slice() else {
        bail!("skc_net was not found: {} fields fit", fits.len());
    };
    (offsets.sk_net, offsets.net_inum) = (*net, *inum);
    Ok(())
}

/// Fields that may be pointers, with their values.
fn pointers(seen: &Seen) -> impl Iterator<Item = (u16, u64)> {
    places::<8>(&seen.bytes, is_address)
        .filter_map(|at| Some((u16::try_from(at).ok()?, number::<8>(&seen.bytes, at)?)))
}

fn cookie(listeners: &[Known]) -> Option<u16> {
    let cookies = listeners.iter();
    let cookies: Option<Vec<(&[u8], u64)>> = cookies
        .map(|known| Some((&known.seen.bytes[..], known.cookie?)))
        .collect();
    common::<8>(&cookies?)
}

/// `::1` in a listener that is bound to it. IPv6 may be switched off.
fn ipv6(peeker: &mut Peeker) -> Result<Option<u16>> {
    let Ok(socket) = listener_at((Ipv6Addr::LOCALHOST, 0).into(), 1, |_| Ok(())) else {
        return Ok(None);
    };
    let seen = known(peeker, socket)?.seen;
    let address = Ipv6Addr::LOCALHOST.octets();
    let fits = |at: &usize| seen.bytes.get(*at..).and_then(<[u8]>::first_chunk) == Some(&address);
    Ok(only((0..seen.bytes.len()).step_by(4).filter(fits)))
}

/// Length of the accept queue: a number that only the listener has whose connections wait.
fn queue(peeker: &mut Peeker, listeners: &[Known]) -> Result<Option<u16>> {
    let socket = listener(LIMITS[0], |_| Ok(()))?;
    let address = local(&socket)?;
    let mut clients = Vec::new();
    for _ in 0..WAITING {
        let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        client.connect(&address.into())?;
        clients.push(client);
    }
    arrived(&socket, WAITING)?;
    // Each look takes one.
    let (full, less) = (known(peeker, socket)?, WAITING - 1);
    let again = peeker.look(|| touch(&full.socket))?;
    let mut samples: Vec<(&[u8], u64)> = vec![(&full.seen.bytes, WAITING), (&again.bytes, less)];
    samples.extend(listeners.iter().map(|known| (&known.seen.bytes[..], 0)));
    Ok(common::<4>(&samples))
}

/// Waits until so many connections are in the queue: the last ACK of one may be processed after
/// `connect()` returned.
fn arrived(listener: &Socket, connections: u64) -> Result<()> {
    // SAFETY: integers only, for which zero is valid.
    let empty: libc::tcp_info = unsafe { std::mem::zeroed() };
    for _ in 0..LOOKS {
        // Of a listener, the kernel gives the queue in this field (`tcp_get_info`,
        // net/ipv4/tcp.c).
        let info = tcp_option(listener, libc::TCP_INFO, empty)?;
        if u64::from(info.tcpi_unacked) == connections {
            return Ok(());
        }
        thread::sleep(LOOK_INTERVAL);
    }
    bail!("connections over loopback do not arrive")
}

/// An option of TCP that is made of integers: `value`, as far as the kernel filled it.
pub(super) fn tcp_option<T>(socket: &Socket, name: i32, mut value: T) -> io::Result<T> {
    let mut size = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has room for `size` bytes, and integers may have any.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            name,
            (&raw mut value).cast(),
            &raw mut size,
        )
    };
    if result == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Owner: sockets made under different file system user ids.
fn users(peeker: &mut Peeker) -> Result<Option<u16>> {
    let mut seen = Vec::new();
    for user in USERS {
        let own = setfsuid(Uid::from_raw(user));
        let socket = listener(1, |_| Ok(()));
        setfsuid(own);
        seen.push(known(peeker, socket?)?.seen);
    }
    let samples = seen.iter().zip(USERS);
    let samples: Vec<(&[u8], u64)> = samples
        .map(|(seen, user)| (&seen.bytes[..], user.into()))
        .collect();
    Ok(common::<4>(&samples))
}

fn cpus(peeker: &mut Peeker) -> Result<Option<u16>> {
    let mut seen = Vec::new();
    for cpu in CPUS {
        let socket = listener(1, |socket| socket.set_cpu_affinity(cpu as usize))?;
        seen.push(known(peeker, socket)?.seen);
    }
    let samples = seen.iter().zip(CPUS);
    let samples: Vec<(&[u8], u64)> = samples
        .map(|(seen, cpu)| (&seen.bytes[..], cpu.into()))
        .collect();
    Ok(common::<4>(&samples))
}

/// `sk_socket`, and from there the inode number.
fn inode(peeker: &mut Peeker, listeners: &[Known], offsets: &mut Offsets) -> Result<()> {
    let mut fits: Option<Vec<(u16, u16)>> = None;
    for known in listeners {
        let inode = nix::sys::stat::fstat(&known.socket)?.st_ino;
        let mut here = Vec::new();
        for (at, address) in pointers(&known.seen) {
            let seen = peeker.look_at(address, || touch(&known.socket))?;
            let back = places::<8>(&seen.bytes[..128], |value| value == known.seen.address);
            if back.count() == 0 {
                continue;
            }
            let numbers = places::<8>(&seen.bytes, |value| value == inode);
            here.extend(numbers.filter_map(|number| Some((at, u16::try_from(number).ok()?))));
        }
        fits = Some(match fits {
            None => here,
            Some(before) => before
                .into_iter()
                .filter(|fit| here.contains(fit))
                .collect(),
        });
    }
    (offsets.sk_socket, offsets.socket_ino) = (ABSENT, ABSENT);
    if let Some([(socket, inode)]) = fits.as_deref() {
        (offsets.sk_socket, offsets.socket_ino) = (*socket, *inode);
    } else {
        debug!("sk_socket was not found");
    }
    Ok(())
}

/// `sk_reuseport_cb` and `struct sock_reuseport`: a pointer that the members of a group have in
/// common, that a socket of its own has not, and that leads to a list of the members.
fn group(peeker: &mut Peeker, alone: &Known, offsets: &mut Offsets) -> Result<()> {
    (offsets.sk_reuseport_cb, offsets.reuse_num_socks) = (ABSENT, ABSENT);
    (offsets.reuse_prog, offsets.reuse_socks) = (ABSENT, ABSENT);
    let mut members: Vec<Known> = Vec::new();
    for _ in 0..MEMBERS {
        members.push(join(peeker, &members)?);
    }
    let Some(first) = members.first() else {
        return Ok(());
    };
    let cb = pointers(&first.seen).find_map(|(at, address)| {
        let here = |known: &Known| number::<8>(&known.seen.bytes, at.into());
        let theirs =
            here(alone) == Some(0) && members.iter().all(|known| here(known) == Some(address));
        theirs.then_some((at, address))
    });
    let Some((at, address)) = cb else {
        debug!("sk_reuseport_cb was not found");
        return Ok(());
    };
    let before = peeker.look_at(address, || touch(&first.socket))?;
    let list: Vec<u64> = members.iter().map(|known| known.seen.address).collect();
    let another = join(peeker, &members)?;
    let after = peeker.look_at(address, || touch(&first.socket))?;
    attach_filter(&first.socket, 0).context("cannot attach a filter to the group")?;
    let with = peeker.look_at(address, || touch(&first.socket))?;
    drop(another);
    let Some(socks) = list_of(&before, &list) else {
        debug!("sock_reuseport.socks was not found");
        return Ok(());
    };
    // Before the list: counts, then the program.
    let head = |seen: &'_ Seen| seen.bytes[..usize::from(socks)].to_vec();
    let (before, after, with) = (head(&before), head(&after), head(&with));
    let count = common::<2>(&[(&before, MEMBERS), (&after, MEMBERS + 1)]);
    let prog = places::<8>(&after, |value| value == 0)
        .filter(|at| number::<8>(&with, *at).is_some_and(is_address));
    let (Some(count), Some(prog)) = (count, only(prog)) else {
        debug!("sock_reuseport: num_socks {count:?} or prog was not found");
        return Ok(());
    };
    offsets.sk_reuseport_cb = at;
    offsets.reuse_num_socks = count;
    offsets.reuse_prog = prog;
    offsets.reuse_socks = socks;
    Ok(())
}

/// A further member of the group.
fn join(peeker: &mut Peeker, members: &[Known]) -> Result<Known> {
    let address = match members.first() {
        Some(first) => local(&first.socket)?,
        None => (Ipv4Addr::LOCALHOST, 0).into(),
    };
    let socket = listener_at(address, 1, |socket| socket.set_reuse_port(true))?;
    known(peeker, socket)
}

/// Where these addresses stand one after the other.
fn list_of(seen: &Seen, list: &[u64]) -> Option<u16> {
    let here = |&at: &usize| {
        let mut nth = list.iter().enumerate();
        nth.all(|(nth, address)| number::<8>(&seen.bytes, at + nth * 8) == Some(*address))
    };
    only((0..seen.bytes.len()).step_by(8).filter(here))
}
