//! `sockpick daemon`: checks the configuration, or runs by it.

use std::io::{self, Write as _};

use anyhow::Result;
use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Record};

use super::outputs::log_from;
use crate::{cli::DaemonArgs, config, daemon, settings::Given, sinks::stdout::stdout};

/// Most threads that write the state of alerts: one does, unless a disk hangs.
const THREADS: usize = 4;

pub(super) fn run(args: &DaemonArgs) -> Result<()> {
    let mut log = log_from(LevelFilter::Info, args.probes.debug_programs);
    log.format(line).init();
    let settings = config::settings(&Given::default(), Some(&args.config))?;
    if args.check {
        let mut out = stdout();
        out.write_all(settings.to_toml().as_bytes())?;
        return Ok(out.flush()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(THREADS)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(daemon::run(args.clone(), settings));
    // A disk that hangs is left to its thread.
    runtime.shutdown_background();
    ended
}

/// A message as sockpick's other messages are; with its priority where the journal reads it
/// (`sd-daemon(3)`).
fn line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        let priority = match record.level() {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        write!(out, "<{priority}>")?;
    }
    writeln!(out, "sockpick: {}", record.args())
}
