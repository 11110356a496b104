//! Which kernel fields the programs read, and where this kernel keeps them.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use sockpick_ebpf::abi::{ABSENT, Files, Offsets};

use super::{btf::Btf, features::KERNEL_BTF};

/// Structures whose members are read.
pub const STRUCTS: &[&str] = &[
    "sk_buff",
    "tcp_skb_cb",
    "sock",
    "sock_reuseport",
    "socket",
    "socket_alloc",
    "bpf_prog",
    "bpf_prog_aux",
    "net",
    "pt_regs",
    "file",
    "inode",
    "task_struct",
    "files_struct",
    "fdtable",
];

/// Offsets of every field, from type information.
///
/// # Errors
/// If a field that cannot be done without is missing or has another size than the
/// programs read: the message names it.
pub fn offsets(btf: &Btf) -> Result<Offsets> {
    let at = |structure: &str, path: &str, size: u32| field(btf, structure, path, size);
    let maybe = |structure, path, size| match btf.member(structure, path) {
        Ok(_) => field(btf, structure, path, size),
        Err(_) => Ok(ABSENT),
    };
    let ipv6only = btf.member("sock", "__sk_common.skc_ipv6only")?;
    let sk_ino = maybe("sock", "sk_ino", 8)?;
    Ok(Offsets {
        skb_head: at("sk_buff", "head", 8)?,
        skb_data: at("sk_buff", "data", 8)?,
        skb_transport_header: at("sk_buff", "transport_header", 2)?,
        skb_network_header: at("sk_buff", "network_header", 2)?,
        skb_iif: at("sk_buff", "skb_iif", 4)?,
        skb_cb_seq: at("sk_buff", "cb", 48)? + at("tcp_skb_cb", "seq", 4)?,
        sk_family: at("sock", "__sk_common.skc_family", 2)?,
        sk_state: at("sock", "__sk_common.skc_state", 1)?,
        sk_num: at("sock", "__sk_common.skc_num", 2)?,
        sk_rcv_saddr: at("sock", "__sk_common.skc_rcv_saddr", 4)?,
        sk_v6_rcv_saddr: maybe("sock", "__sk_common.skc_v6_rcv_saddr", 16)?,
        sk_daddr: at("sock", "__sk_common.skc_daddr", 4)?,
        sk_dport: at("sock", "__sk_common.skc_dport", 2)?,
        sk_v6_daddr: maybe("sock", "__sk_common.skc_v6_daddr", 16)?,
        sk_bound_dev_if: at("sock", "__sk_common.skc_bound_dev_if", 4)?,
        sk_net: at("sock", "__sk_common.skc_net.net", 8)?,
        sk_cookie: maybe("sock", "__sk_common.skc_cookie", 8)?,
        sk_ipv6only: u16::try_from(ipv6only.offset)?,
        sk_ipv6only_mask: ipv6only.mask.unwrap_or(0xff).into(),
        sk_incoming_cpu: at("sock", "__sk_common.skc_incoming_cpu", 4)?,
        sk_reuseport_cb: at("sock", "sk_reuseport_cb", 8)?,
        sk_ack_backlog: at("sock", "sk_ack_backlog", 4)?,
        sk_max_ack_backlog: at("sock", "sk_max_ack_backlog", 4)?,
        sk_uid: at("sock", "sk_uid", 4)?,
        sk_ino,
        sk_socket: at("sock", "sk_socket", 8)?,
        socket_ino: if sk_ino == ABSENT {
            socket_ino(btf)?
        } else {
            ABSENT
        },
        net_inum: at("net", "ns.inum", 4)?,
        net_cookie: maybe("net", "net_cookie", 8)?,
        reuse_num_socks: at("sock_reuseport", "num_socks", 2)?,
        reuse_prog: at("sock_reuseport", "prog", 8)?,
        reuse_socks: at("sock_reuseport", "socks", 0)?,
        prog_type: at("bpf_prog", "type", 4)?,
        prog_aux: at("bpf_prog", "aux", 8)?,
        aux_id: at("bpf_prog_aux", "id", 4)?,
    })
}

/// What leads from a process to its sockets, from type information.
///
/// # Errors
/// As [`offsets`].
pub fn files(btf: &Btf) -> Result<Files> {
    let at = |structure: &str, path: &str, size: u32| field(btf, structure, path, size);
    Ok(Files {
        file_inode: at("file", "f_inode", 8)?,
        file_private_data: at("file", "private_data", 8)?,
        inode_mode: at("inode", "i_mode", 2)?,
        inode_ino: at("inode", "i_ino", 8)?,
        socket_sk: at("socket", "sk", 8)?,
        task_tgid: at("task_struct", "tgid", 4)?,
        task_group_leader: at("task_struct", "group_leader", 8)?,
        task_files: at("task_struct", "files", 8)?,
        files_fdt: at("files_struct", "fdt", 8)?,
        fdt_max_fds: at("fdtable", "max_fds", 4)?,
        fdt_fd: at("fdtable", "fd", 8)?,
        fdt_open_fds: at("fdtable", "open_fds", 8)?,
    })
}

/// From the `struct socket` that `sk_socket` points to, to the inode number: both
/// lie in one `struct socket_alloc` (include/net/sock.h).
fn socket_ino(btf: &Btf) -> Result<u16> {
    let inode = field(btf, "socket_alloc", "vfs_inode.i_ino", 8)?;
    let socket = field(btf, "socket_alloc", "socket", 0)?;
    inode
        .checked_sub(socket)
        .context("struct socket_alloc: the inode stands before the socket")
}

/// Offsets of every field in the running kernel.
///
/// # Errors
/// If it has no type information, or [`offsets`] fails.
pub fn offsets_of_running_kernel() -> Result<Offsets> {
    let bytes = fs::read(KERNEL_BTF)
        .with_context(|| format!("cannot read this kernel's type information ({KERNEL_BTF})"))?;
    offsets(&Btf::parse(bytes, STRUCTS)?)
}

/// Offset of a member of the given size; a size of 0 is not checked.
fn field(btf: &Btf, structure: &str, path: &str, size: u32) -> Result<u16> {
    let member = btf.member(structure, path)?;
    ensure!(
        size == 0 || member.size == size,
        "{structure}.{path} has {} bytes, not {size}: this kernel's layout is not understood",
        member.size
    );
    u16::try_from(member.offset)
        .ok()
        .filter(|&offset| offset != ABSENT)
        .with_context(|| format!("{structure}.{path} lies too far into its structure"))
}
