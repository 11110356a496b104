//! Real Prometheus, a real Alertmanager and a real collector of OpenTelemetry, told by the daemon's
//! own parts of the story of A and B: the alert in Alertmanager until it is over, and in Prometheus
//! the numbers, the rules and every query of the dashboard; the collector prints what it takes.
//! `cargo xtask test` gives the programs.

#[path = "peers/collector.rs"]
mod collector;
#[path = "peers/dashboard.rs"]
mod dashboard;
#[path = "peers/exposed.rs"]
mod exposed;
#[path = "peers/given.rs"]
mod given;
#[path = "peers/http.rs"]
mod http;
#[path = "peers/process.rs"]
mod process;
#[path = "peers/rotel.rs"]
mod rotel;
#[path = "peers/stage.rs"]
mod stage;
#[path = "peers/story.rs"]
mod story;

use std::{collections::BTreeMap, fs};

use serde_json::Value;
use sockpick::{alerts::message::Message, delivery::SinkStats, event::Time};

use http::{json, until};
use stage::Stage;
use story::{Story, Until, syns};

/// How many of the recorded SYNs there are, by what `of` says of them.
fn counted(of: impl Fn(&Value) -> Option<Vec<String>>) -> BTreeMap<Vec<String>, u64> {
    let mut counts = BTreeMap::new();
    for labels in syns().iter().filter_map(of) {
        *counts.entry(labels).or_default() += 1;
    }
    counts
}

/// `listener`, `match` and `via` of a SYN that a listener was given.
fn given_to(syn: &Value) -> Option<Vec<String>> {
    let word = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let address = word(&syn["listener"]["address"])?.replace("0.0.0.0", "*");
    let listener = format!("{address}:{}", syn["listener"]["port"]);
    Some(vec![listener, word(&syn["match"])?, word(&syn["via"])?])
}

/// `port` of a SYN that nobody was given.
fn refused_at(syn: &Value) -> Option<Vec<String>> {
    let is_refused = syn["listener"].is_null();
    is_refused.then(|| vec![syn["destination"]["port"].to_string()])
}

#[test]
fn prometheus_and_alertmanager_are_told_the_story() {
    let Some(peers) = given::peers() else { return };
    let stage = Stage::set(&peers);
    let mut story = Story::begin(&stage.settings());

    // A counter has risen to Prometheus only if it was there before.
    story.tell(Until::BeforeWrong);
    stage.exposed.show(story.metrics());
    until("a first scrape", || {
        match stage.query("sockpick_syn_total") {
            Ok(series) if !series.is_empty() => Ok(()),
            other => Err(other),
        }
    });
    assert_eq!(stage.alerts(), Ok(Vec::new()));

    story.tell(Until::Wrong);
    fires(&stage, &story);
    stage.exposed.show(story.metrics());
    a_rule_fires(&stage);
    dashboard::is_answered(&stage);

    story.tell(Until::End);
    stage.exposed.show(story.metrics());
    is_counted(&stage);
    lasts_no_longer(&stage, &mut story);
}

/// Alertmanager has the alert as it was given to the sinks.
fn fires(stage: &Stage, story: &Story) {
    let alert = until("an alert in Alertmanager", || {
        let alerts = stage.alerts()?;
        let active = alerts
            .iter()
            .find(|alert| alert["status"]["state"] == "active");
        active.cloned().ok_or_else(|| format!("{alerts:?}"))
    });
    let notices = story.notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    let message = Message::of(&notices[0].alert);
    let labels = &alert["labels"];
    // It had no name, or that was not recorded.
    let netns = syns()[0]["netns"]["inode"].to_string();
    for (label, value) in [
        ("alertname", "SockpickUncovered"),
        ("severity", "critical"),
        ("netns", netns.as_str()),
        ("service", "A"),
        ("expected", "6.6.6.6:80"),
        ("listener", "*:80"),
        ("verdict", "uncovered"),
        ("reason", "restart_gap"),
    ] {
        assert_eq!(labels[label], value, "{label} of {alert}");
    }
    assert_eq!(
        milliseconds(&alert["startsAt"]),
        story.since().0 / 1_000_000
    );
    assert_eq!(alert["annotations"]["summary"], message.title);
    assert_eq!(alert["annotations"]["description"], message.text());
    until("word of it from Alertmanager", || {
        let told = stage.told();
        told.contains(&"firing".to_owned())
            .then_some(())
            .ok_or(told)
    });
}

