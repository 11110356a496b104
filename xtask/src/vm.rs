//! `cargo xtask vm`: one command in one guest.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::artifacts::{self, Build};
use crate::guest::{Guest, Source};
use crate::kernels::{self, Kernel};
use crate::process::need_program;
use crate::rootfs::GuestFile;

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    /// Kernel version, as 6.12; downloaded when it is not cached
    #[arg(long, value_name = "VERSION", required_unless_present = "image")]
    kernel: Option<String>,
    /// Kernel image of your own (a bzImage) instead
    #[arg(long, value_name = "BZIMAGE", conflicts_with = "kernel")]
    image: Option<PathBuf>,
    /// Its modules: a lib/modules/RELEASE folder; without, the guest has none
    #[arg(long, value_name = "DIR", requires = "image")]
    modules: Option<PathBuf>,
    /// Look for a newer release of the kernel, even if one is cached
    #[arg(long, conflicts_with = "image")]
    refresh: bool,
    /// Put a file, with its libraries, into the guest's /include, or at the path after `=`
    #[arg(long = "include", value_name = "FILE[=GUEST]")]
    includes: Vec<String>,
    /// Put this machine's bpftrace into the guest
    #[arg(long)]
    bpftrace: bool,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Memory in MB
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(128..))]
    memory: u32,
    /// End a guest that takes longer
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    timeout: u64,
    /// Count instructions: one guest nanosecond is one instruction, on one processor
    #[arg(long)]
    icount: bool,
    /// Boot this machine's systemd, and run the command as a service of it
    #[arg(long)]
    systemd: bool,
    /// More for the kernel's command line
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        allow_hyphen_values = true
    )]
    append: String,
    /// Do not build first; the guest gets what was built last
    #[arg(long)]
    no_build: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Args {
    /// The scenario tests are built only for a command that mentions them: it takes time.
    fn build(&self) -> Build {
        let mentioned = |word: &String| word.contains(artifacts::SCENARIOS_PROGRAM);
        if self.no_build {
            Build::Nothing
        } else if self.command.iter().any(mentioned) {
            Build::All
        } else {
            Build::Tracer
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let kernel = match (&args.image, &args.kernel) {
        (Some(image), _) => Kernel::from_files(image, args.modules.as_deref())?,
        (None, Some(name)) => kernels::find(name, args.refresh)?,
        (None, None) => bail!("no kernel named; use --kernel or --image"),
    };
    let mut files = artifacts::collect(args.build())?;
    if args.bpftrace {
        files.push(GuestFile::new(
            need_program("bpftrace")?,
            "/usr/bin/bpftrace",
        ));
    }
    for include in &args.includes {
        files.push(included(include)?);
    }
    let guest = Guest {
        files,
        append: args.append.clone(),
        cpus: args.cpus,
        memory_mb: args.memory,
        icount: args.icount,
        systemd: args.systemd,
        timeout: Duration::from_secs(args.timeout),
        ..Guest::new(kernel)
    };
    let finished = guest.run(&args.command, |source, line| {
        // A reader that went away must not end the run: its exit status is the point.
        let _ = match source {
            Source::Command => io::stdout()
                .write_all(line)
                .and_then(|()| io::stdout().flush()),
            Source::Kernel => io::stderr().write_all(line),
        };
    })?;
    Ok(ExitCode::from(finished.exit_code))
}

fn included(text: &str) -> Result<GuestFile> {
    let (host, guest) = match text.split_once('=') {
        Some((host, guest)) if guest.starts_with('/') => (host, guest.to_owned()),
        Some((_, guest)) => bail!("`{guest}` in --include {text} is not an absolute path"),
        None => {
            let name = Path::new(text)
                .file_name()
                .with_context(|| format!("--include {text} names no file"))?;
            (text, format!("/include/{}", name.to_string_lossy()))
        }
    };
    Ok(GuestFile::new(host, guest))
}
