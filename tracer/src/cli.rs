//! Arguments, checked.

mod explain;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::{
    event::{Match, Reason, Verdict},
    judge::expectations::Address,
    namespaces,
    probes::plan::Choice,
};

mod survey;

pub use survey::{AuditArgs, ListenersArgs, ScopeArgs};

pub use explain::{Circumstances, Client, ExplainArgs, Question, Target};

/// Which listening socket did the kernel give this SYN to, and how was it chosen?
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one value, and it is read once"
)]
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print one line per SYN until Ctrl-C, --duration or --count; then a summary
    Trace(TraceArgs),
    /// List the listening sockets of every namespace, in the order the kernel meets them
    Listeners(ListenersArgs),
    /// Find listeners that stand in each other's way, without tracing; exit code 1 if it matters
    Audit(AuditArgs),
    /// Tell what this kernel offers, which probes would attach, and what is missing
    Doctor(DoctorArgs),
    /// Tell which listening socket a SYN would get now, and why the others would not
    Explain(ExplainArgs),
}

/// `sockpick trace`
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// When to use colour in the table
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// End after this long, as in 30s, 10m, 1h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// End after this many SYNs were printed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Filters applied in the kernel.
    #[command(flatten)]
    pub kernel_filter: KernelFilterArgs,
    /// Filters applied in user space.
    #[command(flatten)]
    pub user_filter: UserFilterArgs,
    /// What should be where.
    #[command(flatten)]
    pub expect: ExpectArgs,
    /// How to observe.
    #[command(flatten)]
    pub probes: ProbeArgs,
}

/// Filters that run in the kernel.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters in the kernel")]
pub struct KernelFilterArgs {
    /// Destination port (repeatable)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Vec<u16>,
    /// Destination address or CIDR (repeatable)
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = prefix)]
    pub dst: Vec<IpNet>,
    /// Client address or CIDR (repeatable)
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = prefix)]
    pub src: Vec<IpNet>,
    /// Network namespace: a name of ip netns, an inode number, a path, or pid:N (repeatable)
    #[arg(long, value_name = "NETNS", value_parser = netns)]
    pub netns: Vec<u32>,
    /// Only packets of this family
    #[arg(long, value_enum)]
    pub family: Option<FamilyArg>,
}

/// What should be where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Expectations")]
pub struct ExpectArgs {
    /// SYNs for this address belong to a listener of its own (repeatable)
    #[arg(long, value_name = "ADDR:PORT[=NAME]", value_parser = expect)]
    pub expect: Vec<Expect>,
    /// Services and what is learned, from a TOML file (docs/verdicts.md)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A service given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Where it listens.
    pub address: Address,
    /// Its name.
    pub name: String,
}

/// Filters that run in user space.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters in user space")]
pub struct UserFilterArgs {
    /// Listener by its bound address, port or both: `6.6.6.6:80`, `:80`, `*:80`, `[::]:80` (repeatable)
    #[arg(long, value_name = "ADDR:PORT", value_parser = listener)]
    pub listener: Vec<ListenerPattern>,
    /// Process that owns the listener or last accepted from it (repeatable)
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// The same by name, as in /proc/PID/comm (repeatable)
    #[arg(long, value_name = "COMM")]
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

/// How to observe.
#[derive(Debug, Args)]
#[command(next_help_heading = "Probes")]
pub struct ProbeArgs {
    /// Use only this mechanism, instead of the best for each hook
    #[arg(long, value_enum)]
    pub backend: Option<Choice>,
    /// Take the kernel's structures from this BTF file
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Size of the buffer between kernel and user space: a power of two, in bytes or as 4MiB
    #[arg(long, value_name = "SIZE", value_parser = buffer_size, default_value = "4MiB")]
    pub buffer_size: u32,
    /// Longest time an event waits in the buffer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "100ms")]
    pub flush_interval: Duration,
    /// Let the programs say what they do (on stderr)
    #[arg(long)]
    pub debug_programs: bool,
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

/// A listener by address, port or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerPattern {
    /// Bound address; `None` for any.
    pub address: Option<AddressPattern>,
    /// Bound port; `None` for any.
    pub port: Option<u16>,
}

/// An address in a listener pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPattern {
    /// `*`: bound to any address, of either family.
    Wildcard,
    /// Bound to exactly this one.
    Is(IpAddr),
}

