//! Families as text, in both formats that Prometheus takes.

use std::fmt::{self, Error};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabel, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _,
        LabelSetEncoder, LabelValueEncoder, MetricEncoder, prometheus_text, text,
    },
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{
    families::{Families, Family, Label, Value},
    names::{Kind, PREFIX},
};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' own, 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Families {
    /// As text.
    ///
    /// # Errors
    /// If something is not to be written in that format, which no input brings about.
    pub fn render(self, format: Format) -> Result<String, Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        match format {
            Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
            Format::OpenMetrics => text::encode(&mut out, &registry)?,
        }
        Ok(out)
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = self.0.iter();
        families.try_for_each(|family| encode_family(family, &mut encoder))
    }
}

fn encode_family(family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let of = family.of;
    let kind = match of.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Info => MetricType::Info,
    };
    let unit = of.unit();
    let mut metric = encoder.encode_descriptor(of.name, of.help, unit.as_ref(), kind)?;
    for row in &family.rows {
        let labels = Labels(of.labels, &row.labels);
        match of.kind {
            Kind::Info => metric.encode_info(&labels)?,
            kind => encode_row(kind, row.value, metric.encode_family(&labels)?)?,
        }
    }
    Ok(())
}

fn encode_row(kind: Kind, value: Value, metric: MetricEncoder<'_>) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => ConstCounter::new(value).encode(metric),
        (Kind::Counter, Value::Real(value)) => ConstCounter::new(value).encode(metric),
        (_, Value::Whole(value)) => ConstGauge::new(value).encode(metric),
        (_, Value::Real(value)) => ConstGauge::new(value).encode(metric),
    }
}

/// Names and values of labels.
struct Labels<'a>(&'static [&'static str], &'a [Label]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut labels = self.0.iter().copied().zip(self.1);
        labels.try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

impl EncodeLabelValue for &Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Label::Word(word) => word.encode(encoder),
            Label::Text(text) => (&**text).encode(encoder),
            Label::Number(number) => u32::from(*number).encode(encoder),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
