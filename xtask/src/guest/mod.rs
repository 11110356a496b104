//! A QEMU guest that boots a kernel, runs one command as root and ends.
//!
//! Always emulated: `/dev/kvm` may be there and still hang, and counting instructions needs the
//! emulator anyway. The kernel's console and the command's output are two serial ports, each a
//! socket here, so kernel messages cannot get into what the command said.

mod machine;
mod watch;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::kernels::Kernel;
use crate::modules;
use crate::rootfs::{self, GuestFile};

pub(crate) use watch::Source;

/// A guest to be run. Nothing of it outlives [`Guest::run`].
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) kernel: Kernel,
    pub(crate) files: Vec<GuestFile>,
    /// More for the kernel's command line.
    pub(crate) append: String,
    pub(crate) cpus: u32,
    pub(crate) memory_mb: u32,
    /// One guest nanosecond is one guest instruction; the guest has one processor then.
    pub(crate) icount: bool,
    /// What the guest takes for chance, the same in each boot with this number: its processor's
    /// random numbers and its clock.
    pub(crate) seed: Option<u32>,
    /// This machine's systemd is the first process, and the command one of its services.
    pub(crate) systemd: bool,
    pub(crate) timeout: Duration,
}

/// How a command in a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) exit_code: u8,
    /// From the start of QEMU to the command's end.
    pub(crate) took: Duration,
}

impl Guest {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            files: Vec::new(),
            append: String::new(),
            cpus: 2,
            memory_mb: 1024,
            icount: false,
            seed: None,
            systemd: false,
            timeout: Duration::from_mins(5),
        }
    }

    /// Runs a command. `on_line` gets every line as it comes, with its line ending; the last one
    /// may have none. A kernel that panics and a guest that hangs are errors.
    pub(crate) fn run(
        &self,
        command: &[String],
        on_line: impl FnMut(Source, &[u8]),
    ) -> Result<Finished> {
        let work = tempfile::Builder::new()
            .prefix("sockpick-guest-")
            .tempdir()
            .context("cannot create a temporary folder")?;
        let initrd = work.path().join("initrd");
        self.write_initrd(command, &initrd)?;
        let started = Instant::now();
        let machine = machine::Machine::start(self, &initrd, work.path())?;
        // QEMU has it in memory now; if we are interrupted, nothing big stays behind.
        let forget = || drop(fs::remove_file(&initrd));
        let exit_code = watch::watch(&machine, self.timeout, forget, on_line)
            .with_context(|| format!("guest with kernel {}", self.kernel.name))?;
        Ok(Finished {
            exit_code,
            took: started.elapsed(),
        })
    }

    /// The kernel takes several archives one after another; uncompressed, because unpacking costs
    /// an emulated machine more than reading.
    fn write_initrd(&self, command: &[String], path: &Path) -> Result<()> {
        let mut files = self.files.clone();
        if let (Some(config), Some(release)) = (&self.kernel.config, &self.kernel.release) {
            files.push(GuestFile::new(config, format!("/boot/config-{release}")));
        }
        let file = File::create(path).context("cannot create the guest's initial file system")?;
        let mut out = BufWriter::new(file);
        rootfs::build(command, &files, self.systemd)?.write(&mut out)?;
        if let Some(archive) = modules::archive(&self.kernel)? {
            let mut modules = File::open(&archive)
                .with_context(|| format!("cannot read {}", archive.display()))?;
            io::copy(&mut modules, &mut out)
                .context("cannot write the guest's initial file system")?;
        }
        out.flush()
            .context("cannot write the guest's initial file system")?;
        let size = fs::metadata(path)?.len() >> 20;
        if size * 3 > u64::from(self.memory_mb) {
            eprintln!(
                "note: the guest's files are {size} MB and its memory {} MB; it holds them in \
                 memory twice while it boots",
                self.memory_mb
            );
        }
        Ok(())
    }
}
