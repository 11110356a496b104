//! The namespace that a thread is in: its own, another, or a new one.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{NSFS_MAGIC, fstatfs},
};
use socket2::{Domain, Socket, Type};

use super::found::inode;
use crate::own::Announced;

/// The namespace of this thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// Runs `work` in the namespace of the file: here if it is this thread's own, which needs
/// no rights, else on a thread of its own, which needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// If the namespace is gone, was replaced by another, or may not be entered.
pub fn within<T: Send>(
    path: &Path,
    expected: u32,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    if own() == Some(expected) {
        return work();
    }
    let file = open(path, expected)?;
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            setns(&file, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
            work()
        });
        inside
            .join()
            .map_err(|_| anyhow!("the thread in the namespace ended early"))?
    })
}

/// Opens the file of a namespace. The way to it may be another user's, who mounts there what he
/// likes: it is looked at before it is opened, so that no pipe is waited for and no device woken.
fn open(path: &Path, expected: u32) -> Result<File> {
    let mut only_seen = OpenOptions::new();
    only_seen.read(true).custom_flags(libc::O_PATH);
    // Quoted, as the names in it may be another user's as well.
    let shown = path.to_string_lossy();
    let cannot_open = || format!("cannot open {shown:?}");
    let seen = only_seen.open(path).with_context(cannot_open)?;
    let file_system = fstatfs(&seen).with_context(cannot_open)?.filesystem_type();
    if file_system != NSFS_MAGIC || seen.metadata()?.ino() != u64::from(expected) {
        return Err(anyhow!("{shown:?} is another namespace now"));
    }
    let again = format!("/proc/self/fd/{}", seen.as_raw_fd());
    File::open(again).with_context(cannot_open)
}

/// A namespace of sockpick's own. To be kept until every socket in it is closed.
#[derive(Debug)]
pub struct Private {
    /// Inode number.
    pub inode: u32,
    /// Every other sockpick knows whose doing it is.
    _announced: Announced,
}

/// Puts this thread into a new namespace with its loopback up; the namespace goes with
/// the thread. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// If it may not be made, or its loopback cannot be brought up.
pub fn enter_private() -> Result<Private> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    let inode = inode(Path::new(OWN)).context("cannot read its number")?;
    let announced = Announced::here(inode);
    loopback_up().context("cannot bring its loopback up")?;
    Ok(Private {
        inode,
        _announced: announced,
    })
}

/// Sets the interface's UP flag: the one thing a fresh namespace lacks.
fn loopback_up() -> Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: an all-zero `ifreq` is valid: a name of zeros and flags of zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which is complete.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

/// Inode number of this thread's namespace.
#[must_use]
pub fn own() -> Option<u32> {
    inode(Path::new(OWN))
}

#[cfg(test)]
mod tests {
    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn what_lies_in_the_way_of_a_namespace_is_not_opened() -> Result<()> {
        let name = format!("sockpick-no-namespace-\u{1b}-{}", std::process::id());
        let pipe = std::env::temp_dir().join(name);
        mkfifo(&pipe, Mode::S_IRUSR)?;
        // It would wait for whoever writes there.
        let inode = inode(&pipe).context("no number")?;
        let refused = within(&pipe, inode, || Ok(()));
        std::fs::remove_file(&pipe)?;
        let why = refused.expect_err("a pipe").to_string();
        assert!(why.ends_with("is another namespace now"), "{why}");
        assert!(!why.contains(char::is_control), "{why}");
        Ok(())
    }

    #[test]
    fn the_own_namespace_can_be_opened() -> Result<()> {
        let own = own().context("no number")?;
        open(Path::new(OWN), own).map(drop)
    }
}
