//! The event of a SYN.

use std::{fmt, net::IpAddr, sync::Arc};

use serde::Serialize;

use super::{
    alike::{are_same, is_same},
    listener::{Family, Listener, ListenerId, Owner, Reuseport},
    time::Time,
};

/// Version of the schema, in every event.
pub const SCHEMA: u32 = 1;

/// One SYN that reached listener selection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// [`SCHEMA`]
    pub schema: u32,
    /// Wall-clock time, RFC 3339 in UTC with nanoseconds.
    pub time: Time,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub ktime_ns: u64,
    /// CPU the SYN was received on.
    pub cpu: u32,
    /// Network namespace of the packet.
    pub netns: Arc<Netns>,
    /// Where the SYN came from.
    pub client: Endpoint,
    /// Where it was sent, after any address translation.
    pub destination: Endpoint,
    /// Interface the lookup matched against.
    pub ifindex: u32,
    /// Its name, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ifname: Option<Arc<str>>,
    /// How the chosen socket fits the packet.
    #[serde(rename = "match")]
    pub matched: Match,
    /// What chose it.
    pub via: Via,
    /// Whether that was right.
    pub verdict: Verdict,
    /// Why it was not; with `ok` what else is to be said of the SYN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The chosen listening socket; `null` when there was none.
    pub listener: Option<Listener>,
    /// The reuseport group it belongs to, which it was chosen from unless it was steered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuseport: Option<Reuseport>,
    /// Programs that were attached where one chose, or turned the packet away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steered_by: Option<Arc<[Program]>>,
    /// Who should have had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Box<Expected>>,
    /// With reason `unknown`: every listener that the packet fits, one of each group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Box<[Other]>>,
    /// How the result was observed.
    pub backend: Backend,
}

impl Event {
    /// The interface that the SYN came through, where that decided who got it.
    #[must_use]
    pub fn deciding_ifname(&self) -> Option<&Arc<str>> {
        let decided = matches!(self.reason, Some(Reason::DevMismatch | Reason::VrfScope));
        self.ifname.as_ref().filter(|_| decided)
    }

    /// Whether two SYNs differ in when and where they came, from whom and to which address, and in
    /// how many waited to be accepted, and in nothing else. Shared values that are the same one are
    /// not looked into.
    // Every structure is taken apart by name, so that a field added to the event does not compile
    // until it is thought of here.
    #[inline]
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let Self {
            schema,
            time: _,
            ktime_ns: _,
            cpu: _,
            netns,
            client: _,
            destination: _,
            ifindex,
            ifname,
            matched,
            via,
            verdict,
            reason,
            listener,
            reuseport,
            steered_by,
            expected,
            candidates,
            backend,
        } = self;
        let listeners = (listener.as_ref(), other.listener.as_ref());
        are_same(listeners.0, listeners.1, Listener::is_like)
            && is_same(netns, &other.netns)
            && *ifindex == other.ifindex
            && are_same(ifname.as_ref(), other.ifname.as_ref(), is_same)
            && *matched == other.matched
            && *via == other.via
            && *verdict == other.verdict
            && *reason == other.reason
            && *reuseport == other.reuseport
            && *steered_by == other.steered_by
            && *expected == other.expected
            && *candidates == other.candidates
            && *backend == other.backend
            && *schema == other.schema
    }
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Netns {
    /// Inode number, as in `/proc/PID/ns/net`.
    pub inode: u32,
    /// Cookie (`SO_NETNS_COOKIE`), where the kernel has given it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// Name under `/run/netns`, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
pub struct Endpoint {
    /// IPv4 or IPv6 address.
    pub address: IpAddr,
    /// Port in host order.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// How the chosen socket fits the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Match {
    /// Bound to the packet's destination address.
    Exact,
    /// Bound to any address of the packet's family.
    Wildcard,
    /// An IPv6 socket bound to any address, for an IPv4 packet.
    DualStack,
    /// No listener; or one that something steered the packet to and whose address
    /// or port is another.
    None,
}

/// What chose the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The listener lookup found a socket without a group, or none.
    Lookup,
    /// The hash of the connection chose among the group's members.
    ReuseportHash,
    /// An eBPF program chose among the group's members.
    ReuseportBpf,
    /// A classic BPF filter chose among the group's members.
    ReuseportCbpf,
    /// An `sk_lookup` program chose.
    SkLookup,
    /// `bpf_sk_assign` put the socket on the packet before the lookup.
    SkAssign,
    /// A TPROXY rule put the socket on the packet before the lookup.
    Tproxy,
}

