//! Arguments of the commands that need no tracing.

use std::time::Duration;

use clap::Args;

use super::shared::Output;
use crate::{
    audit::Severity,
    judge::netns::NetnsName,
    settings::values::{Ports, duration, ports},
};

/// `sockpick listeners`
#[derive(Debug, Args)]
pub struct ListenersArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Which listeners.
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// `sockpick audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Least severity to report; the exit code is 1 for warning and critical only
    #[arg(long, value_enum, default_value_t = Severity::Warning)]
    pub severity: Severity,
    /// How long to watch the accept queues
    #[arg(long, value_parser = duration, value_name = "TIME", default_value = "200ms")]
    pub watch: Duration,
    /// Which listeners.
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// Which listeners to look at.
#[derive(Debug, Args)]
pub struct ScopeArgs {
    /// Listening ports: 80, 80,443 or 8000-8010 (repeatable)
    #[arg(long, value_name = "PORT[-PORT]", value_parser = ports, value_delimiter = ',')]
    pub port: Vec<Ports>,
    /// Network namespace: a name of ip netns, an inode number, a path, or pid:N (repeatable)
    #[arg(long, value_name = "NETNS", value_parser = NetnsName::parse)]
    pub netns: Vec<NetnsName>,
}
