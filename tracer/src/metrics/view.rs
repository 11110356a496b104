//! What is exposed beside the counters that SYNs feed: plain values, which whoever runs the
//! daemon fills in before each scrape. Maps by name, so that no series is there twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    alerts::totals::Totals,
    audit::{Finding, Kind, Severity},
    delivery::{Sends, SinkStats},
    event::{Stage, Time},
    judge::{Limit, rules::Algorithm},
    pipeline::Bounds,
};

/// Most ports with a series of their overlap. What does not fit is counted; `sockpick audit`
/// names all.
pub const MOST_OVERLAPS: usize = 1024;

/// Everything else, at a time.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Events that were lost, by stage.
    pub lost: BTreeMap<Stage, u64>,
    /// SYNs that alerts cover.
    pub alerts: Totals,
    /// Alerts that last.
    pub alerts_active: u64,
    /// SYNs of alerts that were not told one by one.
    pub alerts_suppressed: u64,
    /// Whether every address of a service has its listener, by its name.
    pub expected_up: BTreeMap<Arc<str>, bool>,
    /// Listeners that overlap.
    pub overlapping: Overlaps,
    /// Whether SYNs are traced, where a daemon says so.
    pub tracing: Option<bool>,
    /// What the last look at the listeners found; `None`: none was made.
    pub findings: Option<Findings>,
    /// Connections of sockpick's own; `None`: it makes none.
    pub self_check: Option<SelfCheck>,
    /// Probes by name.
    pub probes: BTreeMap<Arc<str>, Probe>,
    /// Bounded maps by name.
    pub maps: BTreeMap<Arc<str>, Map>,
    /// Sinks; no two have one name.
    pub sinks: Vec<SinkStats>,
    /// Pushes to a collector, by what came of them; `None`: none are made.
    pub pushes: Option<Sends>,
    /// When the configuration was read; `None`: there is none to be read again.
    pub reload: Option<Reload>,
    /// How the kernel looks listeners up, if that is known.
    pub algorithm: Option<Algorithm>,
    /// Version of sockpick.
    pub version: &'static str,
}

impl View {
    /// Takes in what the pipeline knows of its losses and bounds; losses of pipelines before it
    /// are in already.
    pub(crate) fn pipeline(&mut self, lost: &BTreeMap<Stage, u64>, bounds: Bounds) {
        for (stage, lost) in lost {
            *self.lost.entry(*stage).or_default() += lost;
        }
        for (name, limit) in [
            ("pipeline_closings", bounds.closings),
            ("pipeline_steered", bounds.steered),
            ("pipeline_groups", bounds.groups),
            ("pipeline_listeners", bounds.listeners),
            ("pipeline_closed", bounds.closed),
        ] {
            self.maps.insert(name.into(), limit.into());
        }
    }
}

/// How many findings a look came to, by rule and severity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Of each rule and severity, also where there are none.
    pub number: BTreeMap<(Kind, Severity), u64>,
    /// When it was looked.
    pub at: Time,
}

impl Findings {
    /// These.
    #[must_use]
    pub fn of(findings: &[Finding], at: Time) -> Self {
        let severities = |kind| Severity::ALL.map(|severity| ((kind, severity), 0));
        let mut number: BTreeMap<(Kind, Severity), u64> =
            Kind::ALL.into_iter().flat_map(severities).collect();
        for finding in findings {
            *number.entry((finding.kind, finding.severity)).or_default() += 1;
        }
        Self { number, at }
    }
}

/// Listeners that overlap, by namespace and port.
#[derive(Clone, Debug, Default)]
pub struct Overlaps {
    by_port: BTreeMap<(Arc<str>, u16), u64>,
    beyond: u64,
}

impl Overlaps {
    /// They are these now.
    pub fn set(&mut self, now: impl IntoIterator<Item = ((Arc<str>, u16), u64)>) {
        self.by_port.clear();
        for (port, listeners) in now {
            if self.by_port.len() < MOST_OVERLAPS || self.by_port.contains_key(&port) {
                self.by_port.insert(port, listeners);
            } else {
                self.beyond += 1;
            }
        }
    }

    /// How many listeners overlap at which port.
    #[must_use]
    pub fn ports(&self) -> &BTreeMap<(Arc<str>, u16), u64> {
        &self.by_port
    }

    /// Times that a port had no series.
    #[must_use]
    pub fn beyond(&self) -> u64 {
        self.beyond
    }
}

/// How the connections of sockpick's own were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfCheck {
    /// As they were.
    pub ok: u64,
    /// Not, or otherwise.
    pub failed: u64,
}

/// A probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// By which mechanism it is attached, or would be.
    pub backend: &'static str,
    /// Whether it is.
    pub attached: bool,
    /// Times that the kernel skipped it, where it counts them.
    pub missed: Option<u64>,
    /// How long it ran, where the kernel takes the time.
    pub run: Option<Duration>,
}

/// Something bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// What it holds.
    pub entries: u64,
    /// What it has room for.
    pub capacity: u64,
}

impl From<Limit> for Map {
    fn from(limit: Limit) -> Self {
        Self {
            entries: limit.holds as u64,
            capacity: limit.most as u64,
        }
    }
}

/// When the configuration was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether it was taken when it was last read.
    pub successful: bool,
    /// When one was last taken.
    pub taken: Time,
}
