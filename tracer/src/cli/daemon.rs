//! `sockpick daemon`

use std::path::PathBuf;

use clap::Args;

use super::ProbeArgs;

/// `sockpick daemon`
#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    /// What to watch, what alerts and where it is told: a TOML file (docs/configuration.md)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Only check the configuration, and print all that it comes to; exit code 2 if it is wrong
    #[arg(long)]
    pub check: bool,
    /// How to observe.
    #[command(flatten)]
    pub probes: ProbeArgs,
}
