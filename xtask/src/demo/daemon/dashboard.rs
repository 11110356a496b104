//! The dashboard's queries, asked of Prometheus, and what becomes of the answers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::hear::Heard;
use crate::chart::{Chart, Series};

/// Seconds between two scrapes, and two points of a picture: as prometheus.yml and story.sh say.
const STEP: f64 = 2.0;
/// What Grafana takes for `$__rate_interval` with such scrapes: four of them.
const RATE_INTERVAL: &str = "8s";

/// What has no data in the story: no accept queue overflows in it.
const EMPTY: &str = "sockpick_listener_overflows_total";
/// What kernels before 5.12 do not count: its query may be empty where `/metrics` has none of it.
const NOT_EVERYWHERE: &str = "sockpick_probe_missed_total";

/// What is read of the file.
#[derive(Deserialize)]
pub(super) struct Dashboard {
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Panel {
    title: String,
    description: String,
    field_config: FieldConfig,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct FieldConfig {
    defaults: Defaults,
}

#[derive(Deserialize)]
struct Defaults {
    unit: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    expr: String,
    legend_format: String,
}

impl Dashboard {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no dashboard", path.display()))
    }

    /// A query a line, after its number, as it is part of a URL.
    pub(super) fn questions(&self) -> String {
        let targets = self.panels.iter().flat_map(|panel| &panel.targets);
        let queries = targets.map(|target| encoded(&asked(&target.expr)));
        queries
            .enumerate()
            .fold(String::new(), |mut text, (number, query)| {
                // A string takes everything.
                let _ = writeln!(text, "{number} {query}");
                text
            })
    }

    /// Name and content of each panel's picture; and what is wrong with the answers.
    pub(super) fn drawn(&self, heard: &Heard) -> (Vec<(String, String)>, Vec<String>) {
        let (mut pictures, mut problems) = (Vec::new(), Vec::new());
        let absent = (!heard.exposes(NOT_EVERYWHERE)).then_some(NOT_EVERYWHERE);
        let mut numbers = 0..;
        for (place, panel) in self.panels.iter().enumerate() {
            let mut series = Vec::new();
            for (target, number) in panel.targets.iter().zip(&mut numbers) {
                let answer = heard.ranges.get(&number);
                match answered(target, answer, heard.time.0, absent) {
                    Ok(found) => series.extend(found),
                    Err(problem) => problems.push(format!("{}: {problem}", panel.title)),
                }
            }
            let chart = Chart {
                title: &panel.title,
                description: &panel.description,
                unit: &panel.field_config.defaults.unit,
                length: heard.time.1 - heard.time.0,
                step: STEP,
                series: &series,
            };
            let name = format!("{:02}-{}.svg", place + 1, dashed(&panel.title));
            pictures.push((name, chart.to_string()));
        }
        (pictures, problems)
    }
}

/// The query with what Grafana puts in place of its variables.
fn asked(expr: &str) -> String {
    expr.replace("$instance", ".*")
        .replace("$__rate_interval", RATE_INTERVAL)
}

/// The series of an answer, in the order of their legends. Where the story has what the query is
/// about, there must be some.
fn answered(
    target: &Target,
    answer: Option<&Value>,
    from: f64,
    absent: Option<&str>,
) -> Result<Vec<Series>, String> {
    let query = asked(&target.expr);
    let answer = answer.ok_or_else(|| format!("`{query}` was not asked"))?;
    let result = answer["data"]["result"].as_array();
    let is_answer = answer["status"] == "success" && answer["warnings"].is_null();
    let found = result.filter(|_| is_answer);
    let found = found.ok_or_else(|| format!("Prometheus refuses `{query}`: {answer}"))?;
    let mut series: Vec<_> = found
        .iter()
        .map(|series| Series {
            legend: legend(&target.legend_format, &series["metric"]),
            points: points(&series["values"], from),
        })
        .collect();
    series.sort_by(|one, other| one.legend.cmp(&other.legend));
    let has_data = series.iter().any(|series| !series.points.is_empty());
    let is_empty = query.contains(EMPTY) || absent.is_some_and(|absent| query.contains(absent));
    match (has_data, is_empty) {
        (false, false) => Err(format!("`{query}` has no data")),
        (true, true) => Err(format!("`{query}` has data, and should have none")),
        _ => Ok(series),
    }
}

/// Seconds since the beginning, and values; what is no number is left out.
fn points(values: &Value, from: f64) -> Vec<(f64, f64)> {
    let values = values.as_array().into_iter().flatten();
    let read = values.filter_map(|pair| {
        let value: f64 = pair[1].as_str()?.parse().ok()?;
        Some((pair[0].as_f64()? - from, value))
    });
    read.filter(|(_, value)| value.is_finite()).collect()
}

/// `{{label}}` stands for the label's value.
fn legend(format: &str, labels: &Value) -> String {
    let mut parts = format.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (label, rest) = part.split_once("}}").unwrap_or((part, ""));
        text.push_str(labels[label.trim()].as_str().unwrap_or_default());
        text.push_str(rest);
    }
    text
}

