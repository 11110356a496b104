//! Who holds listening sockets: an iterator over all tasks (`kernel/bpf/task_iter.c`, 5.8) that
//! reads their tables of descriptors. One read tells what a walk over `/proc` takes a readlink for
//! each descriptor to find out, and is not kept from any process.
//!
//! The kernel's own iterator over descriptors (`task_file`) takes a reference to each file and
//! gives it back when the read is over. A service that closes its listener meanwhile is told that
//! it is closed when it is not, and to bind again fails: "Address already in use". So no reference
//! is taken here. What is read lasts as long as the program runs, which is under RCU: tables
//! (`free_fdtable_rcu`), files and inodes of sockets; that the process still has the table is
//! looked at once more where something was found.

use core::mem::MaybeUninit;

use aya_ebpf::{
    helpers::generated::bpf_seq_write,
    macros::map,
    maps::{Array, PerCpuArray},
};
use sockpick_ebpf::abi::{Files, Holder, Pass};

use crate::{
    fields::{KernelPtr, field},
    listeners::TCP_LISTEN,
};

/// `S_IFMT` and `S_IFSOCK`, `include/uapi/linux/stat.h`
const FILE_TYPE: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;
/// `BITS_PER_LONG` of the kernels that this runs on: descriptors in a word of the table's bits.
const WORD: u32 = 64;
/// Words of a process that a pass looks at, before it leaves the rest to the next one: 8,192
/// descriptors, which take less than a millisecond: nothing else runs on the CPU meanwhile.
const WORDS: u32 = 128;
/// Most listeners of a process that a pass tells of; they fit into the kernel's buffer of eight
/// pages (`bpf_seq_read`).
const MOST: usize = 1024;

/// Patched by user space before the object is loaded.
#[unsafe(no_mangle)]
// SAFETY: `Files` holds integers only, for which zero is a valid value.
pub(crate) static FILES: Files = unsafe { MaybeUninit::zeroed().assume_init() };
#[map]
static PASS: Array<Pass> = Array::with_max_entries(1, 0);

/// What a pass found of one process.
#[repr(C)]
struct Found {
    holders: [Holder; MOST],
    process: u32,
    /// In memory, as the verifier follows what is counted in registers.
    count: u32,
}

/// One is enough: the iterator's programs run one after another.
#[map]
static FOUND: PerCpuArray<Found> = PerCpuArray::with_max_entries(1, 0);

/// Reads one field of [`FILES`].
macro_rules! files {
    ($field:ident) => {
        // SAFETY: a valid, aligned, read-only static; volatile because the loader writes it
        // after compilation.
        unsafe { core::ptr::read_volatile(&raw const FILES.$field) }
    };
}

/// `struct bpf_iter__task`; the kernel pads each member to eight bytes.
#[repr(C)]
pub(crate) struct Task<'kernel> {
    meta: &'kernel Meta,
    /// Null after the last.
    task: u64,
}

/// The beginning of `struct bpf_iter_meta`.
#[repr(C)]
struct Meta {
    seq: u64,
}

/// Writes down the process and the socket for each descriptor of a listening socket.
#[inline(always)]
pub(crate) fn each(context: &Task<'_>) {
    let task = KernelPtr(context.task);
    if task.is_null() {
        return;
    }
    let Some(&Pass { pid, mut fd }) = PASS.get(0) else {
        return;
    };
    let process: u32 = task.read(files!(task_tgid));
    if pid != 0 && pid != process {
        return;
    }
    let table_of = |task: KernelPtr| KernelPtr(task.read(files!(task_files)));
    let files = table_of(task);
    if files.is_null() {
        return;
    }
    let leader = KernelPtr(task.read(files!(task_group_leader)));
    if leader != task && table_of(leader) == files {
        return;
    }
    let table = KernelPtr(files.read(files!(files_fdt)));
    let end: u32 = table.read(files!(fdt_max_fds));
    let Some(found) = found() else {
        return;
    };
    found.process = process;
    found.count = 0;
    for word in 0..WORDS {
        let at = fd.wrapping_add(word * WORD);
        if at >= end {
            break;
        }
        // No room for what another word may hold.
        if found.count > MOST as u32 - WORD {
            found.add(0, at);
            break;
        }
        holders_of_word(table.0, at);
    }
    fd = fd.wrapping_add(WORDS * WORD);
    if fd < end {
        found.add(0, fd);
    }
    // Else the process gave it up meanwhile, and it may be another's.
    if table_of(task) == files {
        found.write(context.meta.seq);
    }
}

/// Notes the listening sockets of the 64 descriptors from this one on.
///
/// Not static, so that the verifier looks at it once and not at each call (5.6).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn holders_of_word(table: u64, from: u32) -> u32 {
    let Some(found) = found() else {
        return 0;
    };
    let table = KernelPtr(table);
    let (open, files) = (
        KernelPtr(table.read(files!(fdt_open_fds))),
        KernelPtr(table.read(files!(fdt_fd))),
    );
    let mut word: u64 = open.at(u64::from(from / WORD) * 8).load();
    for _ in 0..WORD {
        if word == 0 {
            break;
        }
        let fd = from.wrapping_add(word.trailing_zeros());
        word &= word - 1;
        let at = files.at(u64::from(fd) * 8);
        let file: u64 = at.load();
        let inode = listens(KernelPtr(file));
        // Unless another file is there by now.
        if inode != 0 && at.load::<u64>() == file {
            found.add(inode, fd);
        }
    }
    0
}

#[inline(always)]
fn found() -> Option<&'static mut Found> {
    let found = FOUND.get_ptr_mut(0)?;
    // SAFETY: a live map value, and this CPU runs one program of the iterator at a time.
    Some(unsafe { &mut *found })
}

impl Found {
    #[inline(always)]
    fn add(&mut self, inode: u64, fd: u32) {
        if let Some(holder) = self.holders.get_mut(self.count as usize) {
            *holder = Holder {
                inode,
                pid: self.process,
                fd,
            };
            self.count += 1;
        }
    }

    #[inline(always)]
    fn write(&self, seq: u64) {
        let count = self.count as usize;
        if count == 0 || count > MOST {
            return;
        }
        let length = count * size_of::<Holder>();
        // SAFETY: the kernel's own sequence file, and a map value that is as long. What does not
        // fit is written again into an empty buffer.
        unsafe { bpf_seq_write(seq as *mut _, self.holders.as_ptr().cast(), length as u32) };
    }
}

/// The inode number of the file if it is a listening socket, else 0.
#[inline(always)]
fn listens(file: KernelPtr) -> u64 {
    if file.is_null() {
        return 0;
    }
    let inode = KernelPtr(file.read(files!(file_inode)));
    if inode.read::<u16>(files!(inode_mode)) & FILE_TYPE != SOCKET {
        return 0;
    }
    let socket = KernelPtr(file.read(files!(file_private_data)));
    let sk = KernelPtr(socket.read(files!(socket_sk)));
    if field!(sk, sk_state => u8) != TCP_LISTEN {
        return 0;
    }
    inode.read(files!(inode_ino))
}
