//! What can be seen of listeners without tracing: the sockets, and who holds them.

mod choosers;
pub(crate) mod entry;
pub(crate) mod gather;
pub(crate) mod look;
pub(crate) mod table;

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Result;

use crate::{
    cli::ScopeArgs,
    event::{Netns, Owner},
    failure::Failure,
    judge::rules::Bound,
    listeners::{self, Inventory, Listening},
    namespaces::{self, Found, Namespaces, Search},
    processes::{self, Processes},
    remark::remark,
    words,
};

/// Most listeners whose owners are surely all found: the cache of owners is bounded.
const MOST_LISTENERS: usize = 12_288;
/// How often namespaces are looked for, while those that were found are gone before they are
/// entered.
const MOST_LOOKS: u32 = 3;

/// The listening sockets within the scope, and what is known around them.
pub(crate) struct Survey {
    /// In the order of the dump.
    pub(crate) listeners: Vec<Listening>,
    /// Namespaces that were asked.
    pub(crate) asked: Vec<Found>,
    /// What could not be seen, a sentence each.
    pub(crate) remarks: Vec<String>,
    pub(crate) processes: Processes,
    /// Sockets that no process holds, by namespace and inode number.
    kernels: HashSet<(u32, u64)>,
    missed_namespaces: bool,
    names: Namespaces,
}

impl Survey {
    pub(crate) fn take(scope: &ScopeArgs) -> Result<Self> {
        let look = Look::take(scope)?;
        let mut processes = Processes::default();
        processes.prepare(
            look.inventory
                .listeners
                .iter()
                .map(|listener| listener.inode),
        );
        let mut names = Namespaces::default();
        names.learn(&look.asked);
        let mut survey = Self {
            remarks: look.remarks(),
            missed_namespaces: look.is_partial(),
            listeners: look.inventory.listeners,
            asked: look.asked,
            processes,
            kernels: HashSet::new(),
            names,
        };
        survey.find_kernels();
        survey.remark_owners();
        if survey.listeners.iter().any(|listener| !listener.complete) {
            survey.remarks.push(
                "the kernel has no inet_diag, so devices, IPV6_V6ONLY and queue limits are not \
                 known; modprobe tcp_diag may help"
                    .into(),
            );
        }
        Ok(survey)
    }

    /// A file whose namespace this is.
    pub(crate) fn path(&mut self, netns: u32) -> Option<PathBuf> {
        self.names.path(netns)
    }

    /// Some of the namespaces once more.
    pub(crate) fn again(&self, namespaces: &HashSet<u32>) -> Vec<Listening> {
        let asked = self.asked.iter();
        let asked = asked.filter(|found| namespaces.contains(&found.inode));
        listeners::inventory_of(asked.cloned().collect()).listeners
    }

    /// Whether something that may have listeners was not looked at.
    pub(crate) fn missed_namespaces(&self) -> bool {
        self.missed_namespaces
    }

    pub(crate) fn owners(&mut self, inode: u64) -> Arc<[Owner]> {
        self.processes.owners(inode, Duration::MAX)
    }

    pub(crate) fn netns(&mut self, inode: u32) -> Arc<Netns> {
        self.names.describe(inode, 0)
    }

    /// Name of the interface that a socket is bound to.
    pub(crate) fn device(&mut self, bound: &Bound) -> Option<Arc<str>> {
        let index = bound.device;
        (index != 0).then(|| {
            self.netns(bound.netns);
            let name = self.names.interface(bound.netns, index);
            name.unwrap_or_else(|| format!("if{index}").into())
        })
    }

    /// Whether a socket without an owner has none.
    pub(crate) fn sees_all_owners(&self) -> bool {
        self.processes.sees_all() && self.listeners.len() <= MOST_LISTENERS
    }

    /// Whether no process holds it: a server inside the kernel.
    pub(crate) fn in_kernel(&self, listener: &Listening) -> bool {
        listener.inode != 0 && self.kernels.contains(&key(listener))
    }

    /// What nobody holds is the kernel's if it is still there: else it closed meanwhile.
    fn find_kernels(&mut self) {
        if !self.sees_all_owners() {
            return;
        }
        let listeners: Vec<(u32, u64)> = self.listeners.iter().map(key).collect();
        let unknown = listeners.into_iter();
        let unknown = unknown.filter(|&(_, inode)| self.owners(inode).is_empty());
        let namespaces: HashSet<u32> = unknown.map(|(netns, _)| netns).collect();
        if namespaces.is_empty() {
            return;
        }
        for listener in self.again(&namespaces) {
            if self.owners(listener.inode).is_empty() {
                self.kernels.insert(key(&listener));
            }
        }
    }

    /// How many listeners have no owner that is known.
    fn unknown(&mut self) -> usize {
        let inodes: Vec<u64> = self.listeners.iter().map(|one| one.inode).collect();
        let unknown = inodes.into_iter();
        unknown
            .filter(|&inode| self.owners(inode).is_empty())
            .count()
    }

