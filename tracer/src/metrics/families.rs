//! Everything that is exposed, as values: one family for each metric, with its series in order.

use std::sync::Arc;

use super::{
    names::{self, Descriptor},
    series::Series,
    view::{Probe, View},
};
use crate::{
    alerts::totals,
    delivery::{Sends, SinkStats},
    event::{Reason, Stage, Time},
    judge::rules::Algorithm,
};

/// The value of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Label {
    Word(&'static str),
    Text(Arc<str>),
    Number(u16),
}

/// What a series has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Whole(u64),
    Real(f64),
}

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) labels: Vec<Label>,
    pub(crate) value: Value,
}

/// One metric.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) of: &'static Descriptor,
    pub(crate) rows: Vec<Row>,
}

/// What is exposed at a time: a value of its own, so that it can be written out elsewhere than
/// where it is counted.
#[derive(Clone, Debug)]
pub struct Families(pub(crate) Vec<Family>);

impl Families {
    /// Of these.
    #[must_use]
    pub fn of(series: &Series, view: &View) -> Self {
        let mut families = Self(Vec::with_capacity(names::ALL.len()));
        families.listeners(series);
        families.alerts(view);
        families.picture(view);
        families.probes(view);
        families.bounds(series, view);
        families.sinks(view);
        families.itself(view);
        families
    }

    fn listeners(&mut self, series: &Series) {
        let (mut syns, mut members, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut lengths, mut limits, mut overflows) = (Vec::new(), Vec::new(), Vec::new());
        for (place, queue) in series.places() {
            let at = || vec![text(&place.netns), text(&place.listener)];
            for ((matched, via), count) in &place.syns {
                let how = [Label::Word(matched.word()), Label::Word(via.word())];
                syns.push(whole(at().into_iter().chain(how), *count));
            }
            lengths.extend(queue.map(|queue| whole(at(), queue.length)));
            limits.extend(queue.map(|queue| whole(at(), queue.limit)));
            overflows.push(whole(at(), place.overflows));
            let Some(group) = &place.group else { continue };
            sizes.push(whole([text(&group.name)], group.size));
            for (member, count) in &group.members {
                let member = member.map_or(Label::Word("beyond"), Label::Number);
                members.push(whole([text(&group.name), member], *count));
            }
        }
        let refused = series.refused();
        let refused =
            refused.map(|(netns, port, syns)| (vec![text(netns), Label::Number(port)], syns));
        self.add(&names::SYN, syns);
        self.add(&names::REFUSED, refused.map(|(at, syns)| whole(at, syns)));
        self.add(&names::MEMBER_SYN, members);
        self.add(&names::GROUP_MEMBERS, sizes);
        self.add(&names::QUEUE_LENGTH, lengths);
        self.add(&names::QUEUE_LIMIT, limits);
        self.add(&names::OVERFLOWS, overflows);
    }

    fn alerts(&mut self, view: &View) {
        let totals = view.alerts.rows();
        let totals = totals.map(|(row, count)| whole(alert(row), count));
        self.add(&names::ALERTS, totals);
        self.one(&names::ALERTS_ACTIVE, view.alerts_active);
        self.one(&names::ALERTS_SUPPRESSED, view.alerts_suppressed);
    }

    /// What the listeners are, and what of it was not seen.
    fn picture(&mut self, view: &View) {
        let services = view.expected_up.iter();
        let services = services.map(|(service, up)| whole([text(service)], u64::from(*up)));
        self.add(&names::EXPECTED_UP, services);
        let ports = view.overlapping.ports().iter();
        let ports = ports
            .map(|((netns, port), number)| whole([text(netns), Label::Number(*port)], *number));
        self.add(&names::OVERLAPPING, ports);
        let findings = view.findings.iter();
        let numbers = findings.clone().flat_map(|findings| &findings.number);
        let numbers = numbers.map(|((rule, severity), number)| {
            let labels = [Label::Word(rule.word()), Label::Word(severity.word())];
            whole(labels, *number)
        });
        self.add(&names::FINDINGS, numbers);
        let times = findings.map(|findings| time(findings.at));
        self.add(&names::FINDINGS_TIME, times);
        let tracing = view.tracing.map(|tracing| whole([], u64::from(tracing)));
        self.add(&names::TRACING, tracing);
        let stages = [Stage::Kernel, Stage::Queue, Stage::Sink].into_iter();
        let lost = stages.map(|stage| {
            let lost = view.lost.get(&stage).copied().unwrap_or_default();
            whole([Label::Word(stage.word())], lost)
        });
        self.add(&names::LOST, lost);
        let checks = view.self_check.into_iter();
        let checks = checks.flat_map(|checks| [("ok", checks.ok), ("failed", checks.failed)]);
        let checks = checks.map(|(result, count)| whole([Label::Word(result)], count));
        self.add(&names::SELF_CHECK, checks);
    }

