//! `cargo xtask test`: everything that can be tested, on this machine and in guests.

mod columns;
mod counts;
mod guests;
mod host;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::artifacts::{self, Build};
use crate::kernels::{self, Kernel};
use crate::setup;
use counts::{Alerts, Counts};

/// By so many backends a kernel runs the scenarios at most.
const MOST_BACKENDS: u32 = 3;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    only: Option<Only>,
    /// Only this kernel (repeatable); default is the whole matrix and some columns beside it.
    /// 6.12-systemd and 5.10-systemd are the service under a real systemd, KERNEL-suspects is
    /// where only alerts are told
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,
    /// Only this backend (repeatable): fentry, kprobe; default is all that a kernel allows
    #[arg(long = "backend", value_name = "BACKEND")]
    backends: Vec<String>,
    /// Everything by every backend, on every kernel also where only alerts are told: takes many
    /// hours
    #[arg(long)]
    every_backend: bool,
    /// Only the tests that need no guest
    #[arg(long, conflicts_with_all = ["kernels", "backends", "filter"])]
    host_only: bool,
    /// Time for all scenarios on one kernel; by every backend, for those by one
    #[arg(long, value_name = "SECS", default_value_t = 2400)]
    timeout: u64,
    /// Only scenarios with this in their name; leaves out the tests that need no guest
    #[arg(value_name = "SCENARIO-FILTER")]
    filter: Option<String>,
}

#[derive(clap::Subcommand)]
enum Only {
    /// The scenarios on a kernel image of your own
    Vm(VmArgs),
}

#[derive(clap::Args)]
struct VmArgs {
    /// Kernel image (a bzImage), with kprobes and BPF
    #[arg(long, value_name = "BZIMAGE")]
    image: PathBuf,
    /// Its modules: a lib/modules/RELEASE folder; without, what is not built in is skipped
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Let sockpick find no type information, as on a kernel that has none
    #[arg(long)]
    hide_btf: bool,
    /// Only this backend (repeatable): fentry, kprobe, legacy; default is all it allows
    #[arg(long = "backend", value_name = "BACKEND")]
    backends: Vec<String>,
    /// Time for all scenarios
    #[arg(long, value_name = "SECS", default_value_t = 2400)]
    timeout: u64,
    /// Only scenarios with this in their name
    #[arg(value_name = "SCENARIO-FILTER")]
    filter: Option<String>,
}

impl Args {
    /// Whether the reports are about every kernel and backend; which scenarios ran
    /// makes no difference to them.
    fn is_complete(&self) -> bool {
        self.kernels.is_empty() && self.backends.is_empty()
    }

    fn column_timeout(&self) -> Duration {
        let backends = if self.every_backend { MOST_BACKENDS } else { 1 };
        Duration::from_secs(self.timeout) * backends
    }

    fn columns(&self) -> Vec<String> {
        if self.kernels.is_empty() {
            return kernels::MATRIX.map(ToOwned::to_owned).to_vec();
        }
        self.kernels.clone()
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::run()?;
    if let Some(Only::Vm(vm)) = &args.only {
        return image(vm);
    }
    let mut total = Counts::default();
    let mut alerts = Alerts::default();
    if args.filter.is_none() {
        total += host::run()?;
    }
    if !args.host_only {
        let files = artifacts::collect(Build::All)?;
        let complete = args.is_complete();
        let columns = guests::run(args, &files, complete && args.filter.is_none())?;
        for column in &columns {
            total += column.counts;
            alerts += column.alerts;
        }
        if complete {
            let kernels: Vec<_> = columns.into_iter().filter(guests::is_whole).collect();
            report::publish(&kernels)?;
        }
    }
    if !args.host_only {
        println!("{alerts}");
    }
    println!("{total}");
    Ok(if total.failed == 0 && alerts.all_right() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The scenarios on one image, which says itself what its kernel allows.
fn image(args: &VmArgs) -> Result<ExitCode> {
    let kernel = Kernel::from_files(&args.image, args.modules.as_deref())?;
    let files = artifacts::collect(Build::All)?;
    let column = guests::image(kernel, args, &files)?;
    println!("{}", column.alerts);
    println!("{}", column.counts);
    Ok(if column.counts.failed == 0 && column.alerts.all_right() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
