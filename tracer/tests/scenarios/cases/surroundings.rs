//! What sockpick says when it cannot do what it was asked to.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::compare::verdict;
use crate::context::Context;
use crate::trace::{Recorded, spawn, wait};

/// A run that ended, as a user sees it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ended {
    /// What is wrong with it, if anything: the code must be this, nothing be printed but a
    /// message on stderr that has one of these words.
    pub(super) fn wrong(&self, code: i32, words: &[&str]) -> Option<String> {
        let lower = self.stderr.to_lowercase();
        let said = words
            .iter()
            .any(|word| lower.contains(&word.to_lowercase()));
        let trace = ["panicked", "backtrace"]
            .iter()
            .any(|word| lower.contains(word));
        if self.code == Some(code) && self.stdout.is_empty() && said && !trace {
            return None;
        }
        let Self {
            code: got,
            stdout,
            stderr,
        } = self;
        Some(format!(
            "exit code {got:?}, not {code}; stdout `{stdout}`; stderr `{}` (one of {words:?})",
            stderr.trim()
        ))
    }

    /// Lines of the message, without the hints that the option parser adds.
    fn lines(&self) -> usize {
        let hints = ["For more information", "  [possible", "  tip:", "Usage:"];
        let lines = self.stderr.lines().filter(|line| !line.is_empty());
        lines
            .filter(|line| !hints.iter().any(|hint| line.starts_with(hint)))
            .count()
    }
}

/// Runs a command to its end. Its output is a message, so it fits into a pipe.
pub(super) fn run(command: &mut Command) -> Result<Ended> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = spawn(command.stderr(Stdio::piped()))?;
    if wait(&mut child, Duration::from_secs(20)).is_err() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Each is refused with exit code 2 and one line that names what is wrong.
pub(crate) fn bad_arguments(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let mut problems = Vec::new();
    for (option, value) in [
        ("--dst", "10.0.0.300"),
        ("--dst", "10.0.0.0/99"),
        ("--src", "somewhere"),
        ("--netns", "no-such-namespace"),
        ("--port", "70000"),
        ("--family", "ipx"),
        ("--listener", "nonsense"),
        ("--match", "odd"),
        ("--duration", "soon"),
    ] {
        let ended = run(&mut cx.trace_command(&[option, value]))?;
        let many = ended.lines() != 1;
        let lines = many.then(|| format!("{} lines: {}", ended.lines(), ended.stderr));
        let wrong = ended.wrong(2, &[value]).or(lines);
        problems.extend(wrong.map(|wrong| format!("{option} {value}: {wrong}")));
    }
    verdict(problems, &Recorded::default(), 0)
}

/// An ordinary user gets exit code 3 and what he lacks.
pub(crate) fn not_root(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let mut command = cx.trace_command(&[]);
    let ended = run(command.uid(65534).gid(65534))?;
    let wrong = ended.wrong(3, &["root", "CAP_"]);
    verdict(wrong.into_iter().collect(), &Recorded::default(), 0)
}
