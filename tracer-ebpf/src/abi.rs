//! Everything the programs and user space share: record layouts, the load-time
//! configuration, counters and map names. Sizes are asserted below, so the two
//! sides cannot drift apart unnoticed.

mod ask;
mod holders;
mod peek;
mod right;

pub use ask::{Ask, asked};
pub use holders::{Files, Holder, Pass};
pub use peek::{PEEK_BYTES, Peek};
pub use right::{MAX_MET, MAX_RIGHT, Met, PORTS, Port, Right, rights};

/// Names of the maps, as user space asks for them.
pub mod maps {
    /// Ring buffer of [`super::SynRecord`] and [`super::ListenerRecord`].
    pub const EVENTS: &str = "EVENTS";
    /// [`super::Config`], one entry, where it is no global.
    pub const CONFIG: &str = "CONFIG";
    /// Hash of [`super::Listener`] by address of the kernel's `struct sock`.
    pub const LISTENERS: &str = "LISTENERS";
    /// [`super::Cpu`], an entry for each CPU; or per-CPU [`super::Stats`], one entry.
    pub const STATS: &str = "STATS";
    /// [`super::Right`]: listeners whose SYNs are known to be right.
    pub const RIGHT: &str = "RIGHT";
    /// [`super::Port`] by port, host order.
    pub const PORTS: &str = "PORTS";
    /// [`super::Met`]: listeners that a CPU met lately.
    pub const MET: &str = "MET";
    /// [`super::Control`], one entry.
    pub const CONTROL: &str = ".data.control";
    /// The same in the programs for old kernels, which have no globals.
    pub const LEGACY_CONTROL: &str = "CONTROL";
    /// Destination ports that pass the filter: the bit that [`super::filter::place`] says of each.
    pub const FILTER_PORTS: &str = "FILTER_PORTS";
    /// Destination prefixes that pass the filter (IPv4 as v4-mapped IPv6).
    pub const FILTER_DST: &str = "FILTER_DST";
    /// Client prefixes that pass the filter (IPv4 as v4-mapped IPv6).
    pub const FILTER_SRC: &str = "FILTER_SRC";
    /// Namespace inode numbers that pass the filter.
    pub const FILTER_NETNS: &str = "FILTER_NETNS";
    /// [`super::Peek`], one entry.
    pub const PEEK: &str = "PEEK";
    /// [`super::Ask`], one entry.
    pub const ASK: &str = "ASK";
    /// Hash by [`super::Dropped`]: SYNs that were dropped after their lookup.
    pub const DROPPED: &str = "DROPPED";
    /// Hash by process (tgid) that holds a listener: `CLOCK_MONOTONIC` ns at which it ended, 0
    /// while it lives.
    pub const HOLDERS: &str = "HOLDERS";
    /// [`super::Pass`], one entry.
    pub const PASS: &str = "PASS";
}

/// The offset of a field that this kernel does not have.
pub const ABSENT: u16 = u16::MAX;

/// Bound of the listener map; past it a listener has no lasting id, which is counted.
pub const MAX_LISTENERS: u32 = 8192;

/// Room for the longest record in bytes, where a record is put together outside of a ring buffer.
pub const MAX_RECORD: usize = 256;

/// Most SYNs dropped after their lookup that wait for user space; more are counted.
pub const MAX_DROPPED: u32 = 4096;

/// Most processes that hold listeners whose end is looked out for.
pub const MAX_HOLDERS: u32 = 4096;

/// How many members of a reuseport group are searched for the chosen socket.
pub const MAX_MEMBERS_SEARCHED: usize = if cfg!(feature = "legacy") { 64 } else { 128 };

/// Where a traced function's argument or result is found in a program's context.
///
/// `offset` counts from the context itself, or, with [`ArgLoc::STACK`] set, from
/// the stack pointer saved in a kprobe's `pt_regs` (whose own offset stands in
/// [`Config::regs_sp`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct ArgLoc(pub u16);

impl ArgLoc {
    /// Set in a location that is relative to the saved stack pointer.
    pub const STACK: u16 = 0x8000;
    /// This argument cannot be had.
    pub const NONE: Self = Self(u16::MAX);
}

/// Added to a place in [`Args`], the offset of an instruction that reads the context for it: user
/// space writes the argument's own offset there. No context is as large.
pub const MARK: u16 = 0x7000;