/// Where a service listens: `192.0.2.1:80`, `[2001:db8::1]:443`, `*:80`.
///
/// # Errors
/// If it is no address with a port, in words for the user.
pub fn expected_address(text: &str) -> Result<Address, String> {
    let wrong = || {
        format!(
            "{text:?} is no address with a port; write it as 192.0.2.1:80, [2001:db8::1]:80 or *:80"
        )
    };
    let pattern = listener(text).map_err(|_| wrong())?;
    let address = match pattern.address {
        Some(AddressPattern::Is(address)) => Some(address),
        Some(AddressPattern::Wildcard) => None,
        None => return Err(wrong()),
    };
    match pattern.port {
        Some(port) if port != 0 => Ok(Address { address, port }),
        _ => Err(wrong()),
    }
}

fn expect(text: &str) -> Result<Expect, String> {
    let (address, name) = text.split_once('=').unwrap_or((text, text));
    if name.is_empty() {
        return Err(format!(
            "{text:?} has an empty name; write it as 192.0.2.1:80=NAME"
        ));
    }
    Ok(Expect {
        address: expected_address(address)?,
        name: name.to_owned(),
    })
}

fn prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    text.parse().map_err(|_| {
        format!("{text:?} is no address and no prefix; write it as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32")
    })
}

fn netns(text: &str) -> Result<u32, String> {
    namespaces::named(text)
        .map_err(|error| format!("{error:#}; see ip netns list, or readlink /proc/PID/ns/net"))
}

fn listener(text: &str) -> Result<ListenerPattern, String> {
    let wrong = || {
        format!(
            "{text:?} names no listener; write it as 192.0.2.1:80, [2001:db8::1]:80, *:80 or :80"
        )
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(ListenerPattern {
            address: Some(AddressPattern::Is(address)),
            port: None,
        });
    }
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = match port {
        "*" => None,
        port => Some(port.parse().map_err(|_| wrong())?),
    };
    let address = match address {
        "" => None,
        "*" => Some(AddressPattern::Wildcard),
        address => {
            let bare = address
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            Some(AddressPattern::Is(
                bare.unwrap_or(address).parse().map_err(|_| wrong())?,
            ))
        }
    };
    Ok(ListenerPattern { address, port })
}

/// A time such as `500ms` or `10m`.
///
/// # Errors
/// If it is none, in words for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => f64::NAN,
    };
    let number: f64 = number.parse().unwrap_or(f64::NAN);
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("{text:?} is no time; write it as 500ms, 30s, 10m or 1h"))
}

fn buffer_size(text: &str) -> Result<u32, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u32 = match unit {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        _ => 0,
    };
    number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|size| size.is_power_of_two() && (4096..=1 << 30).contains(size))
        .ok_or_else(|| {
            format!("{text:?} is no buffer size; it is a power of two from 4096 to 1024MiB")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_and_sizes_are_read() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        for wrong in ["", "0", "-1s", "1w", "x", "1e999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(buffer_size("4096"), Ok(4096));
        assert_eq!(buffer_size("4MiB"), Ok(4 << 20));
        for wrong in ["", "4095", "12KiB", "2048", "4GiB", "9999999999"] {
            assert!(buffer_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn listeners_are_read() {
        let pattern = |address, port| Ok(ListenerPattern { address, port });
        let is = |text: &str| text.parse().ok().map(AddressPattern::Is);
        assert_eq!(listener("6.6.6.6:80"), pattern(is("6.6.6.6"), Some(80)));
        assert_eq!(listener("[::1]:80"), pattern(is("::1"), Some(80)));
        assert_eq!(
            listener("*:80"),
            pattern(Some(AddressPattern::Wildcard), Some(80))
        );
        assert_eq!(listener(":80"), pattern(None, Some(80)));
        assert_eq!(listener("6.6.6.6"), pattern(is("6.6.6.6"), None));
        for wrong in ["", "80", "x:80", "6.6.6.6:port", "6.6.6.6:99999"] {
            assert!(listener(wrong).is_err(), "{wrong}");
        }
    }
}
