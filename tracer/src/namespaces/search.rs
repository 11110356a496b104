//! Where network namespaces are found: what a process or one of its threads is in, what is
//! mounted somewhere, what a process has a descriptor of.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::found::{Found, NAMED, inode};
use crate::{own, processes::is_kernel_thread};

/// Every namespace that is found, and what else the search met.
#[derive(Default)]
pub struct Search {
    found: BTreeMap<u32, Found>,
    /// How many processes do not let this user see which namespace they are in, or which
    /// descriptors they have.
    pub hidden: usize,
    /// Processes with TCP sockets that may be in a namespace that was not found, and how many.
    pub doubtful: BTreeMap<(String, u32), usize>,
    /// Sockets that processes hold, by inode number, with one descriptor each.
    pub(super) sockets: FxHashMap<u64, Descriptor>,
    /// Namespaces that another sockpick has for itself.
    sockpicks: FxHashSet<u32>,
}

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) pid: u32,
    pub(super) fd: i32,
}

impl Search {
    /// Namespaces that a process is in or that have a name or a mount: a quick look.
    #[must_use]
    pub fn quick() -> Self {
        let mut search = Self::without_sockpicks();
        search.own_and_named();
        let mut mounts = FxHashSet::default();
        for pid in processes() {
            search.process(pid, &mut mounts);
        }
        search
    }

    /// Those that only a thread is in or a descriptor keeps, too: as much work as there are
    /// descriptors on the machine.
    #[must_use]
    pub fn thorough() -> Self {
        let mut search = Self::without_sockpicks();
        search.own_and_named();
        let mut mounts = FxHashSet::default();
        for pid in processes() {
            if search.process(pid, &mut mounts) {
                search.threads(pid);
                search.descriptors(pid);
            }
        }
        search
    }

    /// Leaves out what another sockpick has for its self-check just now.
    fn without_sockpicks() -> Self {
        Self {
            sockpicks: own::announced(),
            ..Self::default()
        }
    }

    /// What was found, in the order of the inode numbers.
    pub fn namespaces(&self) -> impl Iterator<Item = &Found> {
        self.found.values()
    }

    /// The one with this inode number.
    #[must_use]
    pub fn get(&self, inode: u32) -> Option<&Found> {
        self.found.get(&inode)
    }

    pub(super) fn add(&mut self, inode: u32, path: impl FnOnce() -> PathBuf) {
        if self.sockpicks.contains(&inode) {
            return;
        }
        self.found.entry(inode).or_insert_with(|| Found {
            inode,
            path: path(),
            name: None,
            kept: None,
        });
    }

    /// One that this descriptor alone leads to.
    pub(super) fn add_kept(&mut self, inode: u32, file: File) {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        self.add(inode, || path);
        if let Some(found) = self.found.get_mut(&inode) {
            found.kept = Some(Arc::new(file));
        }
    }

    fn own_and_named(&mut self) {
        self.found.extend(named().map(|found| (found.inode, found)));
        let own = Path::new("/proc/self/ns/net");
        if let Some(inode) = inode(own) {
            self.add(inode, || own.to_owned());
        }
    }

    /// Whether the process lets itself be looked into.
    fn process(&mut self, pid: u32, mounts: &mut FxHashSet<u64>) -> bool {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        match fs::metadata(&path) {
            Ok(data) => self.add(data.ino() as u32, || path),
            Err(error) => {
                let is_hidden = error.kind() == io::ErrorKind::PermissionDenied;
                // The kernel's own threads are where the first process is.
                self.hidden += usize::from(is_hidden && !is_kernel_thread(pid));
                return false;
            }
        }
        let mount_namespace = fs::metadata(format!("/proc/{pid}/ns/mnt"));
        if mount_namespace.is_ok_and(|data| mounts.insert(data.ino())) {
            self.mounts(pid);
        }
        true
    }

    /// What is mounted in the mount namespace of a process: `/run/docker/netns`, and wherever
    /// else a runtime keeps its namespaces.
    fn mounts(&mut self, pid: u32) {
        let table = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        for (inode, place) in table.split(|&byte| byte == b'\n').filter_map(mounted) {
            self.add(inode, || {
                let mut path = PathBuf::from(format!("/proc/{pid}/root"));
                path.push(place.strip_prefix("/").unwrap_or(&place));
                path
            });
        }
    }

