//! What the daemon is to do beside watching: alerts, metrics, events for others.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::url::Url;
use crate::event::{Reason, Verdict};

/// `[alerts]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertSettings {
    /// What is an alert.
    pub on: Vec<Kind>,
    /// And whether a reuseport group is whose members starve.
    pub on_groups: bool,
    /// How often one that lasts is told again.
    pub resend: Duration,
    /// Over, if no such SYN came for so long.
    pub quiet: Duration,
    /// Most that last at once; past it one alert stands for the others, with their number.
    pub max_active: usize,
    /// File in which they outlive a restart.
    pub state: Option<PathBuf>,
}

impl AlertSettings {
    /// The word in `on` for [`AlertSettings::on_groups`].
    pub const GROUPS: &str = "group_health";
    /// What `resend` may be.
    pub const RESEND: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(1);
    /// What `quiet` may be; not shorter than `resend`, either.
    pub const QUIET: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(24);
    /// What `max_active` may be: the state has room for as many, and for as many that are over
    /// (`alerts::state::MAX_BYTES`).
    pub const MAX_ACTIVE: RangeInclusive<usize> = 1..=4096;
}

impl AlertSettings {
    /// Whether more SYNs may be an alert than those that may be misdirected or uncovered, or that
    /// meet a full accept queue.
    #[must_use]
    pub fn need_every_syn(&self) -> bool {
        let is_suspect = |kind: &Kind| {
            matches!(
                kind.verdict,
                Some(Verdict::Misdirected | Verdict::Uncovered)
            ) || kind.reason == Some(Reason::AcceptOverflow)
        };
        !self.on.iter().all(is_suspect)
    }
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            on: vec![
                Kind::verdict(Verdict::Misdirected),
                Kind::verdict(Verdict::Uncovered),
            ],
            on_groups: false,
            resend: Duration::from_mins(1),
            quiet: Duration::from_mins(5),
            max_active: 1024,
            state: None,
        }
    }
}

/// A kind of event: a verdict, or one reason of it; as `refused/accept_overflow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The verdict; `None`: any.
    pub verdict: Option<Verdict>,
    /// The reason; `None`: any.
    pub reason: Option<Reason>,
}

impl Kind {
    /// Every reason of it.
    #[must_use]
    pub const fn verdict(verdict: Verdict) -> Self {
        Self {
            verdict: Some(verdict),
            reason: None,
        }
    }

    /// Whether such an event is of this kind.
    #[must_use]
    pub fn is(self, verdict: Verdict, reason: Option<Reason>) -> bool {
        self.verdict.is_none_or(|wanted| wanted == verdict)
            && self.reason.is_none_or(|wanted| Some(wanted) == reason)
    }
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Where they are to be had; `None`: nowhere, unless systemd passes a socket.
    pub listen: Option<Listen>,
    /// Most series that have labels.
    pub max_series: usize,
    /// The collector that they are pushed to; `None`: to none.
    pub otlp: Option<PushSettings>,
}

impl MetricsSettings {
    /// What `max_series` may be.
    pub const MAX_SERIES: RangeInclusive<usize> = 100..=1_000_000;
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            listen: None,
            max_series: 10_000,
            otlp: None,
        }
    }
}

/// `[metrics.otlp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSettings {
    /// The collector; a push may not take longer than `interval`.
    pub target: HttpTarget,
    /// How often they are pushed.
    pub interval: Duration,
}

impl PushSettings {
    /// What `interval` may be.
    pub const INTERVAL: RangeInclusive<Duration> =
        Duration::from_secs(10)..=Duration::from_hours(1);
    /// `interval`, unless told otherwise.
    pub const USUAL_INTERVAL: Duration = Duration::from_mins(1);
}

/// Where a server of sockpick's own listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// `unix:PATH`
    Unix(PathBuf),
}

/// As it is written in the configuration.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.verdict, self.reason) {
            (Some(verdict), Some(reason)) => write!(f, "{}/{}", verdict.word(), reason.word()),
            (Some(verdict), None) => f.write_str(verdict.word()),
            (None, Some(reason)) => f.write_str(reason.word()),
            (None, None) => f.write_str("any"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[stream]`: which events go to the sinks that take events, beside alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    /// None.
    #[default]
    Alerts,
    /// One of so many.
    Sample(u64),
    /// Each.
    All,
}

/// `[daemon]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    /// How often the daemon connects to itself to see whether it still sees; `None`: never.
    pub self_check: Option<Duration>,
    /// What it does on a host that cannot be traced.
    pub on_untraceable: OnUntraceable,
    /// How often it looks at the listeners there.
    pub audit: Duration,
}

/// What the daemon does on a host that cannot be traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUntraceable {
    /// It ends, and says what to do.
    #[default]
    Exit,
    /// It goes on with what can be told without tracing.
    Inventory,
}

impl OnUntraceable {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Exit, Self::Inventory];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Inventory => "inventory",
        }
    }
}

impl DaemonSettings {
    /// What `self_check` may be, unless it is off: each makes a namespace.
    pub const SELF_CHECK: RangeInclusive<Duration> =
        Duration::from_secs(10)..=Duration::from_hours(1);
    /// What `audit` may be: each look asks every process.
    pub const AUDIT: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(24);
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            self_check: Some(Duration::from_mins(3)),
            on_untraceable: OnUntraceable::Exit,
            audit: Duration::from_mins(5),
        }
    }
}

/// As it is written in the configuration.
impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alerts => f.write_str("alerts"),
            Self::Sample(of) => write!(f, "sample 1/{of}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// A server that is spoken to by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// `http://` or `https://`, host, port, path before the API's own.
    pub url: Url,
    /// Authorities that it is to be signed by, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// File with a bearer token.
    pub bearer_file: Option<PathBuf>,
    /// One request may take so long.
    pub timeout: Duration,
}

impl HttpTarget {
    /// What `timeout` may be.
    pub const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);
    /// `timeout`, unless told otherwise.
    pub const USUAL_TIMEOUT: Duration = Duration::from_secs(10);
}
