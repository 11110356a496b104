//! Network namespaces: which there are, their names, and the names of their
//! interfaces.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use nix::net::if_::if_nameindex;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{event::Netns, failure::Failure, judge::netns::NetnsName, own};

mod enter;
mod found;
mod known;
mod search;
mod sockets;

pub use enter::{Private, enter_private, own, within};
use found::NAMED;
pub use found::{Found, inode};
use known::{Known, Look};
pub use search::Search;

/// Where docker keeps its names.
const NAMED_BY_DOCKER: &str = "/run/docker/netns";
/// Most interface names kept; past that the cache starts afresh.
const MOST_INTERFACES: usize = 4096;

/// How often it is tried to enter a namespace whose way moves.
const ENTERED_AT_MOST: usize = 3;

/// What is known of the namespaces, kept while the session runs.
pub struct Namespaces {
    known: Known<Machine>,
    interfaces: FxHashMap<(u32, u32), Option<Arc<str>>>,
    /// Per namespace, until the next [`Namespaces::refresh`].
    l3mdev_accept: FxHashMap<u32, bool>,
}

/// The running machine.
struct Machine;

impl Look for Machine {
    fn all(&self) -> Vec<Found> {
        all()
    }

    fn inode(&self, path: &Path) -> Option<u32> {
        inode(path)
    }

    fn cookie(&self, found: &Found) -> Option<u64> {
        let cookie = within(&found.path, found.inode, || Ok(own::cookie()));
        cookie.ok().filter(|&cookie| cookie != 0)
    }

    fn named(&self) -> Vec<Found> {
        search::named().collect()
    }
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            known: Known::new(Machine),
            interfaces: FxHashMap::default(),
            l3mdev_accept: FxHashMap::default(),
        }
    }
}

impl Namespaces {
    /// The namespace as it goes into an event. A cookie of 0 is none.
    pub fn describe(&mut self, inode: u32, cookie: u64) -> Arc<Netns> {
        let cookie = (cookie != 0).then_some(cookie);
        let (netns, is_other) = self.known.describe(inode, cookie);
        if is_other {
            self.interfaces.retain(|&(of, _), _| of != inode);
            self.l3mdev_accept.remove(&inode);
        }
        netns
    }

    /// Has these known, so that they need not be looked for one by one.
    pub fn learn<'a>(&mut self, found: impl IntoIterator<Item = &'a Found>) {
        self.known.learn(found);
    }

    /// Name of an interface of a namespace.
    pub fn interface(&mut self, inode: u32, index: u32) -> Option<Arc<str>> {
        if let Some(name) = self.interfaces.get(&(inode, index)) {
            return name.clone();
        }
        if self.interfaces.len() >= MOST_INTERFACES {
            self.interfaces.clear();
        }
        let names = self.inside(inode, interfaces);
        for (index, name) in names.unwrap_or_default() {
            self.interfaces.insert((inode, index), Some(name.into()));
        }
        // Remembered as unknown too, so that it is not looked for with every SYN.
        self.interfaces.entry((inode, index)).or_default().clone()
    }

    /// A file whose namespace this is.
    pub fn path(&mut self, inode: u32) -> Option<PathBuf> {
        self.known.path(inode)
    }

    /// Does something in a namespace; `None` if it cannot be entered. A process that moves to
    /// another may be the way to it in one moment and not in the next: another way is looked for.
    fn inside<T: Send>(&mut self, inode: u32, work: impl Fn() -> Result<T> + Sync) -> Option<T> {
        for _ in 0..ENTERED_AT_MOST {
            let path = self.path(inode)?;
            let done = within(&path, inode, &work);
            if done.is_ok() || found::inode(&path) == Some(inode) {
                return done.ok();
            }
        }
        None
    }

    /// `net.ipv4.tcp_l3mdev_accept`: unbound listeners take packets of every VRF. False
    /// where it cannot be read.
    pub fn l3mdev_accept(&mut self, inode: u32) -> bool {
        if let Some(&accept) = self.l3mdev_accept.get(&inode) {
            return accept;
        }
        let read = || Ok(fs::read_to_string("/proc/sys/net/ipv4/tcp_l3mdev_accept")?);
        let text = self.inside(inode, read);
        let accept = text.is_some_and(|text| text.trim() != "0");
        self.l3mdev_accept.insert(inode, accept);
        accept
    }

    /// Forgets what may have changed since: called now and then by the session.
    pub fn refresh(&mut self) {
        self.known.refresh();
        self.interfaces.retain(|_, name| name.is_some());
        self.l3mdev_accept.clear();
    }
}

