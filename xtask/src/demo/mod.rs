//! `cargo xtask demo`: the main job, to be watched on any machine.
//!
//! A guest runs two real nginx services that listen on one port, a client, and sockpick; what
//! sockpick said is printed beside what the client got, and checked against it.

mod compare;
mod daemon;
mod print;
mod record;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::artifacts::{self, Build};
use crate::guest::{Finished, Guest, Source};
use crate::{kernels, setup};
use record::Record;

/// Begins every story in the guest.
const SERVERS: &str = include_str!("servers.sh");
/// Runs in the guest after that.
const STORY: &str = include_str!("story.sh");

/// Lines to show of a guest that failed.
const LAST_WORDS: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernel version; downloaded when it is not cached
    #[arg(long, value_name = "VERSION", default_value = "6.12")]
    kernel: String,
    /// Show the daemon instead: an alert in a real Alertmanager from the first wrong SYN to its end,
    /// and the dashboard's pictures from a real Prometheus; takes some minutes
    #[arg(long)]
    daemon: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.daemon {
        return daemon::run(&args.kernel);
    }
    setup::run()?;
    eprintln!("building sockpick ...");
    let files = artifacts::collect(Build::Tracer)?;
    let guest = Guest {
        files,
        timeout: Duration::from_mins(3),
        ..Guest::new(kernels::find(&args.kernel, false)?)
    };
    let lines = told(&guest)?;
    let record = Record::read(&lines)?;
    let judged = compare::judge(&record);
    print!("{}", print::Story(&record, &judged));
    Ok(if judged.all_agree() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the story in the guest and returns what it printed.
fn told(guest: &Guest) -> Result<Vec<String>> {
    eprintln!("booting Linux {} ...", guest.kernel.name);
    let script = format!("{SERVERS}\n{STORY}");
    let command = ["sh", "-c", &script].map(ToOwned::to_owned);
    let mut lines = Vec::new();
    let finished = guest.run(&command, |source, line| {
        if source == Source::Command {
            let line = String::from_utf8_lossy(line).trim_end().to_owned();
            if let Some(title) = line.strip_prefix(record::STEP) {
                eprintln!("  {title}");
            }
            lines.push(line);
        }
    });
    let said: Vec<_> = lines.iter().filter(|line| !line.starts_with('@')).collect();
    ended_well(finished, &said)?;
    Ok(lines)
}

/// If the guest's script failed, shows the last of what was said in the guest.
fn ended_well(finished: Result<Finished>, said: &[impl AsRef<str>]) -> Result<()> {
    let problem = match finished {
        Ok(finished) if finished.exit_code == 0 => return Ok(()),
        Ok(finished) => format!(
            "the guest's script ended with status {}",
            finished.exit_code
        ),
        Err(error) => format!("{error:#}"),
    };
    for line in said.iter().rev().take(LAST_WORDS).rev() {
        eprintln!("{}", line.as_ref());
    }
    bail!("the demo did not come to its end: {problem}")
}
