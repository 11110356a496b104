//! The project's own programs, built for the guests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{cargo, output};
use crate::rootfs::GuestFile;

const PACKAGE: &str = "sockpick";
const SCENARIOS: &str = "scenarios";
const LEGACY_OBJECT: &str = "sockpick-ebpf-legacy";

/// Name of the scenario tests in a guest.
pub(crate) const SCENARIOS_PROGRAM: &str = "sockpick-scenarios";

/// What to build before a guest gets the programs; it also gets whatever was built last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    Nothing,
    Tracer,
    /// The scenario tests too.
    All,
}

impl Build {
    /// Everything, or nothing if so told.
    pub(crate) fn all_unless(told_not_to: bool) -> Self {
        if told_not_to {
            Self::Nothing
        } else {
            Self::All
        }
    }
}

/// The project's programs as files of a guest, as far as they are there.
pub(crate) fn collect(wanted: Build) -> Result<Vec<GuestFile>> {
    let record = folder()?.join("artifacts.json");
    let mut programs: BTreeMap<String, PathBuf> = fs::read_to_string(&record)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    if wanted != Build::Nothing {
        programs.extend(built(wanted)?);
        let text = serde_json::to_string(&programs)?;
        fs::write(&record, text).with_context(|| format!("cannot write {}", record.display()))?;
    }
    let there = programs.into_iter().filter(|(_, path)| path.exists());
    Ok(there
        .map(|(name, path)| GuestFile::new(path, format!("/usr/bin/{name}")))
        .collect())
}

/// Where xtask keeps what it writes for people to read: logs, reports.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = target()?.join("xtask");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Cargo's folder for what is built.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    let target = metadata["target_directory"].as_str();
    Ok(target.map_or_else(|| Path::new("target").to_owned(), PathBuf::from))
}

/// Names in the guest, and the built files.
fn built(wanted: Build) -> Result<Vec<(String, PathBuf)>> {
    if wanted == Build::All {
        let messages = messages(&WITH_TESTS)?;
        let tests = executable(&messages, SCENARIOS)?;
        return Ok(vec![
            (PACKAGE.to_owned(), executable(&messages, PACKAGE)?),
            (SCENARIOS_PROGRAM.to_owned(), tests),
        ]);
    }
    let messages = messages(&["build", "--package", PACKAGE, "--bin", PACKAGE])?;
    Ok(vec![(PACKAGE.to_owned(), executable(&messages, PACKAGE)?)])
}

/// The program and its scenario tests, of the build that the tests on this machine are: for one
/// package, Cargo would build the program's libraries a second time, as tests ask for more of them.
const WITH_TESTS: [&str; 5] = ["test", "--workspace", "--no-run", "--test", SCENARIOS];

/// The eBPF programs for old kernels, as the build script of the program left them.
pub(crate) fn legacy_object() -> Result<PathBuf> {
    let messages = messages(&WITH_TESTS)?;
    let mut scripts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "build-script-executed")
        .filter_map(|message| message["out_dir"].as_str().map(PathBuf::from))
        .map(|folder| folder.join(LEGACY_OBJECT));
    scripts
        .find(|path| path.is_file())
        .with_context(|| format!("the build left no {LEGACY_OBJECT}"))
}

/// What was built under this name; Cargo alone knows the name of a test's file.
fn executable(messages: &str, target: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("Cargo built `{target}` but named no executable"))
}

/// Builds; what Cargo says of it, a JSON object a line.
fn messages(arguments: &[&str]) -> Result<String> {
    let mut command = cargo()?;
    command
        .args(arguments)
        .arg("--release")
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let answer = command.output().context("cannot start cargo")?;
    if !answer.status.success() {
        bail!(
            "`cargo {}` failed; its message is above",
            arguments.join(" ")
        );
    }
    Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
}

fn metadata() -> Result<Value> {
    let mut command = cargo()?;
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let text = output(&mut command)?;
    serde_json::from_str(&text).context("cargo metadata did not answer in JSON")
}
