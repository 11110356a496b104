//! What a real collector takes of a push: every metric, with its type, its labels and its numbers.

#[path = "../../../../tests/peers/rotel.rs"]
mod rotel;

use super::*;
use crate::otlp::{
    KeyValue, Value,
    metrics::{Data, Metric, Number, NumberDataPoint},
};

/// A metric as the collector prints it, in parts that follow each other.
fn printed(metric: &Metric) -> Vec<String> {
    let data = metric.data.as_ref().expect("data");
    let head = format!(
        "     -> Name: {}\n     -> Description: {}\n     -> Unit: {}\n     -> DataType: {}\n",
        metric.name,
        metric.description,
        metric.unit,
        kind(data)
    );
    let points = data.points().iter().map(point);
    std::iter::once(head).chain(points).collect()
}

fn kind(data: &Data) -> String {
    match data {
        Data::Gauge(_) => "Gauge".to_owned(),
        Data::Sum(sum) => format!(
            "Sum\n     -> IsMonotonic: {}\n     -> AggregationTemporality: \
             AGGREGATION_TEMPORALITY_CUMULATIVE",
            sum.is_monotonic
        ),
    }
}

fn point(point: &NumberDataPoint) -> String {
    let labels: String = point.attributes.iter().map(label).collect();
    let value = match point.value.expect("a value") {
        Number::Real(value) => value.to_string(),
        Number::Whole(value) => value.to_string(),
    };
    format!(
        "{labels}StartTimestamp: {}\nTimestamp: {}\nValue: {value}\n",
        point.start_time_unix_nano, point.time_unix_nano
    )
}

fn label(pair: &KeyValue) -> String {
    let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
    let Some(Value::Text(text)) = value else {
        panic!("{pair:?} is no text");
    };
    format!("     -> {}: Str({text})\n", pair.key)
}

/// Whether these stand there one after the other.
fn follow(said: &str, parts: &[String]) -> Result<(), String> {
    let mut rest = said;
    for part in parts {
        (_, rest) = rest.split_once(part).ok_or_else(|| part.clone())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_collector_prints_every_metric_as_it_was_pushed() {
    let Some(program) = rotel::program() else {
        return;
    };
    let collector = rotel::Collector::start(&program);
    let url = format!("http://{}/v1/metrics", collector.at);
    let mut pusher = Pusher::new(&settings(url), Pushes::default());
    let message = message();
    let attempt = pusher.send(&message).await;
    assert_eq!((attempt.sends.ok, attempt.complaint), (1, None));

    let metrics = &message.resource_metrics[0].scope_metrics[0].metrics;
    let parts: Vec<String> = metrics.iter().flat_map(printed).collect();
    let last = parts.last().expect("a metric");
    let said = collector.until("the last metric", |said| {
        said.contains(last).then(|| said.to_owned())
    });
    assert_eq!(follow(&said, &parts), Ok(()), "{said}");
    assert_eq!(said.matches("     -> Name: ").count(), metrics.len());
    assert!(
        said.contains("     -> service.name: Str(sockpick)\n"),
        "{said}"
    );
}
