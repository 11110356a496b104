//! The notice board: a hash map of the kernel's whose keys are the notices. Its shape and its
//! first key are what versions of sockpick have in common: they must stay as they are.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use bytemuck::{Pod, Zeroable};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use crate::bpf::{self, Create, Element, MapInfo, address, address_of, command};

/// `BPF_MAP_TYPE_HASH`
const HASH: u32 = 1;
/// `BPF_F_NO_PREALLOC`
const NO_PREALLOC: u32 = 1;
/// `BPF_F_ZERO_SEED` (5.0), which takes `CAP_SYS_ADMIN` over the host: nobody else can make a
/// map with it.
const ZERO_SEED: u32 = 1 << 6;
/// Most notices; a number that other maps hardly have, so that few are looked into.
const ENTRIES: u32 = 251;
const KEY_SIZE: u32 = size_of::<Notice>() as u32;
const VALUE_SIZE: u32 = size_of::<u64>() as u32;
/// Shown by `bpftool map` (4.15).
const NAME: &[u8; 16] = b"sockpick_own\0\0\0\0";
/// `SO_NETNS_COOKIE`, `include/uapi/asm-generic/socket.h`
const SO_NETNS_COOKIE: libc::c_int = 71;

/// What stands on a board: a namespace, and from when to when it was sockpick's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Notice {
    pub(super) netns: u32,
    reserved: u32,
    cookie: u64,
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
}

/// The key that makes a map a board; no namespace has the number 0.
const MARK: Notice = Notice::new(0, u64::from_be_bytes(*b"sockpick"), 0, 0);

impl Notice {
    /// A cookie of 0 is none. Times are on `CLOCK_MONOTONIC`.
    pub(super) const fn new(netns: u32, cookie: u64, from_ns: u64, until_ns: u64) -> Self {
        Self {
            netns,
            reserved: 0,
            cookie,
            from_ns,
            until_ns,
        }
    }

    /// The same with another end.
    pub(super) const fn until(self, until_ns: u64) -> Self {
        Self { until_ns, ..self }
    }

    /// Whether it speaks of this namespace at that time.
    pub(super) const fn covers(&self, netns: u32, cookie: u64, ktime_ns: u64) -> bool {
        if self.netns != netns {
            return false;
        }
        if self.cookie != 0 && cookie != 0 {
            return self.cookie == cookie;
        }
        self.from_ns <= ktime_ns && ktime_ns <= self.until_ns
    }
}

/// A board, of this process or another; it goes with whoever hung it out.
#[derive(Debug)]
pub struct Board(OwnedFd);

impl Board {
    /// Hangs one out.
    ///
    /// # Errors
    /// If the kernel refuses the map.
    pub fn hang_out() -> io::Result<Self> {
        // Before 5.11 maps count against this limit; a failure shows right below.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let with = |flags, name| {
            bpf::create(Create {
                map_type: HASH,
                key_size: KEY_SIZE,
                value_size: VALUE_SIZE,
                max_entries: ENTRIES,
                map_flags: NO_PREALLOC | flags,
                unused: [0; 2],
                name,
            })
        };
        let made = with(ZERO_SEED, *NAME)
            .or_else(|_| with(0, *NAME))
            .or_else(|_| with(0, [0; 16]));
        let board = Self(made?);
        board.write(&MARK)?;
        Ok(board)
    }

    pub(super) fn write(&self, notice: &Notice) -> io::Result<()> {
        self.element(command::UPDATE, notice, &mut 1_u64)
    }

    pub(super) fn wipe(&self, notice: &Notice) -> io::Result<()> {
        self.element(command::DELETE, notice, &mut 0_u64)
    }

    /// All notices. One that is written meanwhile may be missing.
    pub(super) fn read(&self) -> Vec<Notice> {
        let mut found = Vec::new();
        let mut last: Option<Notice> = None;
        // Bounded, as a key that is wiped meanwhile has the kernel begin anew.
        for _ in 0..2 * ENTRIES {
            let mut next = Notice::zeroed();
            let mut attr = Element {
                fd: self.fd(),
                reserved: 0,
                key: last.as_ref().map_or(0, address_of),
                value: address(&raw mut next),
                flags: 0,
            };
            if bpf::call(command::NEXT_KEY, &mut attr).is_err() {
                break;
            }
            if next != MARK && !found.contains(&next) {
                found.push(next);
            }
            last = Some(next);
        }
        found
    }

    /// Whether nobody without rights over the host can have made it.
    pub(super) fn is_trusted(&self) -> bool {
        self.info().map_flags & ZERO_SEED != 0
    }

    fn info(&self) -> MapInfo {
        bpf::info(self.0.as_fd()).unwrap_or_default()
    }

    fn is_one(&self) -> bool {
        let info = self.info();
        (info.map_type, info.key_size, info.value_size) == (HASH, KEY_SIZE, VALUE_SIZE)
            && info.max_entries == ENTRIES
            && self.element(command::LOOKUP, &MARK, &mut 0_u64).is_ok()
    }

    fn element(&self, what: libc::c_long, notice: &Notice, value: &mut u64) -> io::Result<()> {
        let mut attr = Element {
            fd: self.fd(),
            reserved: 0,
            key: address_of(notice),
            // DELETE takes none, and wants a zero there.
            value: if what == command::DELETE {
                0
            } else {
                address(&raw mut *value)
            },
            flags: 0,
        };
        bpf::call(what, &mut attr).map(|_| ())
    }

    fn fd(&self) -> u32 {
        self.0.as_raw_fd().cast_unsigned()
    }
}

/// Every board that hangs on this kernel.
pub(super) fn all() -> io::Result<Vec<Board>> {
    let mut boards = Vec::new();
    let mut id = 0;
    loop {
        match bpf::next_id(command::MAP_NEXT_ID, id) {
            Ok(next) => id = next,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(boards),
            Err(error) => return Err(error),
        }
        // It may have gone meanwhile.
        if let Ok(fd) = bpf::by_id(command::MAP_FD_BY_ID, id) {
            let board = Board(fd);
            if board.is_one() {
                boards.push(board);
            }
        }
    }
}

/// The cookie of the socket's namespace (5.14).
pub(super) fn netns_cookie(socket: &impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the option writes eight bytes, for which there is room.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}
