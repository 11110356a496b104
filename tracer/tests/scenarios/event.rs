//! What `sockpick trace -o json` prints, as a consumer reads it: the public schema,
//! written down a second time on purpose.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// One line of output.
#[derive(Debug)]
pub(crate) enum Line {
    /// A SYN.
    Syn(Box<Event>),
    /// A loss.
    Lost(Lost),
    /// A group's health.
    Health(Health),
    /// A connection that another listener got than its SYN.
    Handover(Box<Handover>),
}

/// A loss.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Lost {
    /// How many events.
    pub(crate) lost: u64,
    /// `kernel`, `queue` or `sink`.
    pub(crate) stage: String,
}

/// A connection that another listener got than its SYN.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Handover {
    /// `cookie_ack` or `migrated`
    #[serde(rename = "handover")]
    pub(crate) why: String,
    pub(crate) ktime_ns: u64,
    pub(crate) netns: Netns,
    pub(crate) client: Endpoint,
    pub(crate) destination: Endpoint,
    pub(crate) verdict: String,
    pub(crate) reason: String,
    pub(crate) listener: Listener,
    pub(crate) syn_listener: Option<String>,
    pub(crate) expected: Option<Expected>,
}

impl Handover {
    /// As [`Event::key`].
    pub(crate) fn key(&self) -> (u64, SocketAddr, SocketAddr) {
        let (client, destination) = (self.client.socket(), self.destination.socket());
        (self.netns.inode, client, destination)
    }
}

/// A group's health.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Health {
    /// SYNs given to its members.
    pub(crate) syns: u64,
    /// Connections that nobody had accepted when their listener closed.
    pub(crate) destroyed: u64,
    /// The members.
    pub(crate) members: Vec<Member>,
}

/// A member of a group.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Member {
    pub(crate) syns: u64,
    pub(crate) unbalanced: bool,
    pub(crate) short_lived: bool,
}

/// One SYN.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) schema: u32,
    pub(crate) time: String,
    pub(crate) ktime_ns: u64,
    pub(crate) netns: Netns,
    pub(crate) client: Endpoint,
    pub(crate) destination: Endpoint,
    pub(crate) ifindex: u32,
    pub(crate) ifname: Option<String>,
    #[serde(rename = "match")]
    pub(crate) matched: String,
    pub(crate) via: String,
    pub(crate) verdict: String,
    pub(crate) reason: Option<String>,
    pub(crate) expected: Option<Expected>,
    pub(crate) steered_by: Option<Vec<Program>>,
    pub(crate) listener: Option<Listener>,
    pub(crate) reuseport: Option<Reuseport>,
    pub(crate) backend: String,
}

/// A namespace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Netns {
    pub(crate) inode: u64,
    pub(crate) name: Option<String>,
}

/// An address and a port.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

impl Endpoint {
    /// As the standard library has it.
    pub(crate) fn socket(self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// The chosen listener.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listener {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) family: String,
    pub(crate) device: Option<String>,
    pub(crate) v6only: bool,
    pub(crate) inode: Option<u64>,
    pub(crate) id: String,
    pub(crate) queue: Queue,
    pub(crate) owners: Vec<Owner>,
    pub(crate) accepted_by: Option<Process>,
    pub(crate) opened_by: Option<Process>,
}

/// Who should have had it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Expected {
    pub(crate) service: Option<String>,
    pub(crate) listener: Option<Other>,
}

/// A listener that did not get it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Other {
    pub(crate) inode: Option<u64>,
    pub(crate) closed: Option<String>,
}

/// A program that steered.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Program {
    pub(crate) id: u32,
}

/// Its accept queue.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Queue {
    pub(crate) length: u32,
    pub(crate) limit: u32,
}

/// A process that holds it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) comm: String,
    pub(crate) exe: Option<String>,
    #[serde(default)]
    pub(crate) ended: bool,
    #[serde(default)]
    pub(crate) released: bool,
}

/// A process that accepted from it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) comm: String,
    #[serde(default)]
    pub(crate) ended: bool,
}

/// The group it was chosen from.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Reuseport {
    pub(crate) group: u32,
    pub(crate) size: u16,
    pub(crate) member: Option<u16>,
    pub(crate) program_id: Option<u32>,
}

impl Event {
    /// The connection attempt it is about: no two share this within a scenario.
    pub(crate) fn key(&self) -> (u64, SocketAddr, SocketAddr) {
        let (client, destination) = (self.client.socket(), self.destination.socket());
        (self.netns.inode, client, destination)
    }

    /// Inode of the chosen listener.
    pub(crate) fn inode(&self) -> Option<u64> {
        self.listener.as_ref().and_then(|listener| listener.inode)
    }
}

/// Reads one line.
pub(crate) fn parse(line: &str) -> Result<Line> {
    let shown = || format!("sockpick printed a line that is no event: {line}");
    let value: Value = serde_json::from_str(line).with_context(shown)?;
    if value.get("lost").is_some() {
        return Ok(Line::Lost(
            serde_json::from_value(value).with_context(shown)?,
        ));
    }
    if value.get("handover").is_some() {
        return Ok(Line::Handover(
            serde_json::from_value(value).with_context(shown)?,
        ));
    }
    if value.get("health").is_some() {
        return Ok(Line::Health(
            serde_json::from_value(value).with_context(shown)?,
        ));
    }
    Ok(Line::Syn(
        serde_json::from_value(value).with_context(shown)?,
    ))
}
