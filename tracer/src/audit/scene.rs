//! What is looked at: listeners, connections, and who holds them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    event::{Family, Netns, Owner, Program, Queue},
    judge::rules::{Algorithm, Bound},
    kin::{Kin, each_once},
    listeners::connections::Connection,
    words,
};

/// Everything that was looked at.
#[derive(Clone, Debug)]
pub struct Scene {
    /// How this kernel looks a listener up.
    pub algorithm: Algorithm,
    /// The listeners, grouped.
    pub groups: Vec<Group>,
    /// Connections on the ports of interest, at the second look.
    pub connections: Vec<Held>,
    /// Of the processes concerned.
    pub kin: Kin,
    /// Groups with a program, as far as the kernel told.
    pub choosers: Vec<Chooser>,
    /// Whether every process could be looked into, so that no owner is no owner.
    pub owners_complete: bool,
    /// How long the accept queues were watched.
    pub watched: Duration,
}

/// Listeners bound alike under one user, in chain order: one reuseport group, or one socket.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their namespace.
    pub netns: Arc<Netns>,
    /// Where they are bound.
    pub bound: Bound,
    /// Name of the interface they are bound to.
    pub device: Option<Arc<str>>,
    /// Owner of the sockets.
    pub uid: u32,
    /// At least one.
    pub members: Vec<Member>,
}

/// One listening socket.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its place in the dump: chain order within a namespace and family.
    pub place: usize,
    /// Its inode number.
    pub inode: u64,
    /// Its accept queue at the first look.
    pub queue: Queue,
    /// And at the second; `None` if it was gone.
    pub later: Option<Queue>,
    /// Processes that hold it.
    pub owners: Arc<[Owner]>,
    /// Whether device, `v6only` and queue are known.
    pub complete: bool,
}

/// A connection and who holds it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The connection.
    pub connection: Connection,
    /// Processes that hold it; empty where none was found.
    pub holders: Arc<[Owner]>,
    /// Nobody had accepted it at either look.
    pub waits: bool,
}

/// A group, by its place, and its program; without a number it is a classic filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chooser {
    /// Place among [`Scene::groups`].
    pub group: usize,
    /// The program, as far as it is known.
    pub program: Option<Program>,
}

/// Listeners that a finding is about.
#[derive(Clone, Debug, Serialize)]
pub struct Party {
    /// Bound address; unspecified for a wildcard.
    pub address: IpAddr,
    /// Bound port.
    pub port: u16,
    /// Family of the sockets.
    pub family: Family,
    /// Interface they are bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Arc<str>>,
    /// `IPV6_V6ONLY`
    pub v6only: bool,
    /// Owner of the sockets.
    pub uid: u32,
    /// Inode numbers of the sockets, in chain order.
    pub inodes: Vec<u64>,
    /// Processes that hold any of them.
    pub owners: Vec<Owner>,
}

impl Group {
    /// Where it is bound, as it is shown.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let address = self.bound.shown_address();
        words::bound_at(address, self.bound.port, self.device.as_deref())
    }

    /// Everybody who holds a member, each once.
    #[must_use]
    pub fn owners(&self) -> Vec<Owner> {
        each_once(self.members.iter().flat_map(|member| member.owners.iter()))
    }

    pub(super) fn is_complete(&self) -> bool {
        self.members.iter().all(|member| member.complete)
    }

    pub(super) fn party(&self, inodes: Vec<u64>, owners: Vec<Owner>) -> Party {
        Party {
            address: self.bound.shown_address(),
            port: self.bound.port,
            family: self.bound.family,
            device: self.device.clone(),
            v6only: self.bound.v6only,
            uid: self.uid,
            inodes,
            owners,
        }
    }
}
