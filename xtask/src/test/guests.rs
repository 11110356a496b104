//! The scenarios, one guest per kernel.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::columns::{self, Run};
use super::counts::{Alerts, Counts};
use super::{Args, VmArgs};
use crate::artifacts::{self, SCENARIOS_PROGRAM as PROGRAM};
use crate::guest::{Guest, Source};
use crate::kernels::{self, Kernel};
use crate::process::workspace_root;
use crate::rootfs::{self, GuestFile};

/// Guests at a time; each is emulated by one busy thread.
const AT_ONCE: usize = 2;

/// Grace periods end as soon as they can: a third of a short scenario is waiting for them when
/// probes go.
const APPEND: &str = "rcupdate.rcu_expedited=1";

/// Lines shown of what a failed scenario said; the log has them all.
const SHOWN: usize = 25;

/// What came of one kernel.
pub(super) struct Column {
    pub(super) kernel: String,
    pub(super) counts: Counts,
    pub(super) alerts: Alerts,
    /// What the scenarios said about the kernel: one JSON object.
    pub(super) report: Option<String>,
    /// Lines for the user.
    summary: String,
}

impl Column {
    /// One that this machine cannot run, and why.
    fn skipped(name: &str, why: &str) -> Self {
        let counts = Counts {
            skipped: 1,
            ..Counts::default()
        };
        Self {
            kernel: name.to_owned(),
            counts,
            alerts: Alerts::default(),
            report: None,
            summary: format!("kernel {name}: {counts}\n  SKIP {why}\n"),
        }
    }
}

/// Runs every column, two at a time, and those beyond the matrix if they are wanted.
pub(super) fn run(args: &Args, files: &[GuestFile], beyond: bool) -> Result<Vec<Column>> {
    let logs = artifacts::folder()?.join("logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let mut names = args.columns();
    if beyond {
        names.extend(columns::beyond(args.every_backend));
    }
    let mut turns = names.clone();
    turns.sort_by_key(|name| columns::turn(name));
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(names.len()) {
            scope.spawn(|| {
                while let Some(name) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let column = run_column(name, args, files, &logs);
                    print!("{}", column.summary);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push(column);
                }
            });
        }
    });
    let mut columns = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    columns.sort_by_key(|column| names.iter().position(|name| *name == column.kernel));
    Ok(columns)
}

/// Whether a column is about all that runs on a kernel.
pub(super) fn is_whole(column: &Column) -> bool {
    kernels::MATRIX.contains(&column.kernel.as_str())
}

