//! Families as a message of OpenTelemetry: with the names and labels of the text, which a
//! Prometheus behind a collector then has as well, as rules for the one hold for the other.

use super::{
    families::{Families, Family, Label, Row, Value},
    names::Kind,
};
use crate::{
    event::Time,
    otlp::{
        Resource, Scope,
        metrics::{
            Data, ExportMetricsServiceRequest, Gauge, Metric, Number, NumberDataPoint,
            ResourceMetrics, ScopeMetrics, Sum, Temporality,
        },
        text,
    },
};

/// Who counts, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) resource: Resource,
    pub(crate) start: Time,
}

/// From when to when, in nanoseconds.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    now: u64,
}

impl Families {
    /// As a message, as of now.
    pub(crate) fn message(&self, origin: &Origin, now: Time) -> ExportMetricsServiceRequest {
        let now = unix(now);
        // The clock may have been put back.
        let start = unix(origin.start).min(now);
        let span = Span { start, now };
        let metrics = self.0.iter().map(|family| metric(family, span));
        let scope_metrics = ScopeMetrics {
            scope: Some(Scope::own()),
            metrics: metrics.collect(),
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(origin.resource.clone()),
                scope_metrics: vec![scope_metrics],
            }],
        }
    }
}

fn unix(time: Time) -> u64 {
    u64::try_from(time.0).unwrap_or_default()
}

fn metric(family: &Family, span: Span) -> Metric {
    let of = family.of;
    Metric {
        name: of.exposed(),
        description: of.help.to_owned(),
        // Without one: "1" would be a ratio to Prometheus.
        unit: of.unit().map_or("", |_| "s").to_owned(),
        data: Some(data(family, span)),
    }
}

fn data(family: &Family, span: Span) -> Data {
    let points = |start| {
        let span = Span { start, ..span };
        let rows = family.rows.iter();
        rows.map(|row| point(family.of.labels, row, span)).collect()
    };
    let sum = |is_monotonic| {
        Data::Sum(Sum {
            data_points: points(span.start),
            aggregation_temporality: Temporality::Cumulative.into(),
            is_monotonic,
        })
    };
    match family.of.kind {
        Kind::Counter => sum(true),
        // As the protocol's rules for Prometheus' metrics have it.
        Kind::Info => sum(false),
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: points(0),
        }),
    }
}

fn point(names: &[&str], row: &Row, span: Span) -> NumberDataPoint {
    let labels = names.iter().zip(&row.labels);
    let labels = labels.map(|(name, label)| (name, word(label)));
    // An empty label is none.
    let labels = labels.filter(|(_, value)| !value.is_empty());
    NumberDataPoint {
        attributes: labels.map(|(name, value)| text(name, value)).collect(),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        value: Some(number(row.value)),
    }
}

fn word(label: &Label) -> String {
    match label {
        Label::Word(word) => (*word).to_owned(),
        Label::Text(text) => text.to_string(),
        Label::Number(number) => number.to_string(),
    }
}

fn number(value: Value) -> Number {
    match value {
        Value::Whole(value) => Number::Whole(i64::try_from(value).unwrap_or(i64::MAX)),
        Value::Real(value) => Number::Real(value),
    }
}

#[cfg(test)]
mod tests;
