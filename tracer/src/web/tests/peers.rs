//! What Prometheus' own tool says of what is served, and of the rules that go with it.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

#[path = "../../../tests/peers/given.rs"]
mod given;

use super::*;
use crate::metrics::{
    Families,
    render::tests::{series, view},
};

struct Real;

impl Source for Real {
    async fn metrics(&self, format: Format) -> Result<Bytes, String> {
        let text = Families::of(&series(), &view()).render(format);
        text.map(Into::into).map_err(|error| error.to_string())
    }

    async fn health(&self) -> Result<(), String> {
        Ok(())
    }

    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Runs promtool; what it says if it does not like it.
fn promtool(peers: &Path, arguments: &[&str], input: &str) -> Result<(), String> {
    let monitoring = Path::new(env!("CARGO_MANIFEST_DIR")).join("../monitoring");
    let mut command = Command::new(peers.join("usr/bin/promtool"));
    command.args(arguments).current_dir(monitoring);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let stdin = child.stdin.take();
    let sent = stdin.map(|mut stdin| stdin.write_all(input.as_bytes()));
    sent.transpose().map_err(|error| error.to_string())?;
    let mut said = String::new();
    if let Some(stdout) = &mut child.stdout {
        let read = stdout.read_to_string(&mut said);
        read.map_err(|error| error.to_string())?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() && said.lines().all(|line| !line.contains("FAILED")) {
        Ok(())
    } else {
        Err(said)
    }
}

#[tokio::test]
async fn promtool_likes_the_metrics() {
    let Some(peers) = given::peers() else { return };
    let text = Real.metrics(Format::Prometheus).await.expect("a text");
    let text = std::str::from_utf8(&text).expect("text");
    assert_eq!(promtool(&peers, &["check", "metrics"], text), Ok(()));
}

#[test]
fn promtool_likes_the_rules() {
    let Some(peers) = given::peers() else { return };
    let rules = ["check", "rules", "prometheus-rules.yml"];
    assert_eq!(promtool(&peers, &rules, ""), Ok(()));
    let tests = ["test", "rules", "prometheus-rules.test.yml"];
    assert_eq!(promtool(&peers, &tests, ""), Ok(()));
}

#[test]
fn the_rules_ask_for_metrics_that_there_are() {
    let rules = include_str!("../../../../monitoring/prometheus-rules.yml");
    let names: Vec<String> = crate::metrics::names::ALL
        .iter()
        .map(|of| of.exposed())
        .collect();
    // What is recorded has colons.
    let words = rules.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
    let asked: Vec<&str> = words.filter(|word| word.starts_with("sockpick_")).collect();
    assert!(asked.len() > 15, "{asked:?}");
    for word in asked {
        assert!(names.iter().any(|name| name == word), "{word}");
    }
}
