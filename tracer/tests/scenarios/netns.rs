//! Network namespaces: each scenario has its own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Protocol, Socket, Type};

use crate::kernel::command;

static HOST: OnceLock<Netns> = OnceLock::new();

/// A network namespace, held open.
#[derive(Debug)]
pub(crate) struct Netns {
    file: File,
    /// Inode number: its name in events.
    pub(crate) inode: u64,
    name: Option<String>,
}

impl Netns {
    /// This thread's.
    pub(crate) fn current() -> Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"), None)
    }

    fn open(path: &Path, name: Option<String>) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode, name })
    }

    /// The one this process started in; to be called before any other is entered.
    pub(crate) fn host() -> Result<&'static Self> {
        if HOST.get().is_none() {
            // Set once, by the first thread; a second one would set the same.
            let _ = HOST.set(Self::current()?);
        }
        HOST.get().context("no namespace")
    }

    /// A new one, with loopback up; this thread is in it afterwards.
    pub(crate) fn fresh() -> Result<Self> {
        Self::host()?;
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        command(&["ip", "link", "set", "lo", "up"])?;
        Self::current()
    }

    /// The same without a process being started, for many of them; it goes when the thread leaves.
    pub(crate) fn short() -> Result<()> {
        Self::host()?;
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        loopback_up().context("cannot set loopback up")
    }

    /// A new one with a name below /run/netns, which goes when this is dropped; this
    /// thread is in it afterwards.
    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::host()?;
        command(&["ip", "netns", "add", name])?;
        let netns = Self::open(&Path::new("/run/netns").join(name), Some(name.to_owned()))?;
        netns.enter()?;
        command(&["ip", "link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// A path by which other processes can open it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Puts this thread into it.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")
    }

    /// Does something in it and comes back.
    pub(crate) fn inside<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Self::current()?;
        self.enter()?;
        let result = what();
        before.enter()?;
        result
    }
}

/// Asks by rtnetlink: `RTM_NEWLINK` for the first interface, which is loopback.
fn loopback_up() -> Result<()> {
    const REQUEST_AND_ACK: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let route = Some(Protocol::from(libc::NETLINK_ROUTE));
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, route)?;
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    let mut request = [0; 32];
    request[..4].copy_from_slice(&32_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
    request[20..24].copy_from_slice(&1_u32.to_ne_bytes());
    request[24..28].copy_from_slice(&up);
    request[28..].copy_from_slice(&up); // which flags change
    (&socket).write_all(&request)?;
    let mut answer = [0; 64];
    (&socket).read_exact(&mut answer[..20])?;
    // `nlmsgerr` begins with the error.
    anyhow::ensure!(answer[16..20] == [0; 4], "refused: {:?}", &answer[16..20]);
    Ok(())
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The guest goes as well; there is nobody to tell.
            let _ = command(&["ip", "netns", "delete", name]);
        }
    }
}

/// No network namespace can be made until this is dropped.
pub(crate) struct NamespaceLimit {
    before: String,
}

impl NamespaceLimit {
    const PATH: &str = "/proc/sys/user/max_net_namespaces";

    /// From now on none more.
    pub(crate) fn none_more() -> Result<Self> {
        let before = fs::read_to_string(Self::PATH)?;
        fs::write(Self::PATH, "0")?;
        Ok(Self { before })
    }
}

impl Drop for NamespaceLimit {
    fn drop(&mut self) {
        // The guest goes as well; there is nobody to tell.
        let _ = fs::write(Self::PATH, &self.before);
    }
}
