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
    /// What alerts and metrics call this host, where that is not its host name: in a container,
    /// whose host name is its own
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub host: Option<String>,
    /// How to observe.
    #[command(flatten)]
    pub probes: ProbeArgs,
}

fn host_name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    if name.is_empty() || name.contains(char::is_control) {
        return Err("it is no name; write it as `hostname` does, such as web-1");
    }
    Ok(name.to_owned())
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
        let named = |host| Alone::try_parse_from(["daemon", "--config", "a", "--host", host]);
        assert_eq!(named("web-1")?.daemon.host.as_deref(), Some("web-1"));
        assert!(named(" ").is_err() && named("a\nb").is_err());
        Ok(())
    }
}