    fn probes(&mut self, view: &View) {
        let probes = || view.probes.iter();
        let attached = probes().map(
            |(
                name,
                Probe {
                    backend, attached, ..
                },
            )| { whole([text(name), Label::Word(backend)], u64::from(*attached)) },
        );
        self.add(&names::PROBE_ATTACHED, attached);
        let missed = probes().filter_map(|(name, probe)| Some((name, probe.missed?)));
        let missed = missed.map(|(name, missed)| whole([text(name)], missed));
        self.add(&names::PROBE_MISSED, missed);
        let run = probes().filter_map(|(name, probe)| Some((name, probe.run?)));
        let run = run.map(|(name, run)| Row {
            labels: vec![text(name)],
            value: Value::Real(run.as_secs_f64()),
        });
        self.add(&names::BPF_RUN, run);
    }

    fn bounds(&mut self, series: &Series, view: &View) {
        let maps = || view.maps.iter();
        let entries = maps().map(|(name, map)| whole([text(name)], map.entries));
        self.add(&names::MAP_ENTRIES, entries);
        let capacity = maps().map(|(name, map)| whole([text(name)], map.capacity));
        self.add(&names::MAP_CAPACITY, capacity);
        let beyond = series.beyond() + view.alerts.others() + view.overlapping.beyond();
        self.one(&names::LABEL_OVERFLOW, beyond);
    }

    fn sinks(&mut self, view: &View) {
        let sinks = || view.sinks.iter();
        let name = |sink: &SinkStats| Label::Text(sink.name.as_str().into());
        let sends = sinks().flat_map(|sink| {
            let sends = results(sink.sends).into_iter();
            sends.map(move |(result, count)| whole([name(sink), Label::Word(result)], count))
        });
        self.add(&names::SINK_SENDS, sends);
        let lengths = sinks().map(|sink| whole([name(sink)], sink.queued as u64));
        self.add(&names::SINK_QUEUE, lengths);
        let limits = sinks().map(|sink| whole([name(sink)], sink.limit as u64));
        self.add(&names::SINK_LIMIT, limits);
        let pushes = view.pushes.into_iter().flat_map(results);
        let pushes = pushes.map(|(result, count)| whole([Label::Word(result)], count));
        self.add(&names::OTLP_PUSHES, pushes);
    }

    fn itself(&mut self, view: &View) {
        if let Some(reload) = view.reload {
            self.one(&names::RELOAD_SUCCESSFUL, u64::from(reload.successful));
            self.add(&names::RELOAD_TIME, [time(reload.taken)]);
        }
        let algorithm = view.algorithm.map(|algorithm| Label::Word(word(algorithm)));
        let algorithm = algorithm.map(|algorithm| whole([algorithm], 1_u64));
        self.add(&names::LOOKUP, algorithm);
        self.add(&names::BUILD, [whole([Label::Word(view.version)], 1_u64)]);
    }

    fn one(&mut self, of: &'static Descriptor, value: u64) {
        self.add(of, [whole([], value)]);
    }

    /// A family without series is left out.
    fn add(&mut self, of: &'static Descriptor, rows: impl IntoIterator<Item = Row>) {
        let mut rows: Vec<Row> = rows.into_iter().collect();
        rows.sort_by(|one, other| one.labels.cmp(&other.labels));
        if !rows.is_empty() {
            self.0.push(Family { of, rows });
        }
    }
}

fn whole(labels: impl IntoIterator<Item = Label>, value: impl Into<u64>) -> Row {
    Row {
        labels: labels.into_iter().collect(),
        value: Value::Whole(value.into()),
    }
}

fn time(time: Time) -> Row {
    Row {
        labels: Vec::new(),
        value: Value::Real(seconds(time.0)),
    }
}

fn text(text: &Arc<str>) -> Label {
    Label::Text(text.clone())
}

/// What is not there is an empty label, which means the same to Prometheus.
fn alert(row: &totals::Row) -> [Label; 4] {
    let optional = |label: &Option<String>| Label::Text(label.as_deref().unwrap_or("").into());
    [
        Label::Word(row.verdict.word()),
        Label::Word(row.reason.map_or("", Reason::word)),
        optional(&row.service),
        optional(&row.listener),
    ]
}

fn results(sends: Sends) -> [(&'static str, u64); 4] {
    let Sends {
        ok,
        rejected,
        failed,
        partial,
    } = sends;
    [
        ("ok", ok),
        ("rejected", rejected),
        ("failed", failed),
        ("partial", partial),
    ]
}

/// As in the events.
fn word(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::PortOnly => "port_only",
        Algorithm::Hybrid => "hybrid",
        Algorithm::AddressFirst => "address_first",
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds stay exact for another quarter of a million years"
)]
fn seconds(ns: i64) -> f64 {
    (ns / 1_000_000) as f64 / 1e3
}