/// The scenarios on an image, with every line of theirs as it comes.
pub(super) fn image(kernel: Kernel, args: &VmArgs, files: &[GuestFile]) -> Result<Column> {
    let mut command = vec![PROGRAM.to_owned()];
    for backend in &args.backends {
        command.extend(["--backend".to_owned(), backend.clone()]);
    }
    if args.hide_btf {
        command.push("--hide-btf".to_owned());
    }
    command.extend(args.filter.clone());
    let guest = Guest {
        files: files.to_owned(),
        timeout: Duration::from_secs(args.timeout),
        append: APPEND.to_owned(),
        ..Guest::new(kernel)
    };
    let mut transcript = Transcript::default();
    let finished = guest.run(&command, |source, line| {
        transcript.add(source, line);
        if source == Source::Command {
            print!("{}", String::from_utf8_lossy(line));
        }
    });
    let outcome = finished.map(|finished| (finished.exit_code, finished.took));
    let logs = artifacts::folder()?.join("logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let name = args.image.file_name().map(|name| name.to_string_lossy());
    let name = name.unwrap_or_default().into_owned();
    let column = transcript.column(&name, &outcome, args.filter.is_some(), &logs);
    print!("{}", column.summary);
    Ok(column)
}

fn run_column(name: &str, args: &Args, files: &[GuestFile], logs: &Path) -> Column {
    let run = Run::new(name, args);
    if run.systemd && !rootfs::has_systemd() {
        return Column::skipped(
            name,
            "this machine has no systemd; `cargo xtask setup` installs it",
        );
    }
    let mut transcript = Transcript::default();
    let outcome = run_guest(&run, args, files, &mut transcript);
    transcript.column(name, &outcome, args.filter.is_some(), logs)
}

impl Transcript {
    /// What came of it, with all that was said kept in a file.
    fn column(
        mut self,
        name: &str,
        outcome: &Result<(u8, Duration)>,
        filtered: bool,
        logs: &Path,
    ) -> Column {
        let transcript = &mut self;
        let (counts, problem) = transcript.judge(outcome, filtered);
        let log = logs.join(format!("{name}.log"));
        let mut summary = format!("kernel {name}: {counts}");
        if let Ok(took) = outcome {
            let _ = write!(summary, " in {} s", took.1.as_secs());
        }
        for line in &transcript.failures {
            let _ = write!(summary, "\n  {line}");
        }
        if let Some(problem) = problem {
            let _ = write!(summary, "\n  FAIL {problem}");
            transcript.all.push_str(&problem);
            transcript.all.push('\n');
        }
        match fs::write(&log, &transcript.all) {
            Ok(()) if counts.failed > 0 => {
                let _ = write!(summary, "\n  all it said is in {}", log.display());
            }
            Ok(()) => {}
            Err(error) => {
                let _ = write!(summary, "\n  cannot write {}: {error}", log.display());
            }
        }
        summary.push('\n');
        Column {
            kernel: name.to_owned(),
            counts,
            alerts: transcript.alerts,
            report: transcript.report.take(),
            summary,
        }
    }
}

/// The exit status of the scenarios, and the time they took.
fn run_guest(
    run: &Run,
    args: &Args,
    files: &[GuestFile],
    transcript: &mut Transcript,
) -> Result<(u8, Duration)> {
    let packaged = run.packaged(&workspace_root()?);
    let guest = Guest {
        files: [files, &packaged].concat(),
        timeout: args.column_timeout(),
        append: APPEND.to_owned(),
        icount: run.icount,
        systemd: run.systemd,
        ..Guest::new(kernels::find(&run.kernel, false)?)
    };
    let finished = guest.run(&run.command, |source, line| transcript.add(source, line))?;
    Ok((finished.exit_code, finished.took))
}

/// What a guest said, and what that means.
#[derive(Default)]
struct Transcript {
    all: String,
    seen: Counts,
    failures: Vec<String>,
    /// The last line was about a scenario that failed.
    failing: bool,
    closing: Option<Counts>,
    report: Option<String>,
    alerts: Alerts,
}

impl Transcript {
    fn add(&mut self, source: Source, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        self.all.push_str(&text);
        if source == Source::Kernel {
            return;
        }
        let text = text.trim_end();
        if let Some(more) = text.strip_prefix("    ") {
            self.continue_failure(more);
            return;
        }
        self.failing = text.starts_with("FAIL ");
        match text.split_once(' ') {
            Some(("PASS", _)) => self.seen.passed += 1,
            Some(("SKIP", _)) => self.seen.skipped += 1,
            Some(("FAIL", _)) => {
                self.seen.failed += 1;
                self.failures.push(text.to_owned());
            }
            Some(("REPORT", report)) => self.report = Some(report.to_owned()),
            Some(("ALERTS", _)) => self.alerts += Alerts::from_line(text).unwrap_or_default(),
            _ => self.closing = Counts::from_closing_line(text).or(self.closing),
        }
    }

    /// A further line about the scenario that failed last.
    fn continue_failure(&mut self, line: &str) {
        if let Some(failure) = self.failures.last_mut()
            && self.failing
            && failure.lines().count() < SHOWN
        {
            failure.push_str("\n    ");
            failure.push_str(line);
        }
    }

    /// The counts, and what is wrong besides failed scenarios; that counts as one failure.
    fn judge(&self, outcome: &Result<(u8, Duration)>, filtered: bool) -> (Counts, Option<String>) {
        let mut counts = self.closing.unwrap_or(self.seen);
        let run = counts.passed + counts.failed;
        let problem = match (outcome, self.closing) {
            (Err(error), _) => Some(format!("{error:#}")),
            (Ok((code, _)), None) => Some(format!(
                "{PROGRAM} ended with status {code} and without its closing line"
            )),
            (Ok(_), Some(_)) if run == 0 && !(filtered && counts.skipped > 0) => {
                Some("no scenario was run".to_owned())
            }
            (Ok(_), Some(_)) if counts.failed == 0 && !self.alerts.all_right() => {
                Some(format!("{}, though no scenario failed", self.alerts))
            }
            (Ok((code, _)), Some(_)) if *code != 0 && counts.failed == 0 => Some(format!(
                "{PROGRAM} ended with status {code} though no scenario failed"
            )),
            _ => None,
        };
        if problem.is_some() {
            counts += Counts::ONE_FAILURE;
        }
        (counts, problem)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Source, Transcript};

    fn transcript(lines: &[&str]) -> Transcript {
        let mut transcript = Transcript::default();
        for line in lines {
            transcript.add(Source::Command, line.as_bytes());
        }
        transcript
    }

    fn failed(lines: &[&str], code: u8, filtered: bool) -> u64 {
        let outcome = Ok((code, Duration::ZERO));
        transcript(lines).judge(&outcome, filtered).0.failed
    }

    #[test]
    fn a_good_run_has_no_failure() {
        let lines = [
            "PASS fentry a\n",
            "REPORT {\"kernel\":\"x\"}\n",
            "1 passed, 0 failed, 0 skipped\n",
        ];
        assert_eq!(failed(&lines, 0, false), 0);
        assert_eq!(
            transcript(&lines).report.as_deref(),
            Some("{\"kernel\":\"x\"}")
        );
    }

    #[test]
    fn what_a_failed_scenario_said_is_kept() {
        let lines = [
            "FAIL fentry a: 1 difference\n",
            "    port is 80, said 81\n",
            "PASS fentry b\n",
            "    an echo\n",
        ];
        assert_eq!(
            transcript(&lines).failures,
            ["FAIL fentry a: 1 difference\n    port is 80, said 81"]
        );
    }

    #[test]
    fn silence_is_a_failure() {
        assert_eq!(failed(&["PASS fentry a\n"], 0, false), 1);
        assert_eq!(failed(&["0 passed, 0 failed, 0 skipped\n"], 0, false), 1);
        assert_eq!(failed(&["0 passed, 0 failed, 2 skipped\n"], 0, false), 1);
        assert_eq!(failed(&["1 passed, 0 failed, 2 skipped\n"], 101, false), 1);
    }

    #[test]
    fn a_wrong_alert_is_a_failure() {
        let closing = "1 passed, 0 failed, 0 skipped\n";
        for (line, failures) in [
            ("ALERTS expected=3 missed=0 false=0 wrong_owners=0\n", 0),
            ("ALERTS expected=3 missed=1 false=0 wrong_owners=0\n", 1),
            ("ALERTS expected=3 missed=0 false=1 wrong_owners=0\n", 1),
        ] {
            assert_eq!(
                failed(&["PASS fentry a\n", line, closing], 0, false),
                failures
            );
        }
    }

    #[test]
    fn a_filter_may_leave_only_skipped_scenarios() {
        assert_eq!(failed(&["0 passed, 0 failed, 2 skipped\n"], 0, true), 0);
        assert_eq!(failed(&["0 passed, 0 failed, 0 skipped\n"], 0, true), 1);
    }
}
