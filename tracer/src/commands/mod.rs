//! One file per command.

mod audit;
mod daemon;
mod doctor;
mod explain;
mod listeners;
mod outputs;
mod replay;
mod trace;

use anyhow::Result;

use crate::cli::{Cli, Command};

/// Runs the command.
///
/// # Errors
/// A [`crate::failure::Failure`], or another error for exit code 4.
pub fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Trace(args) => trace::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Listeners(args) => listeners::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Daemon(args) => daemon::run(args),
    }
}