/// The same with a place in [`Offsets`], for an instruction that reads a field of an argument.
pub const FIELD_MARK: u16 = 0x7400;

/// Argument places of the listener lookup of one address family.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct LookupArgs {
    /// `struct net *net`
    pub net: ArgLoc,
    /// `struct sk_buff *skb`
    pub skb: ArgLoc,
    /// `int dif`
    pub dif: ArgLoc,
    /// `int sdif`
    pub sdif: ArgLoc,
    /// The returned `struct sock *`
    pub ret: ArgLoc,
}

/// Argument places of every hooked function, for the mechanism in use.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Args {
    /// `__inet_lookup_listener`
    pub lookup4: LookupArgs,
    /// `inet6_lookup_listener`
    pub lookup6: LookupArgs,
    /// `inet_lookup_run_sk_lookup`: `protocol`
    pub steer4_protocol: ArgLoc,
    /// `inet_lookup_run_sk_lookup`: `skb`
    pub steer4_skb: ArgLoc,
    /// `inet_lookup_run_sk_lookup`: result
    pub steer4_ret: ArgLoc,
    /// `inet6_lookup_run_sk_lookup`: `protocol`
    pub steer6_protocol: ArgLoc,
    /// `inet6_lookup_run_sk_lookup`: `skb`
    pub steer6_skb: ArgLoc,
    /// `inet6_lookup_run_sk_lookup`: result
    pub steer6_ret: ArgLoc,
    /// `bpf_run_sk_reuseport`: `sk`
    pub reuseport_sk: ArgLoc,
    /// `bpf_run_sk_reuseport`: `skb`
    pub reuseport_skb: ArgLoc,
    /// `bpf_run_sk_reuseport`: result
    pub reuseport_ret: ArgLoc,
    /// `tcp_conn_request`: `sk`
    pub request_sk: ArgLoc,
    /// `tcp_conn_request`: `skb`
    pub request_skb: ArgLoc,
    /// `inet_csk_listen_start`: `sk`
    pub listen_sk: ArgLoc,
    /// `inet_csk_listen_start`: result
    pub listen_ret: ArgLoc,
    /// `inet_csk_listen_stop`: `sk`
    pub stop_sk: ArgLoc,
    /// `reuseport_stop_listen_sock` or `reuseport_detach_sock`: `sk`
    pub leave_sk: ArgLoc,
    /// `inet_csk_accept`: `sk`
    pub accept_sk: ArgLoc,
    /// `inet_csk_accept`: result
    pub accept_ret: ArgLoc,
    /// `tcp_get_cookie_sock`: `sk`
    pub cookie_sk: ArgLoc,
    /// `tcp_get_cookie_sock`: `req`
    pub cookie_req: ArgLoc,
    /// `reuseport_migrate_sock`: `migrating_sk`
    pub migrate_sk: ArgLoc,
    /// `reuseport_migrate_sock`: result
    pub migrate_ret: ArgLoc,
    /// `skb:kfree_skb`: `reason` (5.17)
    pub drop_reason: ArgLoc,
    /// `skb:kfree_skb`: `rx_sk` (6.11)
    pub drop_sk: ArgLoc,
}

