//! What `listeners` and `audit` look at alike: the listening sockets, and who holds them.

use std::{
    collections::HashSet,
    io::{self, Write as _},
    path::Path,
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
    namespaces::{self, Found, Namespaces},
    processes::{self, Processes},
};

/// Most listeners whose owners are surely all found: the cache of owners is bounded.
const MOST_LISTENERS: usize = 8192;

/// The listening sockets within the scope, and what is known around them.
pub(super) struct Survey {
    /// In the order of the dump.
    pub(super) listeners: Vec<Listening>,
    /// Namespaces that were asked.
    pub(super) asked: Vec<Found>,
    /// What could not be seen, a sentence each.
    pub(super) remarks: Vec<String>,
    pub(super) processes: Processes,
    names: Namespaces,
}

impl Survey {
    pub(super) fn take(scope: &ScopeArgs) -> Result<Self> {
        let (inventory, asked) = look(scope)?;
        let mut processes = Processes::default();
        processes.prepare(inventory.listeners.iter().map(|listener| listener.inode));
        let mut survey = Self {
            remarks: unseen_namespaces(&inventory),
            listeners: inventory.listeners,
            asked,
            processes,
            names: Namespaces::default(),
        };
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

    /// The same namespaces once more.
    pub(super) fn again(&self, scope: &ScopeArgs) -> Vec<Listening> {
        let mut inventory = listeners::inventory_of(self.asked.clone());
        keep(&mut inventory, scope);
        inventory.listeners
    }

    pub(super) fn owners(&mut self, inode: u64) -> Arc<[Owner]> {
        self.processes.owners(inode, Duration::MAX)
    }

    pub(super) fn netns(&mut self, inode: u32) -> Arc<Netns> {
        self.names.describe(inode, 0)
    }

    /// Name of the interface that a socket is bound to.
    pub(super) fn device(&mut self, bound: &Bound) -> Option<Arc<str>> {
        let index = bound.device;
        (index != 0).then(|| {
            self.netns(bound.netns);
            let name = self.names.interface(bound.netns, index);
            name.unwrap_or_else(|| format!("if{index}").into())
        })
    }

    /// Whether a socket without an owner has none.
    pub(super) fn sees_all_owners(&self) -> bool {
        self.processes.hidden() == 0
            && processes::in_initial_namespace()
            && self.listeners.len() <= MOST_LISTENERS
    }

    fn remark_owners(&mut self) {
        let hidden = self.processes.hidden();
        let inodes: Vec<u64> = self.listeners.iter().map(|one| one.inode).collect();
        let unknown = inodes
            .into_iter()
            .filter(|&inode| self.owners(inode).is_empty())
            .count();
        let listeners = if unknown == 1 {
            "listener"
        } else {
            "listeners"
        };
        if unknown == 0 {
            return;
        }
        if hidden > 0 {
            self.remarks.push(format!(
                "the owners of {unknown} {listeners} are not known, and {} not let this user \
                 see what they hold; {}",
                processes_do(hidden),
                more_rights()
            ));
        } else if !processes::in_initial_namespace() {
            self.remarks.push(format!(
                "the owners of {unknown} {listeners} are not known: only the processes of this \
                 container are visible; run it in the host's pid namespace to see them"
            ));
        }
    }
}

/// Inode number of sockpick's own namespace; 0 if `/proc` is not there.
pub(super) fn own_netns() -> u32 {
    namespaces::inode(Path::new("/proc/self/ns/net")).unwrap_or(0)
}

fn look(scope: &ScopeArgs) -> Result<(Inventory, Vec<Found>)> {
    let mut namespaces = namespaces::all();
    namespaces.sort_by_key(|found| found.inode);
    if !scope.netns.is_empty() {
        namespaces.retain(|found| scope.netns.contains(&found.inode));
        // Named, but no process is in it and `ip netns` does not know it.
        if namespaces.is_empty() {
            return Err(Failure::usage(
                "no such network namespace any more; see ip netns list, or lsns -t net",
            )
            .into());
        }
    }
    let mut inventory = listeners::inventory_of(namespaces.clone());
    if inventory.asked.is_empty() {
        let why = inventory.problems.join("; ");
        return Err(Failure::environment(format!(
            "no network namespace could be looked at: {why}. Run it as root."
        ))
        .into());
    }
    keep(&mut inventory, scope);
    let refused: HashSet<u32> = inventory.refused.iter().map(|found| found.inode).collect();
    namespaces.retain(|found| !refused.contains(&found.inode));
    Ok((inventory, namespaces))
}

fn keep(inventory: &mut Inventory, scope: &ScopeArgs) {
    if !scope.port.is_empty() {
        inventory.listeners.retain(|listener| {
            let port = listener.bound.port;
            scope.port.iter().any(|ports| ports.contains(port))
        });
    }
}

fn unseen_namespaces(inventory: &Inventory) -> Vec<String> {
    let mut remarks = Vec::new();
    let refused = inventory.refused.len();
    if refused > 0 {
        let namespaces = if refused == 1 {
            "1 network namespace was"
        } else {
            &format!("{refused} network namespaces were")
        };
        let why = inventory.problems.join("; ");
        remarks.push(format!(
            "{namespaces} not looked at: {why}; {}",
            more_rights()
        ));
    }
    let hidden = namespaces::hidden();
    if hidden > 0 {
        remarks.push(format!(
            "other network namespaces may be there: {} not let this user see theirs; {}",
            processes_do(hidden),
            more_rights()
        ));
    }
    remarks
}

fn processes_do(count: usize) -> String {
    if count == 1 {
        "1 process does".into()
    } else {
        format!("{count} processes do")
    }
}

fn more_rights() -> &'static str {
    if nix::unistd::geteuid().is_root() {
        "this takes every capability that they have"
    } else {
        "run it as root"
    }
}

/// Says on stderr what could not be seen.
pub(super) fn tell(remarks: &[String]) {
    for remark in remarks {
        // Nobody may be left to read it.
        let _ = writeln!(io::stderr(), "sockpick: {remark}");
    }
}
