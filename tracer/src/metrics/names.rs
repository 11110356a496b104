//! The contract: which metrics there are, by which labels, and what each means.

use prometheus_client::registry::Unit;

use Kind::{Counter, Gauge, Info};

/// What all names begin with.
pub const PREFIX: &str = "sockpick";

/// What a metric is to whoever fetches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while sockpick runs.
    Counter,
    /// What is now.
    Gauge,
    /// What does not change: it is in the labels.
    Info,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Its name without prefix, unit and suffix.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// It is in seconds.
    pub seconds: bool,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

impl Descriptor {
    const fn new(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            seconds: false,
            labels,
            help,
        }
    }

    const fn in_seconds(mut self) -> Self {
        self.seconds = true;
        self
    }

    /// Its unit, which is a part of its name.
    #[must_use]
    pub fn unit(&self) -> Option<Unit> {
        self.seconds.then_some(Unit::Seconds)
    }

    /// The name that its series have.
    #[must_use]
    pub fn exposed(&self) -> String {
        let unit = if self.seconds { "_seconds" } else { "" };
        let suffix = match self.kind {
            Counter => "_total",
            Gauge => "",
            Info => "_info",
        };
        format!("{PREFIX}_{}{unit}{suffix}", self.name)
    }
}

/// SYNs by listener.
pub const SYN: Descriptor = Descriptor::new(
    "syn",
    Counter,
    &["netns", "listener", "match", "via"],
    "SYNs that the kernel gave to a listener.",
);
/// SYNs without a listener.
pub const REFUSED: Descriptor = Descriptor::new(
    "refused",
    Counter,
    &["netns", "port"],
    "SYNs to a port that no listener was chosen for.",
);
/// SYNs by member of a group.
pub const MEMBER_SYN: Descriptor = Descriptor::new(
    "reuseport_member_syn",
    Counter,
    &["group", "member"],
    "SYNs that a member of a reuseport group was given.",
);
/// Size of a group.
pub const GROUP_MEMBERS: Descriptor = Descriptor::new(
    "reuseport_group_members",
    Gauge,
    &["group"],
    "Members of a reuseport group when the last SYN came.",
);
/// Accept queue.
pub const QUEUE_LENGTH: Descriptor = Descriptor::new(
    "listener_accept_queue_length",
    Gauge,
    &["netns", "listener"],
    "Connections that waited for accept when the last SYN came, at the fullest socket bound there.",
);
/// Its limit.
pub const QUEUE_LIMIT: Descriptor = Descriptor::new(
    "listener_accept_queue_limit",
    Gauge,
    &["netns", "listener"],
    "Limit of that accept queue; one more than it may wait.",
);
/// SYNs that met a full queue.
pub const OVERFLOWS: Descriptor = Descriptor::new(
    "listener_overflows",
    Counter,
    &["netns", "listener"],
    "SYNs that met a full accept queue, and were dropped.",
);
/// Alerts.
pub const ALERTS: Descriptor = Descriptor::new(
    "alerts",
    Counter,
    &["verdict", "reason", "service", "listener"],
    "SYNs, and connections handed over, that alerts cover.",
);
/// Alerts that last.
pub const ALERTS_ACTIVE: Descriptor =
    Descriptor::new("alerts_active", Gauge, &[], "Alerts that last now.");