/// Byte offsets of the kernel fields the programs read, from the running
/// kernel's BTF. [`ABSENT`] marks a field this kernel does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Offsets {
    /// `sk_buff.head`
    pub skb_head: u16,
    /// `sk_buff.data`
    pub skb_data: u16,
    /// `sk_buff.transport_header` (16 bits, offset from `head`)
    pub skb_transport_header: u16,
    /// `sk_buff.network_header` (16 bits, offset from `head`)
    pub skb_network_header: u16,
    /// `sk_buff.skb_iif`
    pub skb_iif: u16,
    /// `sk_buff.cb` plus `tcp_skb_cb.seq`: the sequence number in host order
    pub skb_cb_seq: u16,
    /// `sock.__sk_common.skc_family`
    pub sk_family: u16,
    /// `sock.__sk_common.skc_state` (8 bits)
    pub sk_state: u16,
    /// `sock.__sk_common.skc_num`: the local port in host order
    pub sk_num: u16,
    /// `sock.__sk_common.skc_rcv_saddr`
    pub sk_rcv_saddr: u16,
    /// `sock.__sk_common.skc_v6_rcv_saddr`
    pub sk_v6_rcv_saddr: u16,
    /// `sock.__sk_common.skc_daddr`
    pub sk_daddr: u16,
    /// `sock.__sk_common.skc_dport` (network order)
    pub sk_dport: u16,
    /// `sock.__sk_common.skc_v6_daddr`
    pub sk_v6_daddr: u16,
    /// `sock.__sk_common.skc_bound_dev_if`
    pub sk_bound_dev_if: u16,
    /// `sock.__sk_common.skc_net.net`
    pub sk_net: u16,
    /// `sock.__sk_common.skc_cookie` (0 until somebody asks for it)
    pub sk_cookie: u16,
    /// The byte that holds `skc_ipv6only`
    pub sk_ipv6only: u16,
    /// Mask of `skc_ipv6only` in that byte
    pub sk_ipv6only_mask: u16,
    /// `sock.__sk_common.skc_incoming_cpu`
    pub sk_incoming_cpu: u16,
    /// `sock.sk_reuseport_cb`
    pub sk_reuseport_cb: u16,
    /// `sock.sk_ack_backlog`: length of the accept queue
    pub sk_ack_backlog: u16,
    /// `sock.sk_max_ack_backlog`: its limit
    pub sk_max_ack_backlog: u16,
    /// `sock.sk_uid`
    pub sk_uid: u16,
    /// `sock.sk_ino` (from 6.18)
    pub sk_ino: u16,
    /// `sock.sk_socket`
    pub sk_socket: u16,
    /// From `struct socket` to `socket_alloc.vfs_inode.i_ino`
    pub socket_ino: u16,
    /// `net.ns.inum`
    pub net_inum: u16,
    /// `net.net_cookie` (0 until somebody asks for it before 5.12)
    pub net_cookie: u16,
    /// `sock_reuseport.num_socks` (16 bits)
    pub reuse_num_socks: u16,
    /// `sock_reuseport.prog`
    pub reuse_prog: u16,
    /// `sock_reuseport.socks[]`
    pub reuse_socks: u16,
    /// `bpf_prog.type`
    pub prog_type: u16,
    /// `bpf_prog.aux`
    pub prog_aux: u16,
    /// `bpf_prog_aux.id`
    pub aux_id: u16,
}

/// Load-time constants: read-only data to the verifier.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Config {
    /// Address of `__per_cpu_offset`, the kernel's array of where each CPU's variables are; 0:
    /// lookups and requests are hooked by one mechanism, or it is not known.
    pub per_cpu_offset: u64,
    /// Place of `bpf_prog_active` among a CPU's variables.
    pub prog_active: u64,
    /// Place of `current_kprobe` among them.
    pub current_kprobe: u64,
    /// Field offsets.
    pub off: Offsets,
    /// Argument places.
    pub args: Args,
    /// `pt_regs.sp`, for arguments on the stack.
    pub regs_sp: u16,
    /// Which in-kernel filters are in use: a set of [`filter`] bits.
    pub filters: u16,
    /// Bytes in the ring buffer at which the reader is woken before its flush interval ends.
    pub wake_bytes: u32,
    /// `SKB_DROP_REASON_NO_SOCKET`, `include/net/dropreason-core.h`
    pub no_socket: u32,
    /// Keeps the size a multiple of eight.
    pub reserved_end: u32,
}

/// Bits of [`Config::filters`].
pub mod filter {
    /// `FILTER_PORTS` applies.
    pub const PORTS: u16 = 1;
    /// `FILTER_DST` applies.
    pub const DST: u16 = 2;
    /// `FILTER_SRC` applies.
    pub const SRC: u16 = 4;
    /// `FILTER_NETNS` applies.
    pub const NETNS: u16 = 8;
    /// Only IPv4 packets pass.
    pub const IPV4: u16 = 16;
    /// Only IPv6 packets pass.
    pub const IPV6: u16 = 32;

    /// Words of `FILTER_PORTS`, which has a bit for each port.
    pub const PORT_WORDS: u32 = 1 << 10;

    /// Where the bit of a port is: its word, and its place in that.
    #[must_use]
    #[inline]
    pub const fn place(port: u16) -> (u32, u32) {
        ((port >> 6) as u32, (port & 63) as u32)
    }
}

