//! Answers of the machine as values, to be written down and given again.

use serde::{Deserialize, Serialize};

use super::Then;
use crate::{
    event,
    kin::{Kin, Relation},
    listeners::{Inventory, Listening},
    probes::steering::Attachment,
    stock::Stock,
};

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Key {
    /// Name of a namespace: inode number and cookie.
    Netns(u32, u64),
    /// Name of an interface: namespace and index.
    Interface(u32, u32),
    /// `tcp_l3mdev_accept` of a namespace.
    L3mdevAccept(u32),
    /// Programs of an `sk_lookup` (namespace).
    SkLookup(u32),
    /// Programs of tc ingress (namespace and interface).
    Ingress(u32, u32),
    /// Program of a group (its id).
    Group(u32),
    /// Whose a listener was (its id).
    Whose(u64),
    /// Who holds a socket (its inode number).
    Living(u64),
    /// Who held a listener last (its id).
    Last(u64),
    /// Whose a listener is at the end (its id).
    Told(u64),
    /// Relations of processes.
    Kin,
    /// Whether a namespace (with its cookie) is a sockpick's own.
    Own(u32, u64),
    /// The listeners as they are now.
    Stock,
}

impl From<Attachment> for Key {
    fn from(place: Attachment) -> Self {
        match place {
            Attachment::SkLookup(netns) => Self::SkLookup(netns),
            Attachment::Ingress(netns, index) => Self::Ingress(netns, index),
            Attachment::Group(program) => Self::Group(program),
        }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// A name, or none.
    Name(Option<String>),
    /// Yes or no.
    Flag(bool),
    /// Ids and names.
    Programs(Vec<(u32, String)>),
    /// Whose it was.
    Whose(Whose),
    /// Processes.
    Owners(Vec<Owner>),
    /// Words.
    Text(String),
    /// Ancestors and start of each process, and whether it is an orphan.
    Kin(Vec<(u32, Vec<u32>, u64, bool)>),
    /// Listeners.
    Stock(Listeners),
    /// As [`Value::Whose`], where the names of containers are known.
    WhoseNamed(Box<(Whose, Vec<Named>)>),
    /// As [`Value::Owners`], where the names of containers are known.
    OwnersNamed(Box<(Vec<Owner>, Vec<Named>)>),
}

/// What the container of an owner is called, and the pod it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Place of the owner among those of the answer.
    pub(super) owner: u32,
    pub(crate) container: Option<String>,
    /// Of the pod.
    pub(crate) namespace: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) uid: Option<String>,
}

/// [`Then`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    pub(crate) owners: Vec<Owner>,
    in_kernel: bool,
    pub(crate) accepted_by: Option<Process>,
    pub(crate) opened_by: Option<Process>,
}

impl From<&Then> for Whose {
    fn from(then: &Then) -> Self {
        Self {
            owners: then.owners.iter().map(Owner::from).collect(),
            in_kernel: then.in_kernel,
            accepted_by: then.accepted_by.as_ref().map(Process::from),
            opened_by: then.opened_by.as_ref().map(Process::from),
        }
    }
}

impl From<Whose> for Then {
    fn from(whose: Whose) -> Self {
        Self {
            owners: whose.owners.into_iter().map(event::Owner::from).collect(),
            in_kernel: whose.in_kernel,
            accepted_by: whose.accepted_by.map(event::Process::from),
            opened_by: whose.opened_by.map(event::Process::from),
        }
    }
}

/// [`event::Owner`], with every field always there, but for what [`Named`] has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub(crate) pid: u32,
    pub(crate) comm: String,
    pub(crate) exe: Option<String>,
    pub(crate) unit: Option<String>,
    pub(crate) container: Option<String>,
    pub(crate) container_unit: Option<String>,
    pub(crate) starttime: Option<u64>,
    pub(crate) ended: bool,
    pub(crate) released: bool,
}

impl From<&event::Owner> for Owner {
    fn from(owner: &event::Owner) -> Self {
        let event::Owner {
            pid,
            comm,
            exe,
            unit,
            container,
            container_unit,
            starttime,
            ended,
            released,
            container_name: _,
            pod: _,
        } = owner.clone();
        Self {
            pid,
            comm,
            exe,
            unit,
            container,
            container_unit,
            starttime,
            ended,
            released,
        }
    }
}

impl From<Owner> for event::Owner {
    fn from(owner: Owner) -> Self {
        let Owner {
            pid,
            comm,
            exe,
            unit,
            container,
            container_unit,
            starttime,
            ended,
            released,
        } = owner;
        Self {
            pid,
            comm,
            exe,
            unit,
            container,
            container_unit,
            starttime,
            ended,
            released,
            container_name: None,
            pod: None,
        }
    }
}

/// [`event::Process`], with every field always there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub(crate) pid: u32,
    pub(crate) comm: String,
    pub(crate) initial_pid: Option<u32>,
    pub(crate) ended: bool,
}

impl From<&event::Process> for Process {
    fn from(process: &event::Process) -> Self {
        Self {
            pid: process.pid,
            comm: process.comm.to_string(),
            initial_pid: process.initial_pid,
            ended: process.ended,
        }
    }
}

impl From<Process> for event::Process {
    fn from(process: Process) -> Self {
        Self {
            pid: process.pid,
            comm: process.comm.into(),
            initial_pid: process.initial_pid,
            ended: process.ended,
        }
    }
}

/// The listeners at one moment: an [`Inventory`], or a [`Stock`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listeners {
    pub(crate) all: Vec<Listening>,
    asked: Vec<u32>,
    done_ns: u64,
    closing: Vec<(u32, u64)>,
    opening: Vec<(u32, u64)>,
}

impl Listeners {
    /// These are there.
    #[must_use]
    pub fn present(all: Vec<Listening>) -> Self {
        Self {
            all,
            ..Self::default()
        }
    }
}

impl From<&Inventory> for Listeners {
    fn from(inventory: &Inventory) -> Self {
        let mut asked: Vec<u32> = inventory.asked.iter().copied().collect();
        asked.sort_unstable();
        Self {
            all: inventory.listeners.clone(),
            asked,
            ..Self::default()
        }
    }
}

impl From<Listeners> for Inventory {
    fn from(listeners: Listeners) -> Self {
        Self {
            listeners: listeners.all,
            asked: listeners.asked.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl From<&Stock> for Listeners {
    fn from(stock: &Stock) -> Self {
        let [closing, opening] = stock.announced();
        Self {
            done_ns: stock.done_ns,
            closing,
            opening,
            ..Self::from(&stock.inventory)
        }
    }
}

impl From<Listeners> for Stock {
    fn from(listeners: Listeners) -> Self {
        let (closing, opening) = (listeners.closing.clone(), listeners.opening.clone());
        let done_ns = listeners.done_ns;
        Self::new(listeners.into(), done_ns).with_announced(closing, opening)
    }
}

impl From<&Kin> for Value {
    fn from(kin: &Kin) -> Self {
        let mut all: Vec<_> = kin
            .relations
            .iter()
            .map(|(pid, relation)| {
                let orphan = kin.orphans.contains(pid);
                (*pid, relation.ancestors.clone(), relation.started, orphan)
            })
            .collect();
        all.sort_unstable();
        Self::Kin(all)
    }
}

impl From<Value> for Kin {
    fn from(value: Value) -> Self {
        let mut kin = Self::default();
        let Value::Kin(all) = value else { return kin };
        for (pid, ancestors, started, orphan) in all {
            kin.relations.insert(pid, Relation { ancestors, started });
            if orphan {
                kin.orphans.insert(pid);
            }
        }
        kin
    }
}
