//! Arguments that several commands have.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::{
    event::{Family, Match, Reason, Verdict},
    judge::netns::NetnsName,
    outlets::selection::Selection,
    probes::plan::Choice,
    settings::{
        Expect, Given, Watch,
        place::{ListenerPattern, expect, listener},
        values::{Ports, buffer_size, duration, name, pid, ports, prefix},
    },
};

/// Which SYNs are looked at: in the kernel, or of a recording.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Destination ports: 80, 80,443 or 8000-8010 (repeatable; at most 4096 in all)
    #[arg(long, value_name = "PORT[-PORT]", value_parser = ports, value_delimiter = ',')]
    pub port: Vec<Ports>,
    /// Destination address or CIDR (repeatable)
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = prefix)]
    pub dst: Vec<IpNet>,
    /// Client address or CIDR (repeatable)
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = prefix)]
    pub src: Vec<IpNet>,
    /// Network namespace: a name of ip netns or an inode number, as the namespace had it in a
    /// recording; where SYNs are traced also a path, or pid:N (repeatable)
    #[arg(long, value_name = "NETNS", value_parser = NetnsName::parse)]
    pub netns: Vec<NetnsName>,
    /// Only packets of this family
    #[arg(long, value_enum)]
    pub family: Option<FamilyArg>,
}

impl WatchArgs {
    /// What is given on the command line.
    #[must_use]
    pub fn given(&self, expect: &ExpectArgs) -> Given {
        Given {
            watch: Watch {
                ports: self.port.clone(),
                destinations: self.dst.clone(),
                sources: self.src.clone(),
                netns: self.netns.clone(),
                family: self.family.map(Family::from),
            },
            expect: expect.expect.clone(),
        }
    }
}

/// What should be where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Expectations")]
pub struct ExpectArgs {
    /// SYNs for this address belong to a listener of its own (repeatable)
    #[arg(long, value_name = "ADDR:PORT[=NAME]", value_parser = expect)]
    pub expect: Vec<Expect>,
    /// Services, what is learned and which SYNs, from a TOML file (docs/verdicts.md)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Filters that run in user space.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters in user space")]
pub struct UserFilterArgs {
    /// Listener by its bound address, interface and port, as the column LISTENER has it or in
    /// part: `6.6.6.6:80`, `:80`, `*:80`, `*%eth0:80`, `[::]:80` (repeatable)
    #[arg(long, value_name = "ADDR:PORT", value_parser = listener)]
    pub listener: Vec<ListenerPattern>,
    /// Process that holds the listener (repeatable)
    #[arg(long, value_name = "PID", value_parser = pid)]
    pub pid: Vec<u32>,
    /// The same by name, as in /proc/PID/comm (repeatable)
    #[arg(long, value_name = "COMM", value_parser = name)]
    pub comm: Vec<String>,
    /// How the socket fits the packet (repeatable)
    #[arg(long = "match", value_enum, value_name = "MATCH")]
    pub matched: Vec<Match>,
    /// Whether the choice was right (repeatable)
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub verdict: Vec<Verdict>,
    /// Only what alerts: misdirected and uncovered
    #[arg(long, conflicts_with = "verdict")]
    pub only_alerts: bool,
    /// With --only-alerts: SYNs with this reason as well, such as `accept_overflow`; docs/verdicts.md has them all (repeatable)
    #[arg(
        long,
        value_enum,
        value_name = "REASON",
        requires = "only_alerts",
        hide_possible_values = true
    )]
    pub alert_on: Vec<Reason>,
}

impl UserFilterArgs {
    /// What is shown, `count` of it at most.
    #[must_use]
    pub fn selection(&self, count: Option<u64>) -> Selection {
        Selection {
            listeners: self.listener.clone(),
            pids: self.pid.clone(),
            comms: self.comm.clone(),
            matched: self.matched.clone(),
            verdicts: self.verdict.clone(),
            only_alerts: self.only_alerts,
            alert_on: self.alert_on.clone(),
            count,
            began_midway: false,
        }
    }
}

/// How to observe.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Probes")]
pub struct ProbeArgs {
    /// Use only this mechanism, instead of the best for each hook
    #[arg(long, value_enum)]
    pub backend: Option<Choice>,
    /// Take the kernel's structures from this BTF file
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Size of the buffer between kernel and user space: a power of two, in bytes or as 4MiB;
    /// 4MiB, or 2MiB where few SYNs have a record (--only-alerts, daemon), unless given
    #[arg(long, value_name = "SIZE", value_parser = buffer_size)]
    pub buffer_size: Option<u32>,
    /// Longest time an event waits in the buffer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "100ms")]
    pub flush_interval: Duration,
    /// Let the programs say what they do (on stderr)
    #[arg(long)]
    pub debug_programs: bool,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// One JSON object a line (doctor: one object).
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A packet's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FamilyArg {
    /// IPv4
    #[value(alias = "4")]
    Ipv4,
    /// IPv6
    #[value(alias = "6")]
    Ipv6,
}

impl From<FamilyArg> for Family {
    fn from(family: FamilyArg) -> Self {
        match family {
            FamilyArg::Ipv4 => Self::Ipv4,
            FamilyArg::Ipv6 => Self::Ipv6,
        }
    }
}
