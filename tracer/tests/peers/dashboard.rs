//! The queries of the dashboard, asked of Prometheus.

use std::fs;

use serde_json::Value;

use super::{
    http::until,
    stage::{Stage, monitoring},
};

/// What has no series in the story: nothing runs in the kernel, no accept queue overflows.
const EMPTY: [&str; 3] = [
    "sockpick_probe_missed_total",
    "sockpick_bpf_run_seconds_total",
    "sockpick_listener_overflows_total",
];

/// Every query is answered, and has data if the story has what it is about.
pub(crate) fn is_answered(stage: &Stage) {
    let text = fs::read_to_string(monitoring("grafana-dashboard.json")).expect("a dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut queries = Vec::new();
    gather(&dashboard["panels"], &mut queries);
    assert!(queries.len() > EMPTY.len(), "{queries:?}");
    for query in queries {
        let asked = query
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m");
        assert!(!asked.contains('$'), "{asked}");
        let is_empty = EMPTY.iter().any(|metric| asked.contains(metric));
        until(&asked, || {
            let series = stage.query(&asked)?;
            (series.is_empty() == is_empty)
                .then_some(())
                .ok_or(format!("{series:?}"))
        });
    }
}

/// The queries of panels, and of the panels in them.
fn gather(panels: &Value, queries: &mut Vec<String>) {
    for panel in panels.as_array().into_iter().flatten() {
        let targets = panel["targets"].as_array().into_iter().flatten();
        queries.extend(targets.filter_map(|target| target["expr"].as_str().map(ToOwned::to_owned)));
        gather(&panel["panels"], queries);
    }
}
