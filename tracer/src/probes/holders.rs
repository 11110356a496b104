//! Who holds listening sockets, told by an iterator over the descriptors of all processes
//! (`kernel/bpf/task_iter.c`, 5.8), which runs only while it is read.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};
use aya::{Btf as AyaBtf, programs::Iter};
use sockpick_ebpf::abi::Holder;

use super::loader::Programs;
use crate::processes;

const PROGRAM: &str = "holders_i";
/// `BPF_LINK_CREATE` and `BPF_ITER_CREATE`, `include/uapi/linux/bpf.h`
const LINK_CREATE: libc::c_long = 28;
const ITER_CREATE: libc::c_long = 33;
/// `BPF_TRACE_ITER`
const TRACE_ITER: u32 = 28;
/// Holders read at once.
const BATCH: usize = 4096;

/// A program that tells when it is read.
pub struct Holders {
    link: OwnedFd,
}

impl Programs {
    /// Who holds what.
    ///
    /// # Errors
    /// If this kernel does not tell: [`processes::Processes`] looks at `/proc` then.
    pub fn holders(&mut self) -> Result<Holders> {
        let program = self.ebpf.program_mut(PROGRAM);
        let program: &mut Iter = program
            .with_context(|| format!("no program {PROGRAM} in the object"))?
            .try_into()?;
        let btf = AyaBtf::from_sys_fs().context("cannot read the kernel's BTF")?;
        program.load("task_file", &btf)?;
        let fd = program.fd()?.as_fd().as_raw_fd();
        // `prog_fd`, `target_fd`, `attach_type`, `flags`.
        let link = bpf(LINK_CREATE, &[fd.cast_unsigned(), 0, TRACE_ITER, 0])?;
        Ok(Holders { link })
    }
}

impl processes::Holders for Holders {
    fn read(&mut self, each: &mut dyn FnMut(u32, u64)) -> io::Result<()> {
        // `link_fd` and `flags`.
        let link = self.link.as_raw_fd().cast_unsigned();
        let mut file = File::from(bpf(ITER_CREATE, &[link, 0, 0, 0])?);
        let mut bytes = vec![0; BATCH * size_of::<Holder>()];
        let mut filled = 0;
        loop {
            let read = file.read(&mut bytes[filled..])?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            let whole = filled - filled % size_of::<Holder>();
            for one in bytes[..whole].chunks_exact(size_of::<Holder>()) {
                let one: Holder = bytemuck::pod_read_unaligned(one);
                each(one.pid, one.inode);
            }
            bytes.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }
}

/// A BPF system call with arguments of 32 bits that gives a descriptor.
fn bpf(command: libc::c_long, arguments: &[u32; 4]) -> io::Result<OwnedFd> {
    // SAFETY: the arguments are of the size given, and the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            arguments.as_ptr(),
            size_of_val(arguments),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
