//! Prometheus, Alertmanager, sockpick's web server and a receiver of webhooks, as they know of
//! each other, and what they can be asked.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use serde_json::Value;
use sockpick::settings::{Given, Settings};

use super::{
    exposed::Exposed,
    http::{Receiver, encoded, json, until},
    process::{Folder, Server},
};

/// Everything that runs.
pub(crate) struct Stage {
    pub(crate) receiver: Receiver,
    pub(crate) exposed: Exposed,
    pub(crate) alertmanager: Server,
    pub(crate) prometheus: Server,
    // Removed when nobody writes in it any more.
    pub(crate) folder: Folder,
}

impl Stage {
    pub(crate) fn set(peers: &Path) -> Self {
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

    /// Sinks of three kinds, and A as a service.
    pub(crate) fn settings(&self) -> Settings {
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
    pub(crate) fn alerts(&self) -> Result<Vec<Value>, String> {
        let alerts = json(self.alertmanager.at, "/api/v2/alerts")?;
        let alerts = alerts.as_array().ok_or_else(|| alerts.to_string())?.iter();
        let ours = alerts.filter(|alert| alert["labels"]["job"].is_null());
        Ok(ours.cloned().collect())
    }

    /// What Alertmanager told its receiver of sockpick's alert: firing, or resolved.
    pub(crate) fn told(&self) -> Vec<String> {
        let groups = self.receiver.received("/from-alertmanager");
        let alerts = groups.iter().filter_map(|group| group["alerts"].as_array());
        let ours = alerts
            .flatten()
            .filter(|alert| alert["labels"]["job"].is_null());
        let words = ours.filter_map(|alert| alert["status"].as_str());
        words.map(ToOwned::to_owned).collect()
    }

    /// What Prometheus answers to a query.
    pub(crate) fn query(&self, query: &str) -> Result<Vec<Value>, String> {
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
    pub(crate) fn counts(
        &self,
        query: &str,
        labels: &[&str],
    ) -> Result<BTreeMap<Vec<String>, u64>, String> {
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
    pub(crate) fn await_counts(
        &self,
        query: &str,
        labels: &[&str],
        wanted: &BTreeMap<Vec<String>, u64>,
    ) {
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

/// Where a file is that users are given.
pub(crate) fn monitoring(file: &str) -> String {
    format!("{}/../monitoring/{file}", env!("CARGO_MANIFEST_DIR"))
}