/// Whether the choice was right.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing more specific was there or expected.
    Ok,
    /// A live, more specific listener was passed over, or the wrong program holds the right
    /// address.
    Misdirected,
    /// The destination belongs to a service that has no listener now, and another took its
    /// SYN.
    Uncovered,
    /// A BPF program or TPROXY chose on purpose.
    Steered,
    /// No listener: the client gets a reset.
    Refused,
}

impl Verdict {
    /// Whether it is an alert.
    #[must_use]
    pub fn is_alert(self) -> bool {
        matches!(self, Self::Misdirected | Self::Uncovered)
    }
}

/// Why a verdict is not `ok`, or what else became of the SYN.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Reason {
    /// A more specific listener closed and is not yet back.
    RestartGap,
    /// The kernel walks one chain per port, and the wildcard stands first (before 5.0).
    LegacyOrder,
    /// A group bound to the packet's device and one bound to none: the order of start decides.
    DevOrder,
    /// The specific listener is bound to a device that the packet did not come through.
    DevMismatch,
    /// The packet came through a VRF, and the specific listener is not bound to it.
    VrfScope,
    /// The IPv4 listener is gone, and an IPv6 socket took its packet.
    DualStack,
    /// Nobody listens for the packet's family, but somebody does for the other.
    OtherFamily,
    /// `SO_INCOMING_CPU` of the chosen socket outweighed what is more specific.
    CpuAffinity,
    /// The listener is held by a program that the service does not name.
    WrongOwner,
    /// The service listens in another namespace.
    OtherNetns,
    /// A configured service that nobody listens for.
    NotListening,
    /// Nobody listens.
    NoListener,
    /// An `sk_lookup` program chose.
    BpfSkLookup,
    /// `bpf_sk_assign` chose.
    SkAssign,
    /// A TPROXY rule chose.
    Tproxy,
    /// The program of the reuseport group turned the packet away.
    ReuseportBpf,
    /// The service itself, which listens elsewhere than before.
    Moved,
    /// The right listener, but its accept queue was full: the SYN was dropped.
    AcceptOverflow,
    /// The right listener, but the kernel dropped the SYN before it was taken for processing.
    NotTaken,
    /// Of a hand-over: the ACK of a SYN cookie went to another listener than the SYN.
    CookieAck,
    /// Of a hand-over: the listener closed, and another of its group took the connection.
    Migrated,
    /// None of the causes that sockpick knows.
    Unknown,
}

/// A BPF program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// Who should have had a SYN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// The service, if one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
    /// The listener, if one is there or was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Other>,
}

/// A listening socket that a SYN did not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Bound address; unspecified for a wildcard.
    pub address: IpAddr,
    /// Bound port in host order.
    pub port: u16,
    /// The socket's family.
    pub family: Family,
    /// Interface it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// `IPV6_V6ONLY`
    pub v6only: bool,
    /// Inode number in sockfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// As `listener.id`, once sockpick has met it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ListenerId>,
    /// When it began to listen, if sockpick saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened: Option<Time>,
    /// When it closed; absent while it listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Time>,
    /// Processes that hold it, or held it when it closed.
    pub owners: Arc<[Owner]>,
}

/// How the result was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// fentry and fexit programs.
    Fentry,
    /// kprobes and kretprobes.
    Kprobe,
    /// kprobes and kretprobes, with programs for kernels from 4.14.
    Legacy,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Legacy => "kprobe, with the programs for old kernels",
        })
    }
}
