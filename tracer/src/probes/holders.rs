//! Who holds listening sockets, told by an iterator over the descriptors of all processes
//! (`kernel/bpf/task_iter.c`, 5.8), which runs only while it is read.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::{
    Btf as AyaBtf,
    programs::{Iter, Program},
};
use sockpick_ebpf::abi::Holder;

use crate::{bpf, processes};

/// The program, and what it iterates over.
pub(super) const PROGRAM: &str = "holders_i";
const OVER: &str = "task_file";
/// The function that stands for that in the kernel's type information.
pub(super) const TARGET: &str = "bpf_iter_task_file";
/// Holders read at once.
const BATCH: usize = 4096;

/// A program that tells when it is read.
pub struct Holders {
    link: OwnedFd,
}

impl Holders {
    /// Loads the program. `targets` has the number of [`TARGET`]; `None`: it is not known.
    ///
    /// # Errors
    /// If this kernel does not tell: [`processes::Processes`] walks over `/proc` then.
    pub(super) fn of(program: Option<&mut Program>, targets: Option<&AyaBtf>) -> Result<Self> {
        let targets = targets
            .context("this takes the usual programs, and type information of the kernel's own")?;
        let program = program.with_context(|| format!("no program {PROGRAM} in the object"))?;
        let program: &mut Iter = program.try_into()?;
        program.load(OVER, targets)?;
        let link = bpf::link_iterator(program.fd()?.as_fd())?;
        Ok(Self { link })
    }
}

impl processes::Holders for Holders {
    fn read(&mut self, each: &mut dyn FnMut(u32, u64)) -> io::Result<()> {
        let mut file = File::from(bpf::iterate(self.link.as_fd())?);
        let mut bytes = vec![0; BATCH * size_of::<Holder>()];
        let mut filled = 0;
        loop {
            let read = match file.read(&mut bytes[filled..]) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                // The kernel looked at a million descriptors and found nothing to tell: it goes on
                // from there (`MAX_ITER_OBJECTS`, `kernel/bpf/bpf_iter.c`).
                Err(error) if is_only_a_pause(&error) => continue,
                Err(error) => return Err(error),
            };
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

fn is_only_a_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
