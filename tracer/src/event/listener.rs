//! The listening socket that a SYN got: where it is bound, who holds it, and its group.

use std::{fmt, net::IpAddr, sync::Arc};

use serde::Serialize;

use super::{
    alike::{are_same, is_same},
    time::Time,
};

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Bound address; unspecified for a wildcard.
    pub address: IpAddr,
    /// Bound port in host order.
    pub port: u16,
    /// The socket's family.
    pub family: Family,
    /// Interface it is bound to, by name, or `if<index>` where the name is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// `IPV6_V6ONLY`
    pub v6only: bool,
    /// Inode number in sockfs, as in `/proc/PID/fd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// Socket cookie, where the kernel has given it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// Names this socket from `listen()` to close within one run of sockpick.
    pub id: ListenerId,
    /// When it began to listen, where the order of starting decided and sockpick saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened: Option<Time>,
    /// Its accept queue when the SYN came.
    pub queue: Queue,
    /// Processes that hold it open.
    pub owners: Arc<[Owner]>,
    /// No process holds it: a server inside the kernel. Said only where every process could be
    /// looked into.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_kernel: bool,
    /// Process that last took a connection from it before this SYN, whether it holds it or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_by: Option<Process>,
    /// Process that called `listen()`, if sockpick saw that, whether it holds it or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_by: Option<Process>,
}

impl Listener {
    /// As [`Event::is_like`](super::Event::is_like) has it.
    #[inline]
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let Self {
            address,
            port,
            family,
            device,
            v6only,
            inode,
            cookie,
            id,
            opened,
            queue: Queue { length: _, limit },
            owners,
            in_kernel,
            accepted_by,
            opened_by,
        } = self;
        *id == other.id
            && is_same(owners, &other.owners)
            && are_same(
                accepted_by.as_ref(),
                other.accepted_by.as_ref(),
                Process::is_same,
            )
            && are_same(
                opened_by.as_ref(),
                other.opened_by.as_ref(),
                Process::is_same,
            )
            && *in_kernel == other.in_kernel
            && *limit == other.queue.limit
            && *address == other.address
            && *port == other.port
            && *family == other.family
            && *device == other.device
            && *v6only == other.v6only
            && *inode == other.inode
            && *cookie == other.cookie
            && *opened == other.opened
    }
}

/// A listener's name, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u64);

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for ListenerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `AF_INET`
    Ipv4,
    /// `AF_INET6`
    Ipv6,
}

impl Family {
    /// That of an address. An IPv6 address that stands for an IPv4 one is IPv6.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::Ipv4
        } else {
            Self::Ipv6
        }
    }
}

/// An accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Queue {
    /// Connections that wait for `accept()`.
    pub length: u32,
    /// The backlog it was given.
    pub limit: u32,
}

/// A process that holds a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Owner {
    /// Process id in the pid namespace that sockpick reads; 0 for one that is not in it.
    pub pid: u32,
    /// Its `comm`.
    pub comm: String,
    /// Its executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// systemd unit it runs in, of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Id or name of the container it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name that its runtime gives the container, where `container` is an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// Pod of Kubernetes that the container is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// systemd unit it runs in, of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_unit: Option<String>,
    /// When it started, in clock ticks since boot: with `pid` it names one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starttime: Option<u64>,
    /// It has ended since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// It lives, and has closed the socket since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
}

/// A pod of Kubernetes, as far as the host's files tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name; names one pod with `namespace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its uid; of a static pod the hash of its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

impl Pod {
    /// `NAMESPACE/NAME`, where both are known.
    #[must_use]
    pub fn full_name(&self) -> Option<String> {
        let (namespace, name) = self.namespace.as_ref().zip(self.name.as_ref())?;
        Some(format!("{namespace}/{name}"))
    }
}

/// Those of a listener's owners that count: who holds it still, or where nobody does, who held
/// it last.
pub fn counting(owners: &[Owner]) -> impl Iterator<Item = &Owner> {
    let is_past = |owner: &Owner| owner.ended || owner.released;
    let all_past = owners.iter().all(is_past);
    owners
        .iter()
        .filter(move |owner| all_past || !is_past(owner))
}

impl Owner {
    /// Whether both run in one container (by its id: names are given anew), or in one service of systemd: a session, or all that
    /// a user runs, is none.
    #[must_use]
    pub fn is_one_service(&self, other: &Self) -> bool {
        let is_service = |unit: &String| unit.ends_with(".service") && !unit.starts_with("user@");
        let served = self.unit.as_ref().is_some_and(is_service);
        match (&self.container, &other.container) {
            (None, None) => served && self.unit == other.unit,
            // A container may have systemd, and services, of its own.
            (Some(one), Some(two)) => one == two && self.container_unit == other.container_unit,
            _ => false,
        }
    }
}

/// A process, briefly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Process id in the pid namespace that sockpick reads; 0 for one that is not in it.
    pub pid: u32,
    /// Its `comm`; of one that could not be looked at, that of the thread.
    pub comm: Arc<str>,
    /// Of one that is not in sockpick's pid namespace: process id in the initial one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_pid: Option<u32>,
    /// It has ended since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

impl Process {
    fn is_same(&self, other: &Self) -> bool {
        let Self {
            pid,
            comm,
            initial_pid,
            ended,
        } = self;
        *pid == other.pid
            && is_same(comm, &other.comm)
            && *initial_pid == other.initial_pid
            && *ended == other.ended
    }
}

/// A reuseport group and the member that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reuseport {
    /// Number of the group within one run of sockpick.
    pub group: u32,
    /// Members of the group when the SYN came.
    pub size: u16,
    /// Index of the chosen one in the kernel's list, from 0; absent past the
    /// members searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<u16>,
    /// Program attached to the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program_id: Option<u32>,
}

impl Queue {
    /// Whether a SYN that meets it is dropped: the kernel's `sk_acceptq_is_full`.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.length > self.limit
    }
}