    /// A thread may be in another namespace than its process.
    fn threads(&mut self, pid: u32) {
        let tasks = format!("/proc/{pid}/task");
        // Two links, and one for each thread.
        if fs::metadata(&tasks).is_ok_and(|data| data.nlink() <= 3) {
            return;
        }
        for path in entries(&tasks).map(|path| path.join("ns/net")) {
            if let Some(inode) = inode(&path) {
                self.add(inode, || path);
            }
        }
    }

    fn descriptors(&mut self, pid: u32) {
        let directory = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(directory) => directory,
            Err(error) => {
                self.hidden += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
                return;
            }
        };
        for path in directory.flatten().map(|entry| entry.path()) {
            let Ok(target) = fs::read_link(&path) else {
                continue;
            };
            match kind(target.as_os_str().as_bytes()) {
                Some(Target::Namespace(inode)) => self.add(inode, || path),
                Some(Target::Socket(inode)) => {
                    let fd = path.file_name().and_then(OsStr::to_str);
                    if let Some(fd) = fd.and_then(|fd| fd.parse().ok()) {
                        self.sockets.entry(inode).or_insert(Descriptor { pid, fd });
                    }
                }
                None => {}
            }
        }
    }
}

impl Descriptor {
    /// Whether it is of the socket with this inode number now.
    pub(super) fn is_of(self, socket: u64) -> bool {
        let link = fs::read_link(format!("/proc/{}/fd/{}", self.pid, self.fd));
        link.is_ok_and(|link| kind(link.as_os_str().as_bytes()) == Some(Target::Socket(socket)))
    }
}

/// What a descriptor is of, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Namespace(u32),
    Socket(u64),
}

/// From the text of its link in `/proc`.
fn kind(link: &[u8]) -> Option<Target> {
    let number = |prefix: &[u8]| {
        let inner = link.strip_prefix(prefix)?.strip_suffix(b"]")?;
        std::str::from_utf8(inner).ok()?.parse::<u64>().ok()
    };
    if let Some(inode) = number(b"socket:[") {
        return Some(Target::Socket(inode));
    }
    let inode = number(b"net:[")?;
    inode.try_into().ok().map(Target::Namespace)
}

/// A line of `mountinfo` that mounts a network namespace: which, and where.
fn mounted(line: &[u8]) -> Option<(u32, PathBuf)> {
    let mut fields = line.split(|&byte| byte == b' ').skip(3);
    let Target::Namespace(inode) = kind(fields.next()?)? else {
        return None;
    };
    Some((inode, unescaped(fields.next()?)))
}

/// A path without the octal numbers that `mountinfo` has for blanks.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| byte == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

fn processes() -> impl Iterator<Item = u32> {
    entries("/proc").filter_map(|path| path.file_name()?.to_str()?.parse().ok())
}

/// Those that have a name.
pub(super) fn named() -> impl Iterator<Item = Found> {
    entries(NAMED).filter_map(|path| {
        let inode = inode(&path)?;
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(Found {
            inode,
            path,
            name: Some(name),
            kept: None,
        })
    })
}

fn entries(directory: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

#[cfg(test)]
mod bad_input;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_descriptors_tell_what_they_are() {
        assert_eq!(kind(b"socket:[77]"), Some(Target::Socket(77)));
        assert_eq!(
            kind(b"net:[4026531833]"),
            Some(Target::Namespace(4_026_531_833))
        );
        assert_eq!(kind(b"mnt:[4026531832]"), None);
        assert_eq!(kind(b"/tmp/net:[1]"), None);
    }

    #[test]
    fn mounts_of_namespaces_are_told_from_others() {
        let line =
            b"94 27 0:4 net:[4026532174] /run/docker/netns/a\\040b rw shared:48 - nsfs nsfs rw";
        let place = PathBuf::from("/run/docker/netns/a b");
        assert_eq!(mounted(line), Some((4_026_532_174, place)));
        assert_eq!(mounted(b"22 27 0:21 / /proc rw - proc proc rw"), None);
        assert_eq!(mounted(b""), None);
    }

    #[test]
    fn the_own_namespace_and_one_that_only_a_descriptor_keeps_are_found() {
        let own = inode(Path::new("/proc/self/ns/net")).expect("a namespace");
        assert!(Search::quick().get(own).is_some());
        assert!(Search::thorough().get(own).is_some());
    }
}
