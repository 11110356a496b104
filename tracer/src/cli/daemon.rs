//! `sockpick daemon`

use std::path::PathBuf;

use clap::Args;

use super::shared::ProbeArgs;

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

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        daemon: DaemonArgs,
    }

    #[test]
    fn it_takes_a_configuration_and_how_to_observe() -> Result<(), clap::Error> {
        Alone::command().debug_assert();
        let words = "daemon --config a.toml --check --backend kprobe --buffer-size 1MiB";
        let Alone { daemon } = Alone::try_parse_from(words.split(' '))?;
        assert!(daemon.check && daemon.config.ends_with("a.toml"));
        assert_eq!(daemon.probes.buffer_size, Some(1 << 20));
        assert!(Alone::try_parse_from(["daemon", "--check"]).is_err());
        Ok(())
    }
}
