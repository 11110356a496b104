//! The health record of a reuseport group.

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;

use super::listener::ListenerId;

/// How a reuseport group fared over the session: a record of its own, at the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupHealth {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// `reuseport`: marks the record.
    pub health: &'static str,
    /// Inode number of its namespace.
    pub netns: u32,
    /// Where its members are bound.
    pub listener: GroupAddress,
    /// SYNs its members were given.
    pub syns: u64,
    /// Connections that waited for `accept()` when their listener closed: the kernel resets
    /// them, unless it may migrate them (`net.ipv4.tcp_migrate_req`).
    pub destroyed: u64,
    /// The members; empty for a listener that is in no group.
    pub members: Vec<MemberHealth>,
}

/// Where the members of a group are bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupAddress {
    /// Bound address.
    pub address: IpAddr,
    /// Bound port in host order.
    pub port: u16,
    /// Index of the interface they are bound to; 0 for none.
    pub device: u32,
    /// Its name, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<Arc<str>>,
}

/// How one member fared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberHealth {
    /// As `listener.id`, if it was given a SYN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ListenerId>,
    /// Inode number in sockfs, while it listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// SYNs it was given.
    pub syns: u64,
    /// SYNs it would have been given had the hash been fair while it was there.
    pub fair: f64,
    /// More than four standard deviations from its fair share.
    pub unbalanced: bool,
    /// Opened and closed within ten seconds, and took SYNs with it.
    pub short_lived: bool,
    /// `CLOCK_MONOTONIC` ns at which it began to listen, if sockpick saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_ns: Option<u64>,
    /// `CLOCK_MONOTONIC` ns at which it closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_ns: Option<u64>,
    /// Connections that waited for `accept()` when it closed.
    pub destroyed: u64,
}
