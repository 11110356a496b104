//! Namespaces that only a socket keeps. The kernel lists them nowhere; it tells whoever has
//! the socket which it is in.

use std::{
    ffi::CString,
    fs::{self, File},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::fs::MetadataExt as _,
    },
    path::PathBuf,
};

use netlink_packet_sock_diag::inet::StateFlags;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    enter::within,
    found::{Found, inode},
    search::{Descriptor, Search},
};
use crate::{
    judge::rules::Protocol,
    sock_diag::{self, proc_entries},
};

/// Most sockets that are asked; the others are counted as [`Search::doubtful`].
const MOST_ASKED: usize = 4096;
/// Asks a socket for its namespace (`include/uapi/linux/sockios.h`, 4.10).
const SIOCGSKNS: libc::Ioctl = 0x894c;

impl Search {
    /// Adds the namespaces that no process is in and nobody has a descriptor of, but that a
    /// TCP socket of a process is in. Of the sockets in `explained` it is known where they are.
    ///
    /// Each socket that the namespace of its process does not list is held for as long as it
    /// takes to ask it.
    pub fn kept_by_sockets(&mut self, explained: &FxHashSet<u64>) {
        let mut of_process: FxHashMap<u32, Vec<(u64, Descriptor)>> = FxHashMap::default();
        for (&inode, &descriptor) in &self.sockets {
            if !explained.contains(&inode) && is_tcp(descriptor) {
                let pid = descriptor.pid;
                of_process.entry(pid).or_default().push((inode, descriptor));
            }
        }
        let mut listed: FxHashMap<u32, FxHashSet<u64>> = FxHashMap::default();
        let mut asked = 0;
        for (pid, sockets) in of_process {
            let Some(own) = inode(&PathBuf::from(format!("/proc/{pid}/ns/net"))) else {
                continue;
            };
            let known = listed
                .entry(own)
                .or_insert_with(|| self.get(own).map(tcp_sockets).unwrap_or_default());
            let unlisted = sockets.iter().filter(|(inode, _)| !known.contains(inode));
            let unlisted: Vec<(u64, Descriptor)> = unlisted.copied().collect();
            for (inode, descriptor) in unlisted {
                asked += 1;
                let found = (asked <= MOST_ASKED)
                    .then(|| namespace_of(descriptor))
                    .flatten();
                match found {
                    Some(file) => self.keep(file),
                    None if descriptor.is_of(inode) => self.doubt(pid),
                    // It was closed meanwhile.
                    None => {}
                }
            }
        }
    }

    fn keep(&mut self, file: File) {
        let inode = file
            .metadata()
            .ok()
            .and_then(|data| data.ino().try_into().ok());
        if let Some(inode) = inode.filter(|&inode| self.get(inode).is_none()) {
            self.add_kept(inode, file);
        }
    }

    /// A socket of the process may be in a namespace that was not found.
    fn doubt(&mut self, pid: u32) {
        // It may have ended meanwhile.
        if let Ok(comm) = fs::read(format!("/proc/{pid}/comm")) {
            let comm = String::from_utf8_lossy(&comm);
            *self
                .doubtful
                .entry((comm.trim_end().to_owned(), pid))
                .or_default() += 1;
        }
    }
}

/// Inode numbers of the TCP sockets of the namespace, in whatever state; none where it
/// cannot be asked.
fn tcp_sockets(namespace: &Found) -> FxHashSet<u64> {
    let here = || {
        let mut inodes = FxHashSet::default();
        let dumped = sock_diag::dump(
            Protocol::Tcp,
            &(StateFlags::all() - StateFlags::TIME_WAIT),
            0,
            |response| {
                inodes.insert(response.header.inode.into());
            },
        );
        if dumped.is_err() {
            inodes.extend(
                proc_entries(Protocol::Tcp)?
                    .into_iter()
                    .map(|entry| entry.inode),
            );
        }
        Ok(inodes)
    };
    within(&namespace.path, namespace.inode, here).unwrap_or_default()
}

/// Whether the descriptor is a TCP socket, or an MPTCP one.
fn is_tcp(Descriptor { pid, fd }: Descriptor) -> bool {
    let Ok(path) = CString::new(format!("/proc/{pid}/fd/{fd}")) else {
        return false;
    };
    let mut protocol = [0_u8; 16];
    // SAFETY: both strings end with a zero byte, and the buffer has the length that is given.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"system.sockprotoname".as_ptr(),
            protocol.as_mut_ptr().cast(),
            protocol.len(),
        )
    };
    let length = usize::try_from(length).unwrap_or(0);
    let name = protocol[..length].split(|&byte| byte == 0).next();
    matches!(name, Some(b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6"))
}

/// The namespace of a socket of another process; takes Linux 5.6 and the right to trace it.
fn namespace_of(Descriptor { pid, fd }: Descriptor) -> Option<File> {
    // SAFETY: pidfd_open has two numbers as its arguments.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let process = owned(process)?;
    // SAFETY: pidfd_getfd has three numbers as its arguments.
    let socket = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
    let socket = owned(socket)?;
    // SAFETY: SIOCGSKNS has no argument. It may meet another file than the socket that was
    // seen, which then refuses.
    let namespace = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    owned(namespace.into()).map(File::from)
}

fn owned(answer: libc::c_long) -> Option<OwnedFd> {
    let fd = RawFd::try_from(answer).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just given this descriptor to nobody else.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
