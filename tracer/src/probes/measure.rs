//! Where a kernel without type information keeps what sockpick reads.
//!
//! What is the same from 4.14 to 7.3 is taken from a table, each entry with its source; the
//! rest depends on the kernel's configuration and is measured: sockpick makes sockets of which
//! everything is known, in a private namespace, looks at the kernel's structures of them, and
//! takes an offset only if exactly one fits all. What is not found is absent from events. The
//! self-check proves the result as it proves type information.

mod finding;
mod packet;
mod peeker;
mod sockets;

use std::thread;

use anyhow::{Context as _, Result, anyhow};
use log::debug;
use sockpick_ebpf::abi::{ABSENT, Offsets};

use super::trial::TRIES;
use crate::{kernel::features::Registers, namespaces};
use peeker::Peeker;

/// `struct sock_common` (include/net/sock.h, 4.14 to 7.3): the same up to here in every
/// configuration.
const SKC_DADDR: u16 = 0;
const SKC_RCV_SADDR: u16 = 4;
const SKC_DPORT: u16 = 12;
const SKC_NUM: u16 = 14;
const SKC_FAMILY: u16 = 16;
const SKC_STATE: u16 = 18;
/// The byte of `skc_reuse`, `skc_reuseport` and `skc_ipv6only`.
const SKC_FLAGS: u16 = 19;
const SKC_IPV6ONLY: u16 = 0x20;
const SKC_BOUND_DEV_IF: u16 = 20;
/// `struct bpf_prog`: after two 16-bit members (include/linux/filter.h, 4.14 to 7.3).
const PROG_TYPE: u16 = 4;

/// Offsets of every field as far as they could be found out.
///
/// # Errors
/// If a field that cannot be done without was not found: the message names it.
pub fn offsets(registers: &Registers) -> Result<Offsets> {
    let registers = *registers;
    let once = || {
        thread::spawn(move || measure(&registers))
            .join()
            .map_err(|_| anyhow!("the thread that measures ended early"))?
    };
    let mut result = once();
    for _ in 1..TRIES {
        match &result {
            Ok(offsets) if is_complete(offsets) => break,
            Ok(_) => debug!("measuring: not all was found"),
            Err(error) => debug!("measuring: {error:#}"),
        }
        // What was found before is better than nothing.
        result = once().or(result);
    }
    result.context("this kernel's structures could not be measured")
}

/// Whether all was found that every kernel has. Another tool's probe, or a packet that comes
/// late, may hide one.
fn is_complete(offsets: &Offsets) -> bool {
    ![
        offsets.skb_iif,
        offsets.skb_cb_seq,
        offsets.sk_cookie,
        offsets.sk_incoming_cpu,
        offsets.sk_reuseport_cb,
        offsets.sk_ack_backlog,
        offsets.sk_max_ack_backlog,
        offsets.sk_uid,
        offsets.sk_socket,
    ]
    .contains(&ABSENT)
}

fn measure(registers: &Registers) -> Result<Offsets> {
    let private = namespaces::enter_private()?;
    let mut peeker = Peeker::load(registers)?;
    let mut offsets = Offsets {
        sk_family: SKC_FAMILY,
        sk_state: SKC_STATE,
        sk_num: SKC_NUM,
        sk_rcv_saddr: SKC_RCV_SADDR,
        sk_daddr: SKC_DADDR,
        sk_dport: SKC_DPORT,
        sk_bound_dev_if: SKC_BOUND_DEV_IF,
        sk_ipv6only: SKC_FLAGS,
        sk_ipv6only_mask: SKC_IPV6ONLY,
        prog_type: PROG_TYPE,
        // Told by the cookie of the socket's namespace only from 5.7, which has type
        // information as a rule.
        net_cookie: ABSENT,
        // From 6.18; before, the inode is reached by way of `sk_socket`.
        sk_ino: ABSENT,
        // The id of a group's program would take a program to measure by, which 4.14 lacks.
        prog_aux: ABSENT,
        aux_id: ABSENT,
        ..Offsets::default()
    };
    sockets::measure(&mut peeker, private.inode, &mut offsets)?;
    packet::measure(&mut peeker, &mut offsets)?;
    // `skc_v6_daddr` stands right before `skc_v6_rcv_saddr`.
    offsets.sk_v6_daddr = match offsets.sk_v6_rcv_saddr {
        ABSENT => ABSENT,
        own => own.checked_sub(16).unwrap_or(ABSENT),
    };
    debug!("measured: {offsets:?}");
    Ok(offsets)
}
