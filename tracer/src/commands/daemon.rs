//! `sockpick daemon`: checks the configuration, or runs by it.

use std::io::Write as _;

use anyhow::Result;

use super::start_log;
use crate::{cli::DaemonArgs, config, daemon, settings::Given, sinks::stdout::stdout};

pub(super) fn run(args: &DaemonArgs) -> Result<()> {
    start_log(args.probes.debug_programs, log::LevelFilter::Info);
    let settings = config::settings(&Given::default(), Some(&args.config))?;
    if args.check {
        let mut out = stdout();
        out.write_all(settings.to_toml().as_bytes())?;
        return Ok(out.flush()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(daemon::run(args.clone(), settings))
}
