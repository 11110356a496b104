//! Whether what the servers answered is the story that is told.

use serde_json::Value;

use super::hear::{Heard, delay, name_of, rule, uncovered};

/// An alert is at Alertmanager within a second; an emulated guest may take longer.
const LONGEST_DELAY: f64 = 5.0;
/// How sockpick tells that an alert is over as the expected listener took a SYN.
const RECOVERED: &str = "a SYN was given to the listener that is right for it";

/// What is not as it should be.
pub(super) fn problems(heard: &Heard) -> Vec<String> {
    let wrong = answered_by(heard, "B");
    let checks = [
        answers(heard),
        alert(&heard.alerts),
        rule(&heard.rules)
            .is_none()
            .then(|| format!("no rule of Prometheus fired: {}", heard.rules)),
        resolved(heard, wrong),
        uncovered(&heard.after)
            .next()
            .map(|alert| format!("Alertmanager still has the alert: {alert}")),
        metrics(heard),
    ];
    checks.into_iter().flatten().collect()
}

fn answered_by(heard: &Heard, service: &str) -> usize {
    heard.answers.iter().filter(|(_, by)| by == service).count()
}

/// From A while it was there, from B between.
fn answers(heard: &Heard) -> Option<String> {
    let mut runs: Vec<String> = heard
        .answers
        .iter()
        .map(|(status, by)| format!("{status} from {by}"))
        .collect();
    runs.dedup();
    (runs != ["200 from A", "403 from B", "200 from A"])
        .then(|| format!("the requests were answered {}", runs.join(", then ")))
}

fn alert(alerts: &Value) -> Option<String> {
    let found: Vec<_> = uncovered(alerts).collect();
    let &[alert] = found.as_slice() else {
        return Some(format!("Alertmanager had not one alert, but: {alerts}"));
    };
    let wanted = [
        ("service", "A"),
        ("expected", "6.6.6.6:80"),
        ("listener", "*:80"),
        ("reason", "restart_gap"),
        ("severity", "critical"),
    ];
    if wanted
        .iter()
        .any(|&(label, value)| alert["labels"][label] != value)
    {
        return Some(format!(
            "the alert has other labels than {wanted:?}: {alert}"
        ));
    }
    match delay(alert) {
        Some(delay) if (0.0..=LONGEST_DELAY).contains(&delay) => None,
        delay => Some(format!(
            "Alertmanager had the alert {delay:?} s after the SYN, not within {LONGEST_DELAY} s"
        )),
    }
}

/// Alertmanager told that it fires, and then that it is resolved, why, and how many SYNs it was.
fn resolved(heard: &Heard, wrong: usize) -> Option<String> {
    let alerts: Vec<_> = heard
        .told
        .iter()
        .flat_map(|message| uncovered(&message["alerts"]))
        .collect();
    let (Some(first), Some(last)) = (alerts.first(), alerts.last()) else {
        return Some("Alertmanager told its receiver nothing".to_owned());
    };
    let is_one = first["fingerprint"] == last["fingerprint"];
    if !is_one || first["status"] != "firing" || last["status"] != "resolved" {
        return Some(format!(
            "Alertmanager told its receiver first {first}, and last {last}"
        ));
    }
    let (annotations, count) = (&last["annotations"], wrong.to_string());
    let description = annotations["description"].as_str().unwrap_or_default();
    let is_told = description.contains(RECOVERED) && annotations["count"] == *count;
    (!is_told).then(|| {
        format!("the resolved alert does not say `{RECOVERED}` of {wrong} SYNs: {annotations}")
    })
}

/// Every answer is a SYN that was counted, and none is missing.
fn metrics(heard: &Heard) -> Option<String> {
    let sum = |name: &str, label: &str| {
        let series = heard
            .metrics
            .iter()
            .filter(|(series, _)| name_of(series) == name && series.contains(label));
        series.map(|(_, value)| value).sum::<f64>()
    };
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let [right, wrong] = ["A", "B"].map(|service| answered_by(heard, service) as f64);
    let wanted = [
        ("sockpick_syn_total", "listener=\"6.6.6.6:80\"", right),
        ("sockpick_syn_total", "listener=\"*:80\"", wrong),
        ("sockpick_alerts_total", "verdict=\"uncovered\"", wrong),
        ("sockpick_alerts_active", "", 0.0),
        ("sockpick_expected_listener_up", "service=\"A\"", 1.0),
        ("sockpick_events_lost_total", "", 0.0),
        ("sockpick_self_check_total", "result=\"failed\"", 0.0),
    ];
    wanted.iter().find_map(|&(name, label, value)| {
        let found = sum(name, label);
        ((found - value).abs() > 0.1)
            .then(|| format!("/metrics has {name}{{{label}}} {found} instead of {value}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    /// The lines of a good run, in short.
    fn lines() -> Vec<String> {
        let labels = r#"{"alertname":"SockpickUncovered","service":"A","expected":"6.6.6.6:80","listener":"*:80","reason":"restart_gap","severity":"critical"}"#;
        let alert = format!(
            r#"{{"labels":{labels},"startsAt":"2026-11-26T15:00:00.100Z","updatedAt":"2026-11-26T15:00:00.600Z","annotations":{{}}}}"#
        );
        let told = |status: &str, why: &str| {
            format!(
                r#"told {{"alerts":[{{"labels":{labels},"fingerprint":"1","status":"{status}","annotations":{{"count":"1","description":"It is over: {why}.\n"}}}}]}}"#
            )
        };
        vec![
            "answer 200 A 40100 7".into(),
            "answer 403 B 40102 8".into(),
            format!("alerts [{alert}]"),
            format!(r#"rules {{"data":{{"alerts":[{{"labels":{labels},"state":"firing"}}]}}}}"#),
            "answer 200 A 40104 9".into(),
            told("firing", ""),
            told("resolved", RECOVERED),
            "after []".into(),
            "metric sockpick_syn_total{listener=\"6.6.6.6:80\"} 2".into(),
            "metric sockpick_syn_total{listener=\"*:80\"} 1".into(),
            "metric sockpick_alerts_total{verdict=\"uncovered\"} 1".into(),
            "metric sockpick_expected_listener_up{service=\"A\"} 1".into(),
        ]
    }

    fn judged(lines: &[String]) -> Result<Vec<String>> {
        let mut heard = Heard::default();
        for line in lines {
            heard.add(line)?;
        }
        Ok(problems(&heard))
    }

    #[test]
    fn a_good_run_has_no_problem() -> Result<()> {
        assert_eq!(judged(&lines())?, [""; 0]);
        Ok(())
    }

    #[test]
    fn a_line_that_is_missing_or_wrong_is_a_problem() -> Result<()> {
        for (index, line) in lines().iter().enumerate() {
            // Nothing is there anyway where an alert is left.
            if !line.starts_with("after") {
                let mut others = lines();
                others.remove(index);
                assert_ne!(judged(&others)?, [""; 0], "{line}");
            }
        }
        for (good, bad) in [
            ("00.600Z", "09.600Z"),
            ("restart_gap", "dev_order"),
            (RECOVERED, "quiet"),
            ("\"uncovered\"} 1", "\"uncovered\"} 2"),
            ("firing\"}", "pending\"}"),
            ("403 B", "200 A"),
        ] {
            let others: Vec<_> = lines().iter().map(|line| line.replace(good, bad)).collect();
            assert_ne!(judged(&others)?, [""; 0], "{bad}");
        }
        Ok(())
    }
}