/// Alerts without room.
pub const ALERTS_SUPPRESSED: Descriptor = Descriptor::new(
    "alerts_suppressed",
    Counter,
    &[],
    "SYNs and findings of alerts that were not told one by one, as too many lasted already.",
);
/// Services.
pub const EXPECTED_UP: Descriptor = Descriptor::new(
    "expected_listener_up",
    Gauge,
    &["service"],
    "1 if every address of the service has its listener, else 0.",
);
/// Overlaps.
pub const OVERLAPPING: Descriptor = Descriptor::new(
    "listeners_overlapping",
    Gauge,
    &["netns", "port"],
    "Listeners of a port of which one may be given SYNs meant for another.",
);
/// Whether SYNs are seen at all.
pub const TRACING: Descriptor = Descriptor::new(
    "tracing",
    Gauge,
    &[],
    "1 if SYNs are traced, 0 if this host cannot be traced and only its listeners are looked at.",
);
/// What is found without tracing.
pub const FINDINGS: Descriptor = Descriptor::new(
    "findings",
    Gauge,
    &["rule", "severity"],
    "Findings of the last look at the listeners; absent where SYNs are traced.",
);
/// When it was looked for.
pub const FINDINGS_TIME: Descriptor = Descriptor::new(
    "findings_timestamp",
    Gauge,
    &[],
    "Unix time of the last look at the listeners that succeeded; absent where SYNs are traced.",
)
.in_seconds();
/// Losses.
pub const LOST: Descriptor = Descriptor::new(
    "events_lost",
    Counter,
    &["stage"],
    "Events that were lost, by where.",
);
/// The self-check.
pub const SELF_CHECK: Descriptor = Descriptor::new(
    "self_check",
    Counter,
    &["result"],
    "Connections of sockpick's own, by whether it saw them as they were.",
);
/// Probes.
pub const PROBE_ATTACHED: Descriptor = Descriptor::new(
    "probe_attached",
    Gauge,
    &["probe", "backend"],
    "1 if the probe is attached, else 0.",
);
/// What the kernel skipped.
pub const PROBE_MISSED: Descriptor = Descriptor::new(
    "probe_missed",
    Counter,
    &["probe"],
    "Times that the kernel skipped the probe; absent where it does not count them.",
);
/// What it costs.
pub const BPF_RUN: Descriptor = Descriptor::new(
    "bpf_run",
    Counter,
    &["probe"],
    "Time that the probe ran; absent unless kernel.bpf_stats_enabled is set.",
)
.in_seconds();
/// Maps.
pub const MAP_ENTRIES: Descriptor = Descriptor::new(
    "map_entries",
    Gauge,
    &["map"],
    "Entries of a bounded map of the pipeline.",
);
/// Their bounds.
pub const MAP_CAPACITY: Descriptor = Descriptor::new(
    "map_capacity",
    Gauge,
    &["map"],
    "Entries that the map has room for.",
);
/// Series without room.
pub const LABEL_OVERFLOW: Descriptor = Descriptor::new(
    "label_overflow",
    Counter,
    &[],
    "Times that something was to be counted in a series for which there was no room.",
);
/// Sinks.
pub const SINK_SENDS: Descriptor = Descriptor::new(
    "sink_sends",
    Counter,
    &["sink", "result"],
    "Sends of a sink, by result.",
);
/// Their queues.
pub const SINK_QUEUE: Descriptor = Descriptor::new(
    "sink_queue_length",
    Gauge,
    &["sink"],
    "Notices and events that wait for the sink.",
);
/// Their limits.
pub const SINK_LIMIT: Descriptor = Descriptor::new(
    "sink_queue_limit",
    Gauge,
    &["sink"],
    "Notices and events that may wait for the sink.",
);
/// Pushes.
pub const OTLP_PUSHES: Descriptor = Descriptor::new(
    "otlp_pushes",
    Counter,
    &["result"],
    "Pushes of metrics to a collector, by result.",
);
/// Reloads.
pub const RELOAD_SUCCESSFUL: Descriptor = Descriptor::new(
    "config_last_reload_successful",
    Gauge,
    &[],
    "1 if the configuration was taken when it was last read, else 0.",
);
/// When one succeeded.
pub const RELOAD_TIME: Descriptor = Descriptor::new(
    "config_last_reload_success_timestamp",
    Gauge,
    &[],
    "Unix time at which a configuration was last taken.",
)
.in_seconds();
/// The kernel.
pub const LOOKUP: Descriptor = Descriptor::new(
    "kernel_lookup",
    Info,
    &["algorithm"],
    "How this kernel looks listeners up.",
);
/// This program.
pub const BUILD: Descriptor = Descriptor::new("build", Info, &["version"], "Version of sockpick.");

/// All of them.
pub const ALL: [&Descriptor; 31] = [
    &SYN,
    &REFUSED,
    &MEMBER_SYN,
    &GROUP_MEMBERS,
    &QUEUE_LENGTH,
    &QUEUE_LIMIT,
    &OVERFLOWS,
    &ALERTS,
    &ALERTS_ACTIVE,
    &ALERTS_SUPPRESSED,
    &EXPECTED_UP,
    &OVERLAPPING,
    &FINDINGS,
    &FINDINGS_TIME,
    &TRACING,
    &LOST,
    &SELF_CHECK,
    &PROBE_ATTACHED,
    &PROBE_MISSED,
    &BPF_RUN,
    &MAP_ENTRIES,
    &MAP_CAPACITY,
    &LABEL_OVERFLOW,
    &SINK_SENDS,
    &SINK_QUEUE,
    &SINK_LIMIT,
    &OTLP_PUSHES,
    &RELOAD_SUCCESSFUL,
    &RELOAD_TIME,
    &LOOKUP,
    &BUILD,
];
