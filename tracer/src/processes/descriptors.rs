//! Which listening sockets processes hold: as the kernel tells, or else as `/proc` shows.
//!
//! Who follows a link of `/proc/PID/fd` has a reference to that file for an instant, and a socket
//! that is closed just then is closed an instant later. So `/proc` is left alone where it can be.

use std::io;

use super::proc::{self, Sight};

/// Tells at once which processes hold listening sockets, and holds on to none.
pub trait Holders {
    /// Calls `each` with a process, by its number in the initial pid namespace, and the inode
    /// number of a socket that it holds; some come twice. `of`: only of that process.
    ///
    /// # Errors
    /// If the kernel does not tell.
    fn read(&mut self, of: Option<u32>, each: &mut dyn FnMut(u32, u64)) -> io::Result<()>;
}

/// Descriptors of all processes.
#[derive(Default)]
pub(super) struct Descriptors {
    /// Tells of them, where the kernel does.
    holders: Option<Box<dyn Holders>>,
}

impl Descriptors {
    pub(super) fn told_by(&mut self, holders: Box<dyn Holders>) {
        self.holders = Some(holders);
    }

    pub(super) fn are_told(&self) -> bool {
        self.holders.is_some()
    }

    /// Calls `each` as [`Holders::read`] does. `false` if the kernel does not tell, or not any
    /// more.
    pub(super) fn tell(&mut self, of: Option<u32>, each: &mut dyn FnMut(u32, u64)) -> bool {
        let Some(holders) = &mut self.holders else {
            return false;
        };
        let told = holders.read(of, each);
        if let Err(error) = &told {
            log::debug!("the kernel does not tell who holds what any more: {error}");
            self.holders = None;
        }
        told.is_ok()
    }

    /// Calls `each` with every listening socket that the process holds, by its inode number, and
    /// maybe with others.
    pub(super) fn of(&mut self, pid: u32, mut each: impl FnMut(u64)) -> Sight {
        if self.tell(Some(pid), &mut |_, inode| each(inode)) {
            return Sight::Whole;
        }
        proc::sockets(pid, each)
    }

    /// Whether the process holds this listening socket.
    pub(super) fn hold(&mut self, pid: u32, inode: u64) -> bool {
        let mut found = false;
        self.of(pid, |held| found |= held == inode);
        found
    }
}