/// What user space changes while the programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Control {
    /// Only SYNs of this namespace (its inode number) are recorded, past the
    /// filters: the self-check's. 0 means all.
    pub only_netns: u32,
    /// 1: the table walk is hooked, so a result without a walk came from an
    /// `sk_lookup` program (kernels whose steering function is inlined).
    pub walk_known: u32,
    /// SYNs of this namespace pass the filters: a daemon's own connections, by which it knows
    /// that it sees. 0: of none.
    pub also_netns: u32,
    /// One of [`level`].
    pub level: u32,
}

/// Of which SYNs there is a record.
pub mod level {
    /// Of all that pass the filters.
    pub const ALL: u32 = 0;
    /// Of those that may be an alert: others are counted ([`super::Stats::counted`]).
    pub const SUSPECTS: u32 = 1;
}

/// First field of every record in the ring buffer.
pub mod kind {
    /// [`super::SynRecord`]
    pub const SYN: u32 = 1;
    /// [`super::ListenerRecord`]: `listen()` succeeded
    pub const LISTEN: u32 = 2;
    /// [`super::ListenerRecord`]: the listener left the table
    pub const CLOSE: u32 = 3;
    /// [`super::HandoverRecord`]
    pub const HANDOVER: u32 = 4;
}

/// Why a connection came to a listener after its SYN.
pub mod handover {
    /// An ACK with a valid SYN cookie was looked up anew.
    pub const COOKIE_ACK: u8 = 1;
    /// Its listener closed, and another of the reuseport group took it over.
    pub const MIGRATED: u8 = 2;
}

/// Who chose the socket, as far as the hooks saw.
pub mod steer {
    /// The listener lookup walked its tables.
    pub const LOOKUP: u8 = 0;
    /// An `sk_lookup` program.
    pub const SK_LOOKUP: u8 = 1;
    /// The socket was on the packet before the lookup (`bpf_sk_assign`).
    pub const ASSIGN: u8 = 2;
    /// The socket was put there by a TPROXY rule.
    pub const TPROXY: u8 = 3;
    /// Not known: the kernel skipped the hooks on the lookup.
    pub const UNSEEN: u8 = 4;
}

/// What a reuseport group's program did.
pub mod group_prog {
    /// The group has no program.
    pub const NONE: u8 = 0;
    /// A classic BPF filter (`SO_ATTACH_REUSEPORT_CBPF`).
    pub const CLASSIC: u8 = 1;
    /// An eBPF program that named a member, or may have.
    pub const EBPF: u8 = 2;
    /// An `SK_REUSEPORT` program that named none: the kernel fell back to the hash.
    pub const FELL_BACK: u8 = 3;
    /// An `SK_REUSEPORT` program that turned the packet away (`SK_DROP`).
    pub const DROPPED: u8 = 4;
}

/// What stays the same of a listening socket from `listen()` to close, and what
/// the programs keep about it. Lives in `LISTENERS` and is copied into each record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Listener {
    /// Names this listener from `listen()` to close: `CLOCK_MONOTONIC` ns when it
    /// was first seen, made unique per CPU in the low bits.
    pub stamp: u64,
    /// Inode number of the socket in sockfs; 0 if it has none (kernel sockets).
    pub inode: u64,
    /// The kernel's socket cookie; 0 while nobody asked for it.
    pub cookie: u64,
    /// Cookie of the network namespace; 0 while nobody asked for it.
    pub netns_cookie: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Owner of the socket in the initial user namespace.
    pub uid: u32,
    /// Bound address: IPv6 as is, that of an `AF_INET` socket in v4-mapped form.
    pub addr: [u8; 16],
    /// Interface it was bound to when first seen; 0 for none.
    pub bound_dev_if: u32,
    /// Port, host order.
    pub port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// 1: takes no IPv4.
    pub v6only: u8,
    /// 1: has left the table.
    pub closed: u8,
    /// Index in its reuseport group where it was last found: a hint.
    pub member_hint: u16,
    /// Process (tgid) that called `listen()`; 0 if that was before sockpick.
    pub listen_pid: u32,
    /// Process (tgid) that last took a connection from it; 0 if none was seen.
    pub accept_pid: u32,
    /// `SO_INCOMING_CPU` when first seen; -1 for none.
    pub incoming_cpu: i32,
    /// `comm` of the process that called `listen()`.
    pub listen_comm: [u8; 16],
    /// `comm` of the process that last accepted.
    pub accept_comm: [u8; 16],
    /// SYNs assigned to it since it was first seen, but for those in [`Right::counted`].
    pub syns: u64,
}