/// Every namespace that a process is in or that has a name or a mount, each once.
#[must_use]
pub fn all() -> Vec<Found> {
    Search::quick().namespaces().cloned().collect()
}

/// The namespace that a user names, as it is now; a name may be docker's, too.
///
/// # Errors
/// A usage [`Failure`], if there is no such namespace.
pub fn named(name: &NetnsName) -> Result<u32, Failure> {
    let (found, why) = match name {
        NetnsName::Inode(number) => (
            find(*number).map(|found| found.inode),
            "none with that inode number is found".to_owned(),
        ),
        NetnsName::Name(text) => {
            let path = Path::new(NAMED).join(text);
            let of_docker = || inode(&Path::new(NAMED_BY_DOCKER).join(text));
            (inode(&path).or_else(of_docker), not_there(&path))
        }
        NetnsName::Path(path) => (inode(Path::new(path)), not_there(Path::new(path))),
        NetnsName::Pid(pid) => {
            let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
            (inode(&path), not_there(&path))
        }
    };
    found.ok_or_else(|| {
        Failure::usage(format!(
            "there is no network namespace {:?} ({why}); write it as a name of ip netns list, an \
             inode number, a path, or pid:N, such as pid:1",
            name.to_string()
        ))
    })
}

fn not_there(path: &Path) -> String {
    format!("{} is not there, or may not be read", path.display())
}

/// The same name, if whichever namespace has it is meant, now or later; the inode number, where
/// a path, a process or a name of docker's leads to one now.
///
/// # Errors
/// A usage [`Failure`], if a path or a process leads to none.
pub fn fixed(name: &NetnsName) -> Result<NetnsName, Failure> {
    match name {
        NetnsName::Inode(_) => Ok(name.clone()),
        NetnsName::Name(text) => {
            let of_docker = || inode(&Path::new(NAMED_BY_DOCKER).join(text));
            Ok(match inode(&Path::new(NAMED).join(text)) {
                None => of_docker().map_or_else(|| name.clone(), NetnsName::Inode),
                Some(_) => name.clone(),
            })
        }
        NetnsName::Path(_) | NetnsName::Pid(_) => named(name).map(NetnsName::Inode),
    }
}

/// The namespace with this inode number. Where a quick look does not find it, every
/// descriptor of every process is looked at.
#[must_use]
pub fn find(inode: u32) -> Option<Found> {
    seen(inode).or_else(|| {
        let mut search = Search::thorough();
        if search.get(inode).is_none() {
            search.kept_by_sockets(&FxHashSet::default());
        }
        search.get(inode).cloned()
    })
}

/// The same, as far as a quick look goes: in a session that traces, many namespaces come
/// and go before they can be found.
fn seen(inode: u32) -> Option<Found> {
    Search::quick().get(inode).cloned()
}

fn interfaces() -> Result<Vec<(u32, String)>> {
    Ok(if_nameindex()?
        .iter()
        .map(|interface| {
            (
                interface.index(),
                interface.name().to_string_lossy().into_owned(),
            )
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_the_cookie_that_its_sockets_tell() {
        let number = own().expect("a namespace");
        let found = seen(number).expect("the own one");
        assert_eq!(Machine.cookie(&found).unwrap_or(0), own::cookie());
        let mut namespaces = Namespaces::default();
        let netns = namespaces.describe(number, own::cookie());
        assert_eq!(netns.inode, number);
        assert!(namespaces.path(number).is_some());
    }
}
