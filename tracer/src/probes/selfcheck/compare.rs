//! Compares what the programs said with what the self-check knows. The first
//! difference is told by the name of the field and of the kernel's member behind it.

use std::{fmt::Display, net::SocketAddr, path::Path};

use sockpick_ebpf::abi::{Listener, SynRecord, group_prog, steer};

use super::bench::{BACKLOG, Case, Expected, LOOPBACK};
use crate::{judge, namespaces};

/// `PROC_PID_INIT_INO`, `include/linux/proc_ns.h`
const INITIAL_PID_NAMESPACE: u32 = 0xEFFF_FFFC;

/// What the programs said.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) syns: Vec<SynRecord>,
    pub(super) listeners: Vec<Listener>,
}

pub(super) fn all(cases: &[Case], seen: &Seen) -> Result<(), String> {
    for case in cases {
        let mut events: Vec<&SynRecord> = seen
            .syns
            .iter()
            .filter(|record| client(record) == case.client)
            .collect();
        // A later connection, to another port, may have been given the same client port.
        if events.len() > 1 {
            events.retain(|record| destination(record) == case.destination);
        }
        let Some((record, more)) = events.split_first() else {
            let others: Vec<String> = seen.syns.iter().map(|r| client(r).to_string()).collect();
            return Err(format!(
                "client: no event for the connection from {} ({}); events came for {}",
                case.client,
                case.name,
                others.join(", ")
            ));
        };
        if !more.is_empty() {
            return Err(format!(
                "{} events too many for the connection from {} ({}); suspect: tcp_skb_cb.seq",
                more.len(),
                case.client,
                case.name
            ));
        }
        one(case, record).map_err(|what| format!("{what} (connection: {})", case.name))?;
    }
    for listener in cases.iter().filter_map(|case| case.listener.as_ref()) {
        opened(listener, seen)?;
    }
    Ok(())
}

fn one(case: &Case, record: &SynRecord) -> Result<(), String> {
    same(
        "destination (IP header)",
        &destination(record),
        &case.destination,
    )?;
    same("netns.inode (net.ns.inum)", &record.netns, &case.netns)?;
    same("ifindex (argument dif)", &record.ifindex, &LOOPBACK)?;
    same(
        "via (who steered the packet)",
        &record.steer,
        &steer::LOOKUP,
    )?;
    let Some(expected) = &case.listener else {
        return same("listener (the lookup's result)", &record.has_listener, &0);
    };
    same("listener (the lookup's result)", &record.has_listener, &1)?;
    listener(expected, &record.listener)?;
    same(
        "listener.device (sock.skc_bound_dev_if)",
        &record.bound_dev_if,
        &expected.device,
    )?;
    same(
        "listener.queue.limit (sock.sk_max_ack_backlog)",
        &record.queue_limit,
        &BACKLOG.into(),
    )?;
    same(
        "listener.queue.length (sock.sk_ack_backlog)",
        &record.queue_len,
        &case.queue_len,
    )?;
    group(case, record)
}

fn listener(expected: &Expected, found: &Listener) -> Result<(), String> {
    let address = SocketAddr::new(judge::bound_address(found), found.port);
    same(
        "listener.address (sock.skc_family, skc_num, skc_rcv_saddr, skc_v6_rcv_saddr)",
        &address,
        &expected.address,
    )?;
    same(
        "listener.inode (sock.sk_socket, sk_ino)",
        &found.inode,
        &expected.inode,
    )?;
    same(
        "listener.v6only (sock.skc_ipv6only)",
        &(found.v6only != 0),
        &expected.v6only,
    )?;
    let uid = nix::unistd::geteuid().as_raw();
    same("listener.uid (sock.sk_uid)", &found.uid, &uid)?;
    same(
        "listener.cookie (sock.skc_cookie)",
        &found.cookie,
        &expected.cookie,
    )
}

fn group(case: &Case, record: &SynRecord) -> Result<(), String> {
    let Some((member, size)) = case.group else {
        return same(
            "reuseport (sock.sk_reuseport_cb)",
            &(record.group != 0),
            &false,
        );
    };
    same(
        "reuseport (sock.sk_reuseport_cb)",
        &(record.group != 0),
        &true,
    )?;
    same(
        "reuseport.size (sock_reuseport.num_socks)",
        &record.group_size,
        &size,
    )?;
    same(
        "reuseport.member (sock_reuseport.socks)",
        &record.member,
        &member,
    )?;
    let expected = if case.filtered {
        group_prog::CLASSIC
    } else {
        group_prog::NONE
    };
    same(
        "reuseport.program (sock_reuseport.prog, bpf_prog.type)",
        &record.group_prog,
        &expected,
    )
}

/// Where `listen()` is hooked, it told the caller.
fn opened(expected: &Expected, seen: &Seen) -> Result<(), String> {
    let Some(found) = seen
        .listeners
        .iter()
        .find(|found| found.inode == expected.inode)
    else {
        return if seen.listeners.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "listener.inode: listen() of {} was not told",
                expected.name
            ))
        };
    };
    // In a pid namespace of its own sockpick has another number than the kernel's.
    if namespaces::inode(Path::new("/proc/self/ns/pid")) != Some(INITIAL_PID_NAMESPACE) {
        return Ok(());
    }
    same(
        "listener.owners (who called listen)",
        &found.listen_pid,
        &std::process::id(),
    )
}

fn client(record: &SynRecord) -> SocketAddr {
    SocketAddr::new(
        judge::packet_address(record.client, record.family),
        u16::from_be(record.client_port_be),
    )
}

fn destination(record: &SynRecord) -> SocketAddr {
    SocketAddr::new(
        judge::packet_address(record.destination, record.family),
        u16::from_be(record.destination_port_be),
    )
}

fn same<T: PartialEq + Display>(field: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!(
            "{field}: the programs read {found}, but it is {expected}"
        ))
    }
}