/// A title as it may be in the name of a file.
fn dashed(title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_lowercase()
}

/// A text as it may be in a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// A page with all pictures.
pub(super) fn page(pictures: &[(String, String)]) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>sockpick</title>\n\
         <style>body { background: #ddd } img { margin: 4px }</style>\n",
    );
    for (name, _) in pictures {
        let _ = writeln!(page, "<img src=\"{name}\" alt=\"{name}\">");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(expr: &str) -> Target {
        Target {
            expr: expr.to_owned(),
            legend_format: "{{instance}} to {{listener}}{{nothing}}/s".to_owned(),
        }
    }

    fn answer(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn every_query_of_the_dashboard_is_asked() -> Result<()> {
        let root = crate::process::workspace_root()?;
        let dashboard = Dashboard::read(&root.join("monitoring/grafana-dashboard.json"))?;
        let questions = dashboard.questions();
        let queries: usize = dashboard
            .panels
            .iter()
            .map(|panel| panel.targets.len())
            .sum();
        assert!(queries > 0);
        assert_eq!(questions.lines().count(), queries);
        // No variable of Grafana's is left.
        assert!(!questions.contains("%24"), "{questions}");
        Ok(())
    }

    #[test]
    fn an_answer_becomes_series() -> Result<(), String> {
        let answer = answer(
            r#"{"status":"success","data":{"result":[
                {"metric":{"instance":"b","listener":"*:80"},"values":[[12,"1.5"],[14,"NaN"]]},
                {"metric":{"instance":"a","listener":"*:80"},"values":[[10,"0"]]}]}}"#,
        );
        let series = answered(&target("up"), Some(&answer), 10.0, None)?;
        let legends: Vec<_> = series.iter().map(|series| series.legend.as_str()).collect();
        assert_eq!(legends, ["a to *:80/s", "b to *:80/s"]);
        assert_eq!(series[1].points, [(2.0, 1.5)]);
        Ok(())
    }

    #[test]
    fn what_is_refused_or_empty_is_a_problem() {
        let empty = answer(r#"{"status":"success","data":{"result":[]}}"#);
        let refused = answer(r#"{"status":"error","error":"parse error"}"#);
        assert!(answered(&target("up"), Some(&empty), 0.0, None).is_err());
        assert!(answered(&target("up"), Some(&empty), 0.0, Some("up")).is_ok());
        assert!(answered(&target(EMPTY), Some(&empty), 0.0, None).is_ok());
        assert!(answered(&target(EMPTY), Some(&refused), 0.0, None).is_err());
        assert!(answered(&target("up"), None, 0.0, None).is_err());
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(dashed("SYNs that nobody got"), "syns-that-nobody-got");
    }
}