/// One SYN that reached listener selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct SynRecord {
    /// [`kind::SYN`]
    pub kind: u32,
    /// CPU it was received on.
    pub cpu: u32,
    /// `CLOCK_MONOTONIC` ns at which the socket was known.
    pub ktime_ns: u64,
    /// Address of the `sock_reuseport`: the group's key; 0 without a group.
    pub group: u64,
    /// Cookie of the packet's namespace; 0 while nobody asked for it.
    pub netns_cookie: u64,
    /// Inode number of the packet's network namespace.
    pub netns: u32,
    /// Interface the lookup matched against (`dif`).
    pub ifindex: u32,
    /// The enslaved interface below it (`sdif`), 0 without a VRF.
    pub sdif: u32,
    /// Program of the reuseport group; 0 without one.
    pub prog_id: u32,
    /// Client address; IPv4 in v4-mapped form.
    pub client: [u8; 16],
    /// Destination address; IPv4 in v4-mapped form.
    pub destination: [u8; 16],
    /// Client port, network order.
    pub client_port_be: u16,
    /// Destination port, network order.
    pub destination_port_be: u16,
    /// Members in the reuseport group; 0 without a group.
    pub group_size: u16,
    /// Index in the group's `socks[]`; `u16::MAX` if not found.
    pub member: u16,
    /// `AF_INET` or `AF_INET6`: the packet's.
    pub family: u16,
    /// One of [`steer`].
    pub steer: u8,
    /// One of [`group_prog`].
    pub group_prog: u8,
    /// Interface the listener is bound to now; 0 for none.
    pub bound_dev_if: u32,
    /// Connections waiting in its accept queue.
    pub queue_len: u32,
    /// Limit of the accept queue.
    pub queue_limit: u32,
    /// 1: a listener was chosen and `listener` is filled in.
    pub has_listener: u32,
    /// 1: the kernel dropped the SYN before it came to `tcp_conn_request`. Filled in by user
    /// space, as the record is written before.
    pub dropped: u32,
    /// The chosen listener.
    pub listener: Listener,
}

/// Names a SYN that the kernel dropped between its lookup and `tcp_conn_request`, by what its
/// [`SynRecord`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Dropped {
    /// [`SynRecord::ktime_ns`]
    pub ktime_ns: u64,
    /// [`SynRecord::cpu`]
    pub cpu: u32,
    /// Leaves no byte of the key to chance.
    pub reserved: u32,
}

/// A listener appeared or went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct ListenerRecord {
    /// [`kind::LISTEN`] or [`kind::CLOSE`]
    pub kind: u32,
    /// CPU it happened on.
    pub cpu: u32,
    /// `CLOCK_MONOTONIC` ns.
    pub ktime_ns: u64,
    /// Address of the `struct sock`: its key in `LISTENERS`.
    pub sock: u64,
    /// Connections waiting in its accept queue.
    pub queue_len: u32,
    /// Keeps `listener` eight-byte aligned.
    pub reserved: u32,
    /// The listener.
    pub listener: Listener,
}

/// A connection came to a listener after its SYN: perhaps to another than the SYN did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct HandoverRecord {
    /// [`kind::HANDOVER`]
    pub kind: u32,
    /// CPU it happened on.
    pub cpu: u32,
    /// `CLOCK_MONOTONIC` ns.
    pub ktime_ns: u64,
    /// Cookie of the listener's namespace; 0 while nobody asked for it.
    pub netns_cookie: u64,
    /// Client address; IPv4 in v4-mapped form.
    pub client: [u8; 16],
    /// Destination address; IPv4 in v4-mapped form.
    pub destination: [u8; 16],
    /// Inode number of the listener's network namespace.
    pub netns: u32,
    /// Interface the listener is bound to now; 0 for none.
    pub bound_dev_if: u32,
    /// Connections waiting in its accept queue.
    pub queue_len: u32,
    /// Limit of the accept queue.
    pub queue_limit: u32,
    /// Client port, network order.
    pub client_port_be: u16,
    /// Destination port, network order.
    pub destination_port_be: u16,
    /// `AF_INET` or `AF_INET6`: the packet's.
    pub family: u16,
    /// One of [`handover`].
    pub why: u8,
    /// Keeps `listener` eight-byte aligned.
    pub reserved: u8,
    /// The listener that has it now.
    pub listener: Listener,
}

