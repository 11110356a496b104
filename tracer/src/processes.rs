//! Who holds a listening socket: processes, their units and containers, from /proc.
#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use procfs::process::{FDTarget, Process};

use crate::event::Owner;

/// Most listeners whose owners are kept; past that the cache starts afresh, which
/// costs a scan.
const MOST_KEPT: usize = 16_384;
/// A scan is followed by a pause this many times as long, so that scanning never
/// takes more than a tenth of one CPU however many processes there are.
const PAUSE_FACTOR: u32 = 9;

/// Owners by the inode of the socket, found by scanning `/proc/*/fd` as a whole: one
/// scan serves all listeners.
#[derive(Default)]
pub struct Processes {
    owners: HashMap<u64, Arc<[Owner]>>,
    /// Sockets that the next scan is to look for.
    expected: HashSet<u64>,
    /// When the last scan ended, and how long it took.
    scanned: Option<(Instant, Duration)>,
}

impl Processes {
    /// Processes that hold the socket. Scans /proc when the socket is new or what is
    /// known is older than `oldest`, unless the last scan was too short a while ago.
    /// Empty when nobody was found.
    pub fn owners(&mut self, inode: u64, oldest: Duration) -> Arc<[Owner]> {
        let aged = self
            .scanned
            .is_none_or(|(ended, _)| ended.elapsed() > oldest);
        if (aged || !self.owners.contains_key(&inode)) && self.may_scan() {
            self.scan(inode);
        }
        self.owners
            .get(&inode)
            .map_or_else(|| Arc::from([]), Clone::clone)
    }

    /// Adds a process that was seen to accept from the socket, so it holds it, to the
    /// owners: a worker that was forked since the last scan.
    pub fn add(&mut self, inode: u64, pid: u32, comm: &str, owners: &[Owner]) -> Arc<[Owner]> {
        let process = i32::try_from(pid)
            .ok()
            .and_then(|pid| Process::new(pid).ok());
        let owner = process.map_or_else(
            // Gone already: what the kernel said of it is all there is.
            || Owner {
                pid,
                comm: comm.to_owned(),
                exe: None,
                unit: None,
                container: None,
            },
            |process| describe(&process),
        );
        let owners: Arc<[Owner]> = owners.iter().cloned().chain([owner]).collect();
        if let Some(known) = self.owners.get_mut(&inode) {
            *known = owners.clone();
        }
        owners
    }

    /// One process, if it holds the socket: far cheaper to tell than who holds it.
    #[must_use]
    pub fn holder(&self, inode: u64, pid: u32) -> Option<Owner> {
        let process = Process::new(i32::try_from(pid).ok()?).ok()?;
        let mut fds = process.fd().ok()?.flatten();
        // A process that called listen() may have handed the socket on and closed it.
        fds.any(|fd| matches!(fd.target, FDTarget::Socket(held) if held == inode))
            .then(|| describe(&process))
    }

    /// Has the next scan look for the owners of this socket, so that one scan serves
    /// all listeners that a service opens at once.
    pub fn expect(&mut self, inode: u64) {
        if self.expected.len() < MOST_KEPT {
            self.expected.insert(inode);
        }
    }

    /// Forgets a socket that was closed: its inode number may be used again.
    pub fn forget(&mut self, inode: u64) {
        self.owners.remove(&inode);
        self.expected.remove(&inode);
    }

    /// Scans for the sockets given, so that the first SYNs need not wait for it.
    pub fn prepare(&mut self, inodes: impl Iterator<Item = u64>) {
        let mut any = false;
        for inode in inodes.filter(|&inode| inode != 0).take(MOST_KEPT) {
            self.owners.entry(inode).or_insert_with(|| Arc::from([]));
            any = true;
        }
        // A scan for nothing would only put off the first that is needed.
        if any {
            self.scan(0);
        }
    }

    fn may_scan(&self) -> bool {
        self.scanned
            .is_none_or(|(ended, took)| ended.elapsed() >= took * PAUSE_FACTOR)
    }

    /// One pass over all processes, for the sockets known and the new one.
    fn scan(&mut self, new: u64) {
        let started = Instant::now();
        if self.owners.len() >= MOST_KEPT {
            self.owners.clear();
        }
        let mut found: HashMap<u64, Vec<Owner>> = HashMap::new();
        // A process that ends while it is looked at is no owner.
        for process in procfs::process::all_processes()
            .into_iter()
            .flatten()
            .flatten()
        {
            let Ok(fds) = process.fd() else { continue };
            let mut owner = None;
            for fd in fds.flatten() {
                let FDTarget::Socket(inode) = fd.target else {
                    continue;
                };
                let wanted = inode == new
                    || self.owners.contains_key(&inode)
                    || self.expected.contains(&inode);
                if !wanted {
                    continue;
                }
                let owners = found.entry(inode).or_default();
                let owner = owner.get_or_insert_with(|| describe(&process));
                if owners.last().is_none_or(|last| last.pid != owner.pid) {
                    owners.push(owner.clone());
                }
            }
        }
        for (inode, owners) in found {
            self.owners.insert(inode, owners.into());
        }
        self.expected.clear();
        // That nobody holds it (a kernel's socket) is worth remembering, too.
        self.owners.entry(new).or_insert_with(|| Arc::from([]));
        self.scanned = Some((Instant::now(), started.elapsed()));
    }
}

fn describe(process: &Process) -> Owner {
    let groups = process.cgroups().map(|groups| groups.0).unwrap_or_default();
    let paths = || groups.iter().map(|group| group.pathname.as_str());
    Owner {
        pid: process.pid.cast_unsigned(),
        comm: process.stat().map(|stat| stat.comm).unwrap_or_default(),
        exe: process
            .exe()
            .ok()
            .map(|path| path.to_string_lossy().into_owned()),
        unit: paths().find_map(unit),
        container: paths().find_map(container),
    }
}

/// The systemd unit in a cgroup path: its last component that names one.
fn unit(path: &str) -> Option<String> {
    path.rsplit('/')
        .find(|part| {
            [".service", ".scope"]
                .iter()
                .any(|kind| part.ends_with(kind))
        })
        .map(ToOwned::to_owned)
}

/// The container id in a cgroup path: 64 hexadecimal digits, as every runtime of
/// note names its groups, with a prefix and a suffix or without.
fn container(path: &str) -> Option<String> {
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next()?;
        let hex = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers_are_read_from_cgroup_paths() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(
            unit("/system.slice/nginx.service"),
            Some("nginx.service".into())
        );
        assert_eq!(
            unit("/user.slice/user-0.slice/session-3.scope"),
            Some("session-3.scope".into())
        );
        assert_eq!(unit("/"), None);
        assert_eq!(container(&format!("/docker/{id}")), Some(id.into()));
        assert_eq!(
            container(&format!("/system.slice/docker-{id}.scope")),
            Some(id.into())
        );
        assert_eq!(
            container(&format!("/kubepods/pod1/cri-containerd-{id}.scope")),
            Some(id.into())
        );
        assert_eq!(container("/system.slice/nginx.service"), None);
    }
}
