//! What is in the message, and that it is what is in the text.

use std::collections::BTreeMap;

use prost::Message as _;

use super::*;
use crate::{
    metrics::{
        Format,
        names::{self, Descriptor},
        render::tests::{series, view},
    },
    otlp,
};

const START: Time = Time(1_700_000_000_000_000_000);
const NOW: Time = Time(1_700_000_060_000_000_000);

fn origin() -> Origin {
    Origin {
        resource: Resource {
            attributes: vec![text("service.name", "sockpick")],
        },
        start: START,
    }
}

/// As a collector reads it.
fn received(families: &Families, now: Time) -> ExportMetricsServiceRequest {
    let bytes = families.message(&origin(), now).encode_to_vec();
    ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("the message that was written")
}

fn metrics(families: &Families) -> Vec<Metric> {
    let [resource] = &received(families, NOW).resource_metrics[..] else {
        panic!("one resource");
    };
    assert_eq!(resource.resource, Some(origin().resource));
    let [scope] = &resource.scope_metrics[..] else {
        panic!("one scope");
    };
    assert_eq!(scope.scope, Some(Scope::own()));
    scope.metrics.clone()
}

fn everything() -> Families {
    Families::of(&series(), &view())
}

fn metric(name: &str) -> Metric {
    let mut metrics = metrics(&everything()).into_iter();
    metrics.find(|metric| metric.name == name).expect(name)
}

fn labels(point: &NumberDataPoint) -> Vec<(String, String)> {
    let pair = |pair: &otlp::KeyValue| {
        let value = pair.value.as_ref().and_then(|any| any.value.clone());
        match value {
            Some(otlp::Value::Text(value)) => (pair.key.clone(), value),
            other => panic!("{}: {other:?} is no text", pair.key),
        }
    };
    point.attributes.iter().map(pair).collect()
}

/// Series by name and labels, with their values.
type Series = BTreeMap<(String, Vec<(String, String)>), f64>;

fn in_message(families: &Families) -> Series {
    let mut series = Series::new();
    for metric in metrics(families) {
        for point in metric.data.as_ref().expect("data").points() {
            let value = match point.value {
                Some(Number::Whole(value)) => value.to_string().parse().expect("a number"),
                Some(Number::Real(value)) => value,
                None => panic!("{} has a point without a value", metric.name),
            };
            let before = series.insert((metric.name.clone(), labels(point)), value);
            assert_eq!(before, None, "twice: {}", metric.name);
        }
    }
    series
}

/// Of Prometheus' text; labels without a value are none.
fn in_text(families: Families) -> Series {
    let text = families.render(Format::Prometheus).expect("a text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split_terminator("\",");
        let labels = labels.map(|label| {
            let (key, value) = label.split_once("=\"").expect("a label");
            let value = value.strip_suffix('"').unwrap_or(value);
            let value = value.replace("\\n", "\n").replace("\\\"", "\"");
            (key.to_owned(), value.replace("\\\\", "\\"))
        });
        let labels = labels.filter(|(_, value)| !value.is_empty());
        let value = value.parse().expect("a number");
        ((name.to_owned(), labels.collect()), value)
    };
    lines.map(read).collect()
}

#[test]
fn it_has_the_series_of_the_text_with_the_same_values() {
    let message = in_message(&everything());
    assert_eq!(message, in_text(everything()));
    assert_eq!(message.len(), received(&everything(), NOW).points());
}

#[test]
fn it_has_every_metric_that_there_is() {
    let there = metrics(&everything());
    let there: Vec<&str> = there.iter().map(|metric| &*metric.name).collect();
    let all = names::ALL.map(Descriptor::exposed);
    assert_eq!(there.len(), all.len());
    for name in &all {
        assert!(there.contains(&&**name), "{name}");
    }
}

#[test]
fn a_counter_is_a_cumulative_sum_that_only_rises_since_the_start() {
    let metric = metric("sockpick_syn_total");
    assert_eq!(
        metric.description,
        "SYNs that the kernel gave to a listener."
    );
    assert_eq!(metric.unit, "");
    let Some(Data::Sum(sum)) = metric.data else {
        panic!("no sum");
    };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality(), Temporality::Cumulative);
    let [point] = &sum.data_points[..] else {
        panic!("{:?}", sum.data_points);
    };
    assert_eq!(point.start_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(point.time_unix_nano, 1_700_000_060_000_000_000);
    assert_eq!(point.value, Some(Number::Whole(1)));
    let labels = labels(point);
    let labels = labels.iter().map(|(key, value)| (&**key, &**value));
    assert_eq!(
        labels.collect::<Vec<_>>(),
        [
            ("netns", "web"),
            ("listener", "*:80"),
            ("match", "wildcard"),
            ("via", "lookup"),
        ]
    );
}

#[test]
fn a_counter_of_seconds_has_the_unit_that_is_in_its_name() {
    let metric = metric("sockpick_bpf_run_seconds_total");
    assert_eq!(metric.unit, "s");
    let Some(Data::Sum(sum)) = metric.data else {
        panic!("no sum");
    };
    assert_eq!(sum.data_points[0].value, Some(Number::Real(1.5)));
}

#[test]
fn a_gauge_is_of_now_and_of_no_time_before() {
    let metric = metric("sockpick_alerts_active");
    let Some(Data::Gauge(gauge)) = metric.data else {
        panic!("no gauge");
    };
    let point = &gauge.data_points[0];
    assert_eq!(point.start_time_unix_nano, 0);
    assert_eq!(point.time_unix_nano, 1_700_000_060_000_000_000);
    assert_eq!(point.value, Some(Number::Whole(1)));
    assert!(point.attributes.is_empty());
}

#[test]
fn an_info_is_a_sum_that_may_fall() {
    let metric = metric("sockpick_build_info");
    let Some(Data::Sum(sum)) = metric.data else {
        panic!("no sum");
    };
    assert!(!sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality(), Temporality::Cumulative);
    assert_eq!(sum.data_points[0].value, Some(Number::Whole(1)));
    let version = ("version".to_owned(), "1.2.3".to_owned());
    assert_eq!(labels(&sum.data_points[0]), [version]);
}

#[test]
fn a_clock_that_was_put_back_gives_no_time_before_the_start() {
    let early = Time(START.0 - 1_000);
    let message = received(&everything(), early);
    let metrics = &message.resource_metrics[0].scope_metrics[0].metrics;
    let data = metrics.iter().filter_map(|metric| metric.data.as_ref());
    for point in data.flat_map(Data::points) {
        assert!(point.start_time_unix_nano <= point.time_unix_nano);
    }
}

#[test]
fn what_no_number_of_the_protocol_can_say_is_the_largest() {
    assert_eq!(number(Value::Whole(u64::MAX)), Number::Whole(i64::MAX));
}