/// Per-CPU counters. Every SYN that `syns` counts is in exactly one of
/// `emitted`, `counted`, `lost_ring` and `lost_return`, or still under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Stats {
    /// SYNs that reached listener selection and passed the filters.
    pub syns: u64,
    /// SYN records written to the ring buffer.
    pub emitted: u64,
    /// SYN records that found the ring buffer full.
    pub lost_ring: u64,
    /// SYNs whose lookup was seen to start but not to end (missed return probe).
    pub lost_return: u64,
    /// SYNs without a listener.
    pub refused: u64,
    /// Listener and hand-over records written to the ring buffer.
    pub listener_records: u64,
    /// Listener records that found the ring buffer full.
    pub lost_listener_records: u64,
    /// Listeners that found `LISTENERS` full.
    pub listeners_full: u64,
    /// Lookups for segments that are no SYN.
    pub not_syn: u64,
    /// Lookups without a packet (diagnostics, BPF helpers).
    pub no_skb: u64,
    /// Lookups of a SYN by a netfilter rule.
    pub netfilter: u64,
    /// Lookups whose packet is at neither known stage.
    pub other_stage: u64,
    /// SYNs that the in-kernel filter left out.
    pub filtered: u64,
    /// Hand-over records that found the ring buffer full.
    pub lost_handovers: u64,
    /// SYNs dropped after their lookup that found `DROPPED` full: their records do not say so.
    pub dropped_full: u64,
    /// SYNs without a record, as they cannot be an alert ([`level::SUSPECTS`]).
    pub counted: u64,
}

/// What a CPU has of its own, in a row of [`maps::STATS`]. By the programs for old kernels the
/// counters alone are there.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Cpu {
    /// Its counters.
    pub stats: Stats,
    /// The SYN that it looks up right now: the programs' own.
    pub slot: [u64; 32],
}

#[cfg(feature = "user")]
impl Stats {
    /// What was counted since then.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        const FIELDS: usize = size_of::<Stats>() / size_of::<u64>();
        let (now, then): ([u64; FIELDS], [u64; FIELDS]) =
            (bytemuck::cast(*self), bytemuck::cast(*then));
        bytemuck::cast(core::array::from_fn::<u64, FIELDS, _>(|field| {
            now[field].saturating_sub(then[field])
        }))
    }
}

const _: () = {
    assert!(MARK as usize + size_of::<Args>() <= FIELD_MARK as usize);
    assert!(FIELD_MARK as usize + size_of::<Offsets>() <= i16::MAX as usize);
    assert!(size_of::<Listener>() == 120);
    assert!(size_of::<SynRecord>() == 232);
    assert!(size_of::<ListenerRecord>() == 152);
    assert!(size_of::<HandoverRecord>() == 200);
    assert!(size_of::<SynRecord>() <= MAX_RECORD);
    assert!(size_of::<HandoverRecord>() <= MAX_RECORD);
    assert!(core::mem::offset_of!(HandoverRecord, client).is_multiple_of(8));
    assert!(core::mem::offset_of!(HandoverRecord, destination).is_multiple_of(8));
    assert!(core::mem::offset_of!(HandoverRecord, listener) == 80);
    // Gives each CPU cache lines of its own where the rows lie side by side.
    assert!(size_of::<Stats>() == 128);
    assert!(size_of::<Cpu>().is_multiple_of(128));
    assert!(size_of::<Right>() == 64);
    assert!(size_of::<Config>().is_multiple_of(8));
    assert!(core::mem::offset_of!(SynRecord, listener) == 112);
    assert!(core::mem::offset_of!(ListenerRecord, listener) == 32);
    assert!(core::mem::offset_of!(Listener, syns) == 112);
    // The programs move addresses as words.
    assert!(core::mem::offset_of!(Listener, addr).is_multiple_of(8));
    assert!(core::mem::offset_of!(SynRecord, client).is_multiple_of(8));
    assert!(core::mem::offset_of!(SynRecord, destination).is_multiple_of(8));
};
