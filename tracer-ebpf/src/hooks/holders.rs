//! Who holds listening sockets: an iterator over the descriptors of all processes
//! (`kernel/bpf/task_iter.c`, 5.8). One read tells what a walk over `/proc` takes a readlink for
//! each descriptor to find out, and is not kept from any process.

use aya_ebpf::helpers::generated::bpf_seq_write;
use core::mem::MaybeUninit;
use sockpick_ebpf::abi::{Files, Holder};

use crate::{
    fields::{KernelPtr, field},
    listeners::TCP_LISTEN,
};

/// `S_IFMT` and `S_IFSOCK`, `include/uapi/linux/stat.h`
const FILE_TYPE: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;

/// Patched by user space before the object is loaded.
#[unsafe(no_mangle)]
// SAFETY: `Files` holds integers only, for which zero is a valid value.
pub(crate) static FILES: Files = unsafe { MaybeUninit::zeroed().assume_init() };

/// Reads one field of [`FILES`].
macro_rules! files {
    ($field:ident) => {
        // SAFETY: a valid, aligned, read-only static; volatile because the loader writes it
        // after compilation.
        unsafe { core::ptr::read_volatile(&raw const FILES.$field) }
    };
}

/// `struct bpf_iter__task_file`; the kernel pads each member to eight bytes.
#[repr(C)]
pub(crate) struct TaskFile<'kernel> {
    meta: &'kernel Meta,
    /// Null after the last.
    task: u64,
    fd: u64,
    /// Null after the last.
    file: u64,
}

/// The beginning of `struct bpf_iter_meta`.
#[repr(C)]
struct Meta {
    seq: u64,
}

/// Writes down the process and the socket, if the descriptor is a listening socket's.
#[inline(always)]
pub(crate) fn each(context: &TaskFile<'_>) {
    let (task, file) = (context.task, context.file);
    if task == 0 || file == 0 {
        return;
    }
    let file = KernelPtr(file);
    let inode = KernelPtr(file.read(files!(file_inode)));
    if inode.read::<u16>(files!(inode_mode)) & FILE_TYPE != SOCKET {
        return;
    }
    let socket = KernelPtr(file.read(files!(file_private_data)));
    let sk = KernelPtr(socket.read(files!(socket_sk)));
    if field!(sk, sk_state => u8) != TCP_LISTEN {
        return;
    }
    let mut holder = Holder {
        inode: inode.read(files!(inode_ino)),
        pid: KernelPtr(task).read(files!(task_tgid)),
        reserved: 0,
    };
    let seq = context.meta.seq as *mut _;
    // SAFETY: the kernel's own sequence file, and a structure on the stack with its size. What
    // does not fit is written again into a larger buffer (`bpf_seq_read`).
    unsafe { bpf_seq_write(seq, (&raw mut holder).cast(), size_of::<Holder>() as u32) };
}
