//! Arguments, checked.

mod daemon;
mod explain;
mod replay;
mod shared;
mod survey;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    probes::plan::Choice,
    settings::values::{Rotation, count, duration, rotation},
};

pub use daemon::DaemonArgs;
pub use explain::{Circumstances, Client, Destination, ExplainArgs, Question, Target};
pub use replay::ReplayArgs;
pub use shared::{Color, ExpectArgs, FamilyArg, Output, ProbeArgs, UserFilterArgs, WatchArgs};
pub use survey::{AuditArgs, ListenersArgs, ScopeArgs};

/// Which listening socket did the kernel give this SYN to, and how was it chosen?
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print one line per SYN until Ctrl-C, --duration or --count; then a summary
    Trace(TraceArgs),
    /// Tell once more what `trace --write` recorded, with other filters and expectations if wanted
    Replay(ReplayArgs),
    /// List the listening sockets of every namespace, in the order the kernel meets them
    Listeners(ListenersArgs),
    /// Find listeners that stand in each other's way, without tracing; exit code 1 if it matters
    Audit(AuditArgs),
    /// Tell what this kernel offers, which probes would attach, and what is missing
    Doctor(DoctorArgs),
    /// Tell which listening socket a SYN would get now, and why the others would not
    Explain(ExplainArgs),
    /// Watch for good: raise alerts, count, and tell others; ends with SIGTERM, reads its
    /// configuration again with SIGHUP
    Daemon(DaemonArgs),
}

/// `sockpick trace`
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Form of the output; a table, unless --write is given
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
    /// Record the session in this file, for `sockpick replay`; compressed if it ends in .zst.
    /// Prints no SYNs unless --output is given
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Record in parts of this size: FILE, FILE.1, FILE.2 and so on (night.1.zst for night.zst);
    /// with N, only the last N are kept beside the one that is written
    #[arg(long, value_name = "SIZE[,N]", value_parser = rotation, requires = "write")]
    pub write_rotate: Option<Rotation>,
    /// When to use colour in the table
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// End after this long, as in 30s, 10m, 1h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// End after this many SYNs were printed
    #[arg(long, value_name = "N", value_parser = count)]
    pub count: Option<u64>,
    /// Filters applied in the kernel.
    #[command(flatten, next_help_heading = "Filters in the kernel")]
    pub watch: WatchArgs,
    /// Filters applied in user space.
    #[command(flatten)]
    pub user_filter: UserFilterArgs,
    /// What should be where.
    #[command(flatten)]
    pub expect: ExpectArgs,
    /// How to observe.
    #[command(flatten)]
    pub probes: ProbeArgs,
    /// Do not look who accepts: every connection costs less, and events lack `accepted_by`
    #[arg(long)]
    pub no_accept: bool,
}

/// `sockpick doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Look at the structures in this BTF file
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Look at one mechanism only, instead of the best for each hook
    #[arg(long, value_enum)]
    pub backend: Option<Choice>,
}

#[cfg(test)]
mod tests;
