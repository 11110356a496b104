//! The project's own programs, built for the guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{cargo, output, workspace_root};
use crate::rootfs::GuestFile;

const PACKAGE: &str = "sockpick";
const SCENARIOS: &str = "scenarios";

/// The `sockpick` binary and the scenario tests, as files of a guest. Without `build` those that
/// were built last, as far as they are there.
pub(crate) fn collect(build: bool) -> Result<Vec<GuestFile>> {
    let record = folder()?.join("artifacts.json");
    let programs = if build {
        let programs = built()?;
        let text = serde_json::to_string(&programs)?;
        fs::write(&record, text).with_context(|| format!("cannot write {}", record.display()))?;
        programs
    } else {
        fs::read_to_string(&record)
            .ok()
            .and_then(|text| serde_json::from_str::<Vec<(String, PathBuf)>>(&text).ok())
            .unwrap_or_default()
    };
    let there = programs.into_iter().filter(|(_, path)| path.exists());
    Ok(there
        .map(|(name, path)| GuestFile::new(path, format!("/usr/bin/{name}")))
        .collect())
}

/// Where xtask keeps what it writes for people to read: logs, reports.
pub(crate) fn folder() -> Result<PathBuf> {
    let target = metadata()?["target_directory"]
        .as_str()
        .map_or_else(|| Path::new("target").to_owned(), PathBuf::from);
    let folder = target.join("xtask");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Names in the guest, and the built files.
fn built() -> Result<Vec<(String, PathBuf)>> {
    let metadata = metadata()?;
    if !has_target(&metadata, "bin", PACKAGE) {
        eprintln!("note: the workspace has no `{PACKAGE}` program yet; the guest goes without");
        return Ok(Vec::new());
    }
    let mut programs = vec![(
        PACKAGE.to_owned(),
        build(&["build", "--bin", PACKAGE], PACKAGE)?,
    )];
    if has_target(&metadata, "test", SCENARIOS) {
        let test = ["test", "--no-run", "--test", SCENARIOS];
        programs.push((format!("{PACKAGE}-{SCENARIOS}"), build(&test, SCENARIOS)?));
    } else {
        eprintln!("note: package {PACKAGE} has no test target `{SCENARIOS}` yet");
    }
    Ok(programs)
}

/// Builds one target and returns its executable; Cargo alone knows the name of a test's.
fn build(arguments: &[&str], target: &str) -> Result<PathBuf> {
    let mut command = cargo()?;
    command
        .args(arguments)
        .args(["--release", "--package", PACKAGE])
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let answer = command.output().context("cannot start cargo")?;
    if !answer.status.success() {
        bail!("building `{target}` failed; Cargo's message is above");
    }
    let messages = String::from_utf8_lossy(&answer.stdout);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("Cargo built `{target}` but named no executable"))
}

fn metadata() -> Result<Value> {
    let mut command: Command = cargo()?;
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let text = output(command.current_dir(workspace_root()?))?;
    serde_json::from_str(&text).context("cargo metadata did not answer in JSON")
}

fn has_target(metadata: &Value, kind: &str, name: &str) -> bool {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .filter(|package| package["name"] == PACKAGE)
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .any(|target| target["name"] == name && target["kind"][0] == kind)
}