    fn remark_owners(&mut self) {
        let unknown = self.unknown();
        let listeners = if unknown == 1 {
            "listener"
        } else {
            "listeners"
        };
        let why = processes::blindness(self.processes.hidden());
        if let Some(why) = why.filter(|_| unknown > 0) {
            self.remarks.push(format!(
                "the owners of {unknown} {listeners} are not known: {why}"
            ));
        }
    }
}

fn key(listener: &Listening) -> (u32, u64) {
    (listener.bound.netns, listener.inode)
}

/// The namespaces within the scope, and their listeners.
struct Look {
    inventory: Inventory,
    /// In the order of their inode numbers.
    asked: Vec<Found>,
    /// Processes that do not let themselves be looked into.
    hidden: usize,
    doubtful: BTreeMap<(String, u32), usize>,
}

impl Look {
    fn take(scope: &ScopeArgs) -> Result<Self> {
        let wanted: Vec<u32> = scope
            .netns
            .iter()
            .map(namespaces::named)
            .collect::<Result<_, _>>()?;
        let (mut search, mut inventory) = look_at(&wanted);
        for _ in 1..MOST_LOOKS {
            if !inventory.refused.iter().any(is_gone) {
                break;
            }
            (search, inventory) = look_at(&wanted);
        }
        if inventory.asked.is_empty() && inventory.refused.is_empty() {
            return Err(Failure::usage(
                "no such network namespace any more; see ip netns list, or lsns -t net",
            )
            .into());
        }
        if inventory.asked.is_empty() {
            let why = inventory.problems.join("; ");
            return Err(Failure::environment(format!(
                "no network namespace could be looked at: {why}. Run it as root."
            ))
            .into());
        }
        if !scope.port.is_empty() {
            let named = |listener: &Listening| {
                let port = listener.bound.port;
                scope.port.iter().any(|ports| ports.contains(port))
            };
            inventory.listeners.retain(named);
        }
        let asked = |found: &&Found| inventory.asked.contains(&found.inode);
        Ok(Self {
            asked: search.namespaces().filter(asked).cloned().collect(),
            inventory,
            hidden: search.hidden,
            doubtful: search.doubtful,
        })
    }

    /// Whether there may be namespaces that were not looked at.
    fn is_partial(&self) -> bool {
        !self.inventory.refused.is_empty() || self.hidden > 0 || !self.doubtful.is_empty()
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let refused = self.inventory.refused.len();
        if refused > 0 {
            let namespaces = if refused == 1 {
                "1 network namespace was"
            } else {
                &format!("{refused} network namespaces were")
            };
            let why = self.inventory.problems.join("; ");
            remarks.push(format!(
                "{namespaces} not looked at: {why}; {}",
                processes::more_rights()
            ));
        }
        if self.hidden > 0 {
            remarks.push(format!(
                "other network namespaces may be there: {} not let this user see theirs; {}",
                processes_do(self.hidden),
                processes::more_rights()
            ));
        }
        // Whoever may not look into some processes may ask no socket.
        let doubtful = self.doubtful.first_key_value().filter(|_| self.hidden == 0);
        if let Some(((comm, pid), _)) = doubtful {
            let sockets: usize = self.doubtful.values().sum();
            let (sockets, are) = if sockets == 1 {
                ("1 TCP socket".to_owned(), "is")
            } else {
                (format!("{sockets} TCP sockets"), "are")
            };
            let others = match self.doubtful.len() - 1 {
                0 => String::new(),
                others => format!(" and {others} other processes"),
            };
            remarks.push(format!(
                "{sockets} of {}({pid}){others} {are} unused, or in a network namespace \
                 that only a socket keeps and that was not looked at; to look takes Linux 5.6 \
                 and root",
                words::printable(comm)
            ));
        }
        remarks
    }
}

/// Looks at these namespaces, or at all that there are.
fn look_at(wanted: &[u32]) -> (Search, Inventory) {
    let named = |found: &&Found| wanted.is_empty() || wanted.contains(&found.inode);
    let mut search = Search::thorough();
    let first: Vec<Found> = search.namespaces().filter(named).cloned().collect();
    let mut inventory = listeners::inventory_of(first.clone());
    // What a socket alone keeps is found only where all others are known.
    if wanted.iter().any(|&inode| search.get(inode).is_none()) || wanted.is_empty() {
        let seen = inventory.listeners.iter().map(|listener| listener.inode);
        search.kept_by_sockets(&seen.collect());
        let known: HashSet<u32> = first.iter().map(|found| found.inode).collect();
        let more = search.namespaces().filter(named);
        let more = more.filter(|found| !known.contains(&found.inode));
        inventory.extend(listeners::inventory_of(more.cloned().collect()));
    }
    (search, inventory)
}

/// Whoever had the namespace where it was found has it no more; others may.
fn is_gone(found: &Found) -> bool {
    let now = namespaces::inode(&found.path);
    now.is_some_and(|inode| inode != found.inode) || matches!(found.path.try_exists(), Ok(false))
}

fn processes_do(count: usize) -> String {
    if count == 1 {
        "1 process does".into()
    } else {
        format!("{count} processes do")
    }
}

/// Says on stderr what could not be seen.
pub(crate) fn tell(remarks: &[String]) {
    for text in remarks {
        remark(text);
    }
}
