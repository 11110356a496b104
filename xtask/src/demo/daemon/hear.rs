//! What the guest's script reports, line by line, and how it is told.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::time;

/// Series of `/metrics` that are shown.
const SHOWN: [&str; 8] = [
    "sockpick_syn_total",
    "sockpick_refused_total",
    "sockpick_alerts_total",
    "sockpick_alerts_active",
    "sockpick_expected_listener_up",
    "sockpick_events_lost_total",
    "sockpick_self_check_total",
    SENDS,
];
const SENDS: &str = "sockpick_sink_sends_total";

/// What is printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Step(String),
    Detail(String),
}

/// The whole run.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Status and service of each request's answer.
    pub(super) answers: Vec<(String, String)>,
    /// How many of them were told.
    told_answers: usize,
    /// What Alertmanager had first.
    pub(super) alerts: Value,
    /// What Prometheus had when a rule fired.
    pub(super) rules: Value,
    /// Messages of Alertmanager to its receiver.
    pub(super) told: Vec<Value>,
    /// What Alertmanager had at the end.
    pub(super) after: Value,
    /// Series of `/metrics` with their values.
    pub(super) metrics: Vec<(String, f64)>,
    /// The story's beginning and end, in seconds since 1970.
    pub(super) time: (f64, f64),
    /// Prometheus' answers, by the query's number.
    pub(super) ranges: BTreeMap<usize, Value>,
}

impl Heard {
    /// Takes a line without its `@`; returns what is to be printed of it.
    pub(super) fn add(&mut self, marked: &str) -> Result<Vec<Line>> {
        let (mark, text) = marked.split_once(' ').unwrap_or((marked, ""));
        if mark == "answer" {
            let mut words = text.split(' ').map(ToOwned::to_owned);
            let (Some(status), Some(by)) = (words.next(), words.next()) else {
                bail!("a request was not answered by any service");
            };
            self.answers.push((status, by));
            return Ok(Vec::new());
        }
        let mut lines = self.new_answers();
        match mark {
            "kernel" => lines.push(detail(format!("Linux {text}"))),
            "version" | "said" => lines.push(detail(text)),
            "amtool" => lines.push(detail(format!("amtool: {text}"))),
            "step" => lines.push(Line::Step(text.to_owned())),
            "alerts" => {
                self.alerts = json(text)?;
                lines.extend(alert_lines(&self.alerts));
            }
            "rules" => {
                self.rules = json(text)?;
                lines.extend(rule(&self.rules).map(rule_line));
            }
            "told" => {
                let message = json(text)?;
                lines.extend(uncovered(&message["alerts"]).map(told_line));
                self.told.push(message);
            }
            "after" => {
                self.after = json(text)?;
                let left = uncovered(&self.after).count();
                lines.push(detail(format!("Alertmanager has {left} such alerts now")));
            }
            "metric" => lines.extend(self.metric(text)?),
            "time" => {
                let (from, to) = text.split_once(' ').context("not two times")?;
                self.time = (from.parse()?, to.parse()?);
            }
            "range" => {
                let (number, answer) = text.split_once(' ').context("no answer")?;
                self.ranges.insert(number.parse()?, json(answer)?);
            }
            _ => bail!("unknown mark"),
        }
        Ok(lines)
    }

    /// Whether `/metrics` has series of that name.
    pub(super) fn exposes(&self, name: &str) -> bool {
        let mut names = self.metrics.iter().map(|(series, _)| name_of(series));
        names.any(|exposed| exposed == name)
    }

    /// "6 x 200 from A", of the answers that are not told yet.
    fn new_answers(&mut self) -> Vec<Line> {
        let new = &self.answers[self.told_answers..];
        self.told_answers = self.answers.len();
        let alike = new.chunk_by(|one, other| one == other);
        alike
            .map(|run| detail(format!("{} x {} from {}", run.len(), run[0].0, run[0].1)))
            .collect()
    }

    fn metric(&mut self, text: &str) -> Result<Option<Line>> {
        let (series, value) = text.rsplit_once(' ').context("no value")?;
        let value: f64 = value.parse()?;
        self.metrics.push((series.to_owned(), value));
        let name = name_of(series);
        // There is one for each thing that may come of a send.
        let is_shown = SHOWN.contains(&name) && (value > 0.0 || name != SENDS);
        Ok(is_shown.then(|| detail(text)))
    }
}

/// A series' name, without its labels.
pub(super) fn name_of(series: &str) -> &str {
    series.split('{').next().unwrap_or_default()
}

fn detail(text: impl Into<String>) -> Line {
    Line::Detail(text.into())
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("not JSON")
}

/// Alerts of sockpick's that this story is about.
pub(super) fn uncovered(alerts: &Value) -> impl Iterator<Item = &Value> {
    let alerts = alerts.as_array().into_iter().flatten();
    alerts.filter(|alert| alert["labels"]["alertname"] == "SockpickUncovered")
}

/// Prometheus' rule of that name, if it fires.
pub(super) fn rule(rules: &Value) -> Option<&Value> {
    uncovered(&rules["data"]["alerts"]).find(|alert| alert["state"] == "firing")
}

/// Seconds from the first wrong SYN to when Alertmanager had the alert, by its own words.
pub(super) fn delay(alert: &Value) -> Option<f64> {
    let time = |key: &str| time::seconds(alert[key].as_str()?);
    Some(time("updatedAt")? - time("startsAt")?)
}

fn alert_lines(alerts: &Value) -> Vec<Line> {
    let of = |alert: &Value| {
        let label = |name: &str| alert["labels"][name].as_str().unwrap_or("-").to_owned();
        let delay = delay(alert).map_or_else(|| "?".to_owned(), |delay| format!("{delay:.2}"));
        let had = format!(
            "Alertmanager has the alert {delay} s after the SYN: {}, {}, {}",
            label("alertname"),
            label("severity"),
            label("reason")
        );
        let whose = format!(
            "service {}, expected {}, got {} of {}",
            label("service"),
            label("expected"),
            label("listener"),
            alert["annotations"]["owners"].as_str().unwrap_or("-")
        );
        [detail(had), detail(whose)]
    };
    uncovered(alerts).flat_map(of).collect()
}

fn rule_line(rule: &Value) -> Line {
    let summary = rule["annotations"]["summary"].as_str().unwrap_or("-");
    detail(format!(
        "Prometheus: SockpickUncovered is firing: {summary}"
    ))
}

/// The first line of the description says since when and why it is over.
fn told_line(alert: &Value) -> Line {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let description = word(&alert["annotations"]["description"]);
    let first = description.lines().next().unwrap_or_default();
    detail(format!(
        "Alertmanager told its receiver: {}: {first}",
        word(&alert["status"])
    ))
}
