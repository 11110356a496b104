//! Both formats, and the contract: what is exposed is documented, and the other way round.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{
    alerts::{Situation, totals},
    delivery::{Sends, SinkStats},
    event::{Reason, Reuseport, Stage, Time, Verdict},
    judge::rules::Algorithm,
    metrics::{
        Series, View, names,
        series::tests::syn,
        view::{Findings, Map, Probe, Reload, SelfCheck},
    },
};

/// With a listener of a group, and a refused port.
pub(crate) fn series() -> Series {
    let mut series = Series::new(100);
    let group = Reuseport {
        group: 1,
        size: 2,
        member: Some(1),
        program_id: None,
    };
    series.take(&syn(80, 1, Some(group)), 1);
    series.take(&syn(9, 0, None), 1);
    series
}

/// With something of everything.
pub(crate) fn view() -> View {
    let mut view = View {
        alerts_active: 1,
        alerts_suppressed: 2,
        tracing: Some(true),
        findings: Some(Findings::of(&[], Time(1_700_000_000_000_000_000))),
        self_check: Some(SelfCheck { ok: 3, failed: 1 }),
        reload: Some(Reload {
            successful: true,
            taken: Time(1_700_000_000_500_000_000),
        }),
        algorithm: Some(Algorithm::AddressFirst),
        version: "1.2.3",
        ..View::default()
    };
    view.lost.insert(Stage::Queue, 7);
    view.alerts.count(&situation("*:80"));
    view.expected_up.insert("A \"quoted\"\\\n".into(), false);
    view.overlapping.set([(("web".into(), 80), 2)]);
    view.probes.insert("lookup4".into(), probe());
    let map = Map {
        entries: 3,
        capacity: 8192,
    };
    view.maps.insert("listeners".into(), map);
    view.pushes = Some(Sends {
        ok: 5,
        failed: 1,
        ..Sends::default()
    });
    view.sinks.push(SinkStats {
        name: "alertmanager".to_owned(),
        limit: 64,
        sends: Sends {
            ok: 4,
            ..Sends::default()
        },
        ..SinkStats::default()
    });
    view
}

fn situation(listener: &str) -> Situation {
    Situation {
        netns: "web".to_owned(),
        verdict: Verdict::Misdirected,
        reason: Some(Reason::DevOrder),
        service: None,
        expected: None,
        listener: Some(listener.to_owned()),
    }
}

fn probe() -> Probe {
    Probe {
        backend: "fentry",
        attached: true,
        missed: Some(0),
        run: Some(Duration::from_millis(1500)),
    }
}

fn rendered(format: Format) -> String {
    let families = Families::of(&series(), &view());
    families.render(format).expect("a text")
}

/// Names of series in the text, and their labels.
fn series_of(text: &str) -> BTreeSet<(String, Vec<String>)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let split = lines.map(|line| {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a value"));
        let labels = rest.match_indices("=\"").map(|(at, _)| {
            let key = rest[..at].rsplit(['{', ',']).next();
            key.expect("a label").to_owned()
        });
        (name.to_owned(), labels.collect())
    });
    split.collect()
}

fn contract() -> BTreeSet<(String, Vec<String>)> {
    let all = names::ALL.iter().map(|of| {
        let labels = of.labels.iter().map(|&label| label.to_owned());
        (of.exposed(), labels.collect())
    });
    all.collect()
}

#[test]
fn everything_is_exposed_by_its_name_and_labels() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        assert_eq!(series_of(&rendered(format)), contract(), "{format:?}");
    }
}

#[test]
fn openmetrics_ends_and_has_units_and_families_without_suffix() {
    let text = rendered(Format::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE sockpick_syn counter\n"));
    assert!(text.contains("# UNIT sockpick_bpf_run_seconds seconds\n"));
    assert!(text.contains("# TYPE sockpick_build info\n"));
    assert!(text.contains(
        "sockpick_syn_total{netns=\"web\",listener=\"*:80\",match=\"wildcard\",via=\"lookup\"} 1\n"
    ));
    assert!(text.contains("sockpick_bpf_run_seconds_total{probe=\"lookup4\"} 1.5\n"));
}

#[test]
fn prometheus_has_whole_names_and_no_end() {
    let text = rendered(Format::Prometheus);
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    assert!(text.contains("# TYPE sockpick_syn_total counter\n"));
    assert!(text.contains("# TYPE sockpick_build_info gauge\n"));
    assert!(
        text.contains("sockpick_expected_listener_up{service=\"A \\\"quoted\\\"\\\\\\n\"} 0\n")
    );
    assert!(text.contains("sockpick_config_last_reload_success_timestamp_seconds 1700000000.5\n"));
    let helps = text
        .lines()
        .filter(|line| line.starts_with("# HELP "))
        .count();
    let types = text
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .count();
    assert_eq!((helps, types), (names::ALL.len(), names::ALL.len()));
}

#[test]
fn what_is_not_known_is_absent_and_what_is_nought_is_there() {
    let families = Families::of(&Series::new(10), &View::default());
    let text = families.render(Format::Prometheus).expect("a text");
    let names: BTreeSet<String> = series_of(&text).into_iter().map(|(name, _)| name).collect();
    let expected = [
        "sockpick_alerts_active",
        "sockpick_alerts_suppressed_total",
        "sockpick_build_info",
        "sockpick_events_lost_total",
        "sockpick_label_overflow_total",
    ];
    assert_eq!(
        names.iter().collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    let checking = View {
        self_check: Some(SelfCheck::default()),
        ..View::default()
    };
    let text = Families::of(&Series::new(10), &checking).render(Format::Prometheus);
    let text = text.expect("a text");
    assert!(text.contains("sockpick_self_check_total{result=\"failed\"} 0\n"));
}

#[test]
fn alerts_without_room_are_counted() {
    let mut view = View::default();
    for port in 0..totals::MAX_ROWS + 3 {
        let one = situation(&format!("*:{port}"));
        view.alerts.count(&one);
        view.alerts.count(&one);
    }
    view.alerts.count(&situation("*:0"));
    let text = Families::of(&Series::new(10), &view).render(Format::Prometheus);
    let text = text.expect("a text");
    assert!(text.contains("sockpick_label_overflow_total 6\n"));
    assert!(text.contains("listener=\"*:0\"} 3\n"));
}

/// Rows of the tables in `docs/metrics.md`: name and labels, as it is written.
#[test]
fn the_documentation_has_every_metric_and_no_other() {
    let text = include_str!("../../../../docs/metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `sockpick_"));
    let documented: BTreeSet<(String, String, Vec<String>)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = cells[3].split('`').skip(1).step_by(2).map(str::to_owned);
            let name = cells[1].trim_matches('`').to_owned();
            (name, cells[2].to_owned(), labels.collect())
        })
        .collect();
    let there = names::ALL.iter().map(|of| {
        let labels = of.labels.iter().map(|&label| label.to_owned());
        let kind = match of.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
        };
        (of.exposed(), kind.to_owned(), labels.collect())
    });
    assert_eq!(documented, there.collect());
}