/// Alertmanager writes no more of a time.
fn milliseconds(time: &Value) -> i64 {
    let time: Time = serde_json::from_value(time.clone()).expect("a time");
    time.0 / 1_000_000
}

/// A rule of ours fires in Prometheus, and Alertmanager hears of that, too.
fn a_rule_fires(stage: &Stage) {
    let is_ours = |alert: &Value| {
        let labels = &alert["labels"];
        labels["alertname"] == "SockpickUncovered" && labels["job"] == "sockpick"
    };
    let alert = until("a rule that fires", || {
        let answer = json(stage.prometheus.at, "/api/v1/alerts")?;
        let alerts = answer["data"]["alerts"].as_array();
        let found = alerts.and_then(|alerts| alerts.iter().find(|alert| is_ours(alert)));
        let firing = found.filter(|alert| alert["state"] == "firing");
        firing.cloned().ok_or_else(|| answer.to_string())
    });
    let summary = alert["annotations"]["summary"].as_str().unwrap_or_default();
    assert!(
        summary.contains("for A found no listener of their own, and *:80 took them"),
        "{alert}"
    );
    until("Prometheus' alert in Alertmanager", || {
        let alerts = json(stage.alertmanager.at, "/api/v2/alerts")?;
        let all = alerts.as_array().is_some_and(|all| all.iter().any(is_ours));
        all.then_some(()).ok_or_else(|| alerts.to_string())
    });
}

/// Prometheus has as many SYNs as the recording.
fn is_counted(stage: &Stage) {
    let syns = "sum by (listener, match, via) (sockpick_syn_total)";
    stage.await_counts(syns, &["listener", "match", "via"], &counted(given_to));
    let refused = "sum by (port) (sockpick_refused_total)";
    stage.await_counts(refused, &["port"], &counted(refused_at));
    let wrong = counted(|syn| {
        let labels = given_to(syn).filter(|_| syn["verdict"] == "uncovered")?;
        Some(vec![labels[0].clone()])
    });
    stage.await_counts("sockpick_alerts_total", &["listener"], &wrong);
}

/// It is over: Alertmanager tells so, and has it no more. Every sink has told all of it.
fn lasts_no_longer(stage: &Stage, story: &mut Story) {
    assert_eq!(stage.alerts().map(|alerts| alerts.len()), Ok(1));
    story.let_it_end();
    until("Alertmanager to have it no more", || {
        let alerts = stage.alerts()?;
        let is_gone = alerts.is_empty();
        is_gone.then_some(()).ok_or(format!("{alerts:?}"))
    });
    until("word of its end from Alertmanager", || {
        let told = stage.told();
        told.contains(&"resolved".to_owned())
            .then_some(())
            .ok_or(told)
    });
    until("the webhook to have both", || {
        let told = stage.receiver.received("/from-sockpick");
        let notices = told.iter().filter_map(|told| told["notices"].as_array());
        let words: Vec<&Value> = notices.flatten().map(|notice| &notice["alert"]).collect();
        (words == ["began", "ended"])
            .then_some(())
            .ok_or(format!("{told:?}"))
    });
    until("every sink to have told all", || {
        let sinks = story.sinks();
        let is_done = |sink: &SinkStats| sink.queued == 0 && sink.last_error.is_none();
        let all = sinks.iter().all(is_done);
        all.then_some(()).ok_or_else(|| format!("{sinks:?}"))
    });
    let file = fs::read_to_string(stage.folder.path("alerts.jsonl")).expect("a file");
    let lines = |what: &str| file.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("\"via\":"), syns().len(), "{file}");
    assert_eq!(
        (lines("\"alert\":\"began\""), lines("\"alert\":\"ended\"")),
        (1, 1)
    );
}
