//! Real Prometheus and a real Alertmanager, told by the daemon's own parts of the story of A and
//! B: the alert in Alertmanager until it is over, and in Prometheus the numbers, the rules and
//! every query of the dashboard. `cargo xtask test` gives the programs.

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
#[path = "peers/story.rs"]
mod story;

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use serde_json::Value;
use sockpick::{
    alerts::message::Message,
    event::Time,
    settings::{Given, Settings},
};

use exposed::Exposed;
use http::{Receiver, encoded, json, until};
use process::{Folder, Server};
use story::{Story, Until, syns};

/// Everything that runs.
struct Stage {
    receiver: Receiver,
    exposed: Exposed,
    alertmanager: Server,
    prometheus: Server,
    // Removed when nobody writes in it any more.
    folder: Folder,
}

impl Stage {
    fn set(peers: &Path) -> Self {
        let folder = Folder::new();
        let receiver = Receiver::start();
        let exposed = Exposed::start();
        let alertmanager = alertmanager(peers, &folder, receiver.at);
        let prometheus = prometheus(peers, &folder, exposed.at, alertmanager.at);
        Self {
            receiver,
            exposed,
            alertmanager,
            prometheus,
            folder,
        }
    }

    /// Sinks of three kinds, and B's neighbour as a service.
    fn settings(&self) -> Settings {
        let text = format!(
            "[stream]\nevents = \"all\"\n\
             [[service]]\nname = \"A\"\nlisten = [\"6.6.6.6:80\"]\n\
             [[sink]]\ntype = \"alertmanager\"\nurls = [\"http://{}\"]\n\
             [[sink]]\ntype = \"webhook\"\nurl = \"http://{}/from-sockpick\"\n\
             [[sink]]\ntype = \"file\"\npath = \"{}\"\n",
            self.alertmanager.at,
            self.receiver.at,
            self.folder.path("alerts.jsonl")
        );
        Settings::new(&Given::default(), Some(&text)).expect("settings")
    }

    /// Alerts of Alertmanager that sockpick sent it; Prometheus' own have a job.
    fn alerts(&self) -> Result<Vec<Value>, String> {
        let alerts = json(self.alertmanager.at, "/api/v2/alerts")?;
        let alerts = alerts.as_array().ok_or_else(|| alerts.to_string())?.iter();
        let ours = alerts.filter(|alert| alert["labels"]["job"].is_null());
        Ok(ours.cloned().collect())
    }

    /// What Alertmanager told its receiver of sockpick's alert: firing, or resolved.
    fn told(&self) -> Vec<String> {
        let groups = self.receiver.received("/from-alertmanager");
        let alerts = groups.iter().flat_map(|group| group["alerts"].as_array());
        let ours = alerts
            .flatten()
            .filter(|alert| alert["labels"]["job"].is_null());
        let words = ours.filter_map(|alert| alert["status"].as_str());
        words.map(ToOwned::to_owned).collect()
    }

    /// What Prometheus answers to a query.
    fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let answer = json(self.prometheus.at, &path)?;
        let result = answer["data"]["result"].as_array();
        let is_answer = answer["status"] == "success" && answer["warnings"].is_null();
        result
            .filter(|_| is_answer)
            .cloned()
            .ok_or_else(|| answer.to_string())
    }

    /// The series of a query, by some of their labels.
    fn counts(&self, query: &str, labels: &[&str]) -> Result<BTreeMap<Vec<String>, u64>, String> {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let series = self.query(query)?.into_iter().map(|series| {
            let labels = labels.iter().map(|label| word(&series["metric"][label]));
            let value = word(&series["value"][1]);
            let value = value
                .parse()
                .map_err(|error| format!("{query}: {value}: {error}"))?;
            Ok((labels.collect(), value))
        });
        series.collect()
    }

    /// Waits until Prometheus has these.
    fn await_counts(&self, query: &str, labels: &[&str], wanted: &BTreeMap<Vec<String>, u64>) {
        until(query, || {
            let counts = self.counts(query, labels)?;
            (counts == *wanted)
                .then_some(())
                .ok_or_else(|| format!("{counts:?} instead of {wanted:?}"))
        });
    }
}

fn alertmanager(peers: &Path, folder: &Folder, receiver: SocketAddr) -> Server {
    let config = format!(
        "route: {{receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s}}\n\
         receivers:\n\
         - name: test\n  \
           webhook_configs: [{{url: 'http://{receiver}/from-alertmanager', send_resolved: true}}]\n"
    );
    let config = folder.write("alertmanager.yml", &config);
    let options = [
        &format!("--config.file={config}"),
        &format!("--storage.path={}", folder.path("alertmanager")),
        "--cluster.listen-address=",
    ];
    Server::start(peers, "prometheus-alertmanager", folder, &options)
}

fn prometheus(
    peers: &Path,
    folder: &Folder,
    scraped: SocketAddr,
    alertmanager: SocketAddr,
) -> Server {
    let rules = monitoring("prometheus-rules.yml");
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{rules}']\n\
         alerting:\n  \
           alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]\n\
         scrape_configs:\n\
         - {{job_name: sockpick, static_configs: [{{targets: ['{scraped}']}}]}}\n"
    );
    let config = folder.write("prometheus.yml", &config);
    let options = [
        &format!("--config.file={config}"),
        &format!("--storage.tsdb.path={}", folder.path("prometheus")),
        "--log.level=info",
    ];
    Server::start(peers, "prometheus", folder, &options)
}

fn monitoring(file: &str) -> String {
    format!("{}/../monitoring/{file}", env!("CARGO_MANIFEST_DIR"))
}

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
        stage.alerts()?.pop().ok_or("there is none".to_owned())
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
    assert_eq!(alert["status"]["state"], "active");
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
    assert!(summary.contains("for A, and *:80 took its SYNs"), "{alert}");
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
        let notices = told.iter().flat_map(|told| told["notices"].as_array());
        let words: Vec<&Value> = notices.flatten().map(|notice| &notice["alert"]).collect();
        (words == ["began", "ended"])
            .then_some(())
            .ok_or(format!("{told:?}"))
    });
    for sink in story.sinks() {
        until(&sink.name, || {
            match story.sinks().into_iter().find(|now| now.name == sink.name) {
                Some(now) if now.queued == 0 && now.last_error.is_none() => Ok(()),
                now => Err(now),
            }
        });
    }
    let file = fs::read_to_string(stage.folder.path("alerts.jsonl")).expect("a file");
    let lines = |what: &str| file.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("\"via\":"), syns().len(), "{file}");
    assert_eq!(
        (lines("\"alert\":\"began\""), lines("\"alert\":\"ended\"")),
        (1, 1)
    );
}
