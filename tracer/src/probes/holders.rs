//! Who holds listening sockets, told by an iterator over all tasks (`kernel/bpf/task_iter.c`,
//! 5.8), which runs only while it is read.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::{
    Btf as AyaBtf, Ebpf,
    maps::{Array, MapData},
    programs::{Iter, ProgramFd},
};
use sockpick_ebpf::abi::{Holder, Pass, maps};

use super::object::Abi;
use crate::{bpf, processes};

/// The program, and what it iterates over.
pub(super) const PROGRAM: &str = "holders_i";
const OVER: &str = "task";
/// The function that stands for that in the kernel's type information.
pub(super) const TARGET: &str = "bpf_iter_task";
/// Descriptors from here on are not looked at: a table as long as this takes 512 passes. Linux
/// gives a process a million at most, unless `fs.nr_open` says otherwise.
const FARTHEST: u32 = 1 << 22;
/// Holders read at once.
const BATCH: usize = 4096;

/// A program that tells when it is read.
pub struct Holders {
    link: OwnedFd,
    program: ProgramFd,
    /// What a pass looks at.
    pass: Array<MapData, Abi<Pass>>,
    /// The kernel may not take a link for one process (before 6.1): then all are passed by.
    takes_one: bool,
}

impl Holders {
    /// Loads the program. `targets` has the number of [`TARGET`]; `None`: it is not known.
    ///
    /// # Errors
    /// If this kernel does not tell: [`processes::Processes`] walks over `/proc` then.
    pub(super) fn of(ebpf: &mut Ebpf, targets: Option<&AyaBtf>) -> Result<Self> {
        let targets = targets
            .context("this takes the usual programs, and type information of the kernel's own")?;
        let no_map = || format!("no map {} in the object", maps::PASS);
        let pass = Array::try_from(ebpf.take_map(maps::PASS).with_context(no_map)?)?;
        let program = ebpf.program_mut(PROGRAM);
        let program = program.with_context(|| format!("no program {PROGRAM} in the object"))?;
        let program: &mut Iter = program.try_into()?;
        program.load(OVER, targets)?;
        let program = program.fd()?.try_clone()?;
        let link = bpf::link_iterator(program.as_fd(), None)?;
        Ok(Self {
            link,
            program,
            pass,
            takes_one: true,
        })
    }
}

impl processes::Holders for Holders {
    fn read(&mut self, of: Option<u32>, each: &mut dyn FnMut(u32, u64)) -> io::Result<()> {
        let of_one = of.and_then(|pid| self.of_one(pid));
        let link = of_one.as_ref().unwrap_or(&self.link).as_fd();
        let pid = of.unwrap_or(0);
        let mut from = Some(0);
        while let Some(fd) = from.take().filter(|&fd| fd < FARTHEST) {
            let pass = self.pass.set(0, Abi(Pass { pid, fd }), 0);
            pass.map_err(io::Error::other)?;
            pass_over(link, &mut |holder| match holder.inode {
                0 => from = Some(from.map_or(holder.fd, |first: u32| first.min(holder.fd))),
                inode => each(holder.pid, inode),
            })?;
        }
        Ok(())
    }
}

impl Holders {
    /// A link for one process, which spares a pass over all.
    fn of_one(&mut self, pid: u32) -> Option<OwnedFd> {
        if !self.takes_one {
            return None;
        }
        let link = bpf::link_iterator(self.program.as_fd(), Some(pid)).ok();
        self.takes_one = link.is_some();
        link
    }
}

/// Reads what one pass tells.
fn pass_over(link: BorrowedFd<'_>, each: &mut dyn FnMut(Holder)) -> io::Result<()> {
    let mut file = File::from(bpf::iterate(link)?);
    let mut bytes = vec![0; BATCH * size_of::<Holder>()];
    let mut filled = 0;
    loop {
        let read = match file.read(&mut bytes[filled..]) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            // The kernel looked at a million tasks and found nothing to tell: it goes on
            // from there (`MAX_ITER_OBJECTS`, `kernel/bpf/bpf_iter.c`).
            Err(error) if is_only_a_pause(&error) => continue,
            Err(error) => return Err(error),
        };
        filled += read;
        let whole = filled - filled % size_of::<Holder>();
        for one in bytes[..whole].chunks_exact(size_of::<Holder>()) {
            each(bytemuck::pod_read_unaligned(one));
        }
        bytes.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

fn is_only_a_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
