//! What a session recorded, told once more: it has to be the same, byte for byte.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};

use crate::context::Failure;
use crate::event::{self, Event, Line};

/// Options of trace's that replay takes as well, and whether a value follows.
const SHARED: [(&str, bool); 10] = [
    ("--listener", true),
    ("--pid", true),
    ("--comm", true),
    ("--match", true),
    ("--verdict", true),
    ("--only-alerts", false),
    ("--alert-on", true),
    ("--expect", true),
    ("--config", true),
    ("--count", true),
];

/// Small enough that most sessions write more than one.
const PART: &str = "8K";

/// The file that a session writes, or the files; removed when dropped.
#[derive(Debug)]
pub(crate) struct Recording {
    file: PathBuf,
    in_parts: bool,
    sockpick: PathBuf,
    options: Vec<String>,
}

impl Recording {
    /// A file that is not there yet, for a session with these options.
    pub(crate) fn new(sockpick: &Path, options: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // Every other one is compressed, and every other pair of them in parts.
        let end = if next % 2 == 1 { ".zst" } else { "" };
        let name = format!("recording-{}-{next}{end}", std::process::id());
        let mut shared = Vec::new();
        let mut words = options.iter();
        while let Some(word) = words.next() {
            let Some((_, has_value)) = SHARED.iter().find(|(option, _)| option == word) else {
                continue;
            };
            shared.push((*word).to_owned());
            if *has_value {
                shared.extend(words.next().map(|value| (*value).to_owned()));
            }
        }
        Self {
            file: std::env::temp_dir().join(name),
            in_parts: next % 4 >= 2,
            sockpick: sockpick.to_owned(),
            options: shared,
        }
    }

    /// The events of a replay with these options more.
    pub(crate) fn replay(&self, options: &[String]) -> Result<Vec<Event>> {
        let mut command = Command::new(&self.sockpick);
        command.args(["replay", "-o", "json"]).arg(&self.file);
        let output = command.args(options).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "replay {} ended with {}: {said}",
                options.join(" "),
                output.status
            );
        }
        let mut events = Vec::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            if let Line::Syn(event) = event::parse(line)? {
                events.push(*event);
            }
        }
        Ok(events)
    }

    /// Options of trace's that have it written.
    pub(crate) fn written(&self) -> Vec<OsString> {
        let mut options = vec!["--write".into(), self.file.clone().into()];
        if self.in_parts {
            options.extend(["--write-rotate".into(), PART.into()]);
        }
        options
    }

    /// The file, and those of further parts, in no order.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let stem = self.file.with_extension("");
        let mut files = Vec::new();
        for entry in std::fs::read_dir(std::env::temp_dir())? {
            let path = entry?.path();
            let is_part = path.with_extension("").with_extension("") == stem;
            if path == self.file || self.in_parts && is_part {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Whether it has its proper end.
    pub(crate) fn is_whole(&self) -> Result<()> {
        let mut command = Command::new(&self.sockpick);
        let output = command.arg("replay").args(self.files()?).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() && !said.contains("before its session did") {
            return Ok(());
        }
        let message = "the recording has no proper end".to_owned();
        let details = said.lines().map(str::to_owned).collect();
        Err(Failure { message, details }.into())
    }

    /// Replays it as an ordinary user could, and compares with what the session said.
    pub(crate) fn tells(&self, lines: &[String], stderr: &[String]) -> Result<()> {
        let mut command = Command::new(&self.sockpick);
        command.args(["replay", "-o", "json"]).args(self.files()?);
        let output = command.args(&self.options).output()?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).context("no UTF-8");
        let (again, said) = (text(output.stdout)?, text(output.stderr)?);
        let again: Vec<&str> = again.lines().collect();
        let mut details = Vec::new();
        if !output.status.success() {
            details.push(format!("it ended with {}", output.status));
        }
        if again.len() != lines.len() {
            details.push(format!("{} lines, then {}", lines.len(), again.len()));
        }
        let differs = lines.iter().zip(&again).find(|(one, other)| one != *other);
        if let Some((one, other)) = differs {
            details.extend([format!("then: {one}"), format!("now:  {other}")]);
        }
        // The summary is the last that the session said, if there was anything to sum up.
        let said: Vec<&str> = said.lines().collect();
        let last = stderr.len().saturating_sub(said.len());
        if !lines.is_empty() && said != stderr[last..] {
            details.push("the summaries differ; now:".to_owned());
            details.extend(said.iter().map(|line| (*line).to_owned()));
            details.push("then:".to_owned());
            details.extend(stderr.iter().cloned());
        }
        if details.is_empty() {
            return Ok(());
        }
        let message = "a replay says something else than its session".to_owned();
        Err(Failure { message, details }.into())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // It may never have been begun.
        for file in self.files().unwrap_or_default() {
            let _ = std::fs::remove_file(file);
        }
    }
}
