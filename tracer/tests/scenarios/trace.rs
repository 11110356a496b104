//! A running `sockpick trace`, and what it recorded.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::context::{AUTO, Context, Failure};
use crate::event::{self, Event, Handover, Health, Line, Lost};
use crate::netns::Netns;
use crate::replay::Recording;

/// Emulated guests are slow.
const READY: Duration = Duration::from_secs(90);
const END: Duration = Duration::from_mins(1);

/// A running `sockpick trace -o json`; killed when dropped.
pub(crate) struct Trace {
    running: Option<Running>,
}

struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<String>>>,
    stderr: Option<JoinHandle<Vec<String>>>,
    ready: Receiver<()>,
    recording: Option<Recording>,
    /// Only alerts are told, of all SYNs.
    is_whole: bool,
}

/// What sockpick said.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// Its events.
    pub(crate) events: Vec<Event>,
    /// What it says it lost.
    pub(crate) lost: Vec<Lost>,
    /// SYNs that it says it counted, its own left out, where it tells only of alerts and all
    /// SYNs are asked for.
    pub(crate) counted: Option<u64>,
    /// What it says of groups at the end.
    pub(crate) health: Vec<Health>,
    /// Connections that it says another listener got than their SYN.
    pub(crate) handovers: Vec<Handover>,
    /// Its messages.
    pub(crate) stderr: Vec<String>,
    /// The file it wrote.
    pub(crate) recording: Option<Recording>,
}

impl Recorded {
    /// How many events it says were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.iter().map(|lost| lost.lost).sum()
    }
}

impl Context {
    /// `sockpick trace` with this run's backend, in the namespace the test started in.
    pub(crate) fn trace_command(&self, filters: &[&str]) -> Command {
        let mut command = Command::new(&self.sockpick);
        command.args(["trace", "-o", "json"]);
        if self.backend != AUTO {
            command.args(["--backend", &self.backend]);
        }
        command.args(filters).stdin(Stdio::null());
        command
    }

    /// Starts tracing; returns once SYNs are recorded.
    pub(crate) fn trace(&self, filters: &[&str]) -> Result<Trace> {
        let mut trace = self.start_trace(filters)?;
        trace.ready()?;
        Ok(trace)
    }

    /// Starts `sockpick trace` without waiting for it.
    pub(crate) fn start_trace(&self, filters: &[&str]) -> Result<Trace> {
        if self.ground_truth {
            return Ok(Trace { running: None });
        }
        let mut command = self.trace_command(filters);
        let narrowed = filters.contains(&"--verdict") || filters.contains(&"--only-alerts");
        let recording = if self.suspects {
            // A recording would have it record all.
            command.args((!narrowed).then_some("--only-alerts"));
            None
        } else {
            let recording = Recording::new(&self.sockpick, filters);
            command.args(recording.written());
            Some(recording)
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let (tell, ready) = channel();
        let stderr = child.stderr.take().context("no pipe")?;
        let stderr = lines(stderr, move |line| {
            if line.starts_with("sockpick: tracing") {
                // Nobody listens after the first.
                let _ = tell.send(());
            }
        });
        let stdout = child.stdout.take().context("no pipe")?;
        Ok(Trace {
            running: Some(Running {
                child,
                stdout: Some(lines(stdout, |_| {})),
                stderr: Some(stderr),
                ready,
                recording,
                is_whole: self.suspects && filters.is_empty(),
            }),
        })
    }
}

/// Starts sockpick where a user would: outside of the scenario's namespaces.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    Netns::host()?.inside(|| {
        let program = command.get_program().to_string_lossy().into_owned();
        command
            .spawn()
            .with_context(|| format!("cannot start {program}"))
    })
}

fn lines(
    from: impl Read + Send + 'static,
    each: impl Fn(&str) + Send + 'static,
) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let lines = BufReader::new(from).lines().map_while(Result::ok);
        lines.inspect(|line| each(line)).collect()
    })
}

impl Trace {
    /// Waits until SYNs are recorded.
    pub(crate) fn ready(&mut self) -> Result<()> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        if running.ready.recv_timeout(READY).is_ok() {
            return Ok(());
        }
        let what = match running.child.try_wait()? {
            Some(status) => format!("sockpick ended before it traced: {status}"),
            None => format!("sockpick did not trace within {} s", READY.as_secs()),
        };
        running.child.kill()?;
        running.child.wait()?;
        Err(Failure {
            message: what,
            details: collect(&mut running.stderr)?,
        }
        .into())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(running) = &self.running {
            kill(Pid::from_raw(running.child.id().cast_signed()), signal)?;
        }
        Ok(())
    }

    /// Ends it with Ctrl-C and reads the rest.
    pub(crate) fn finish(self) -> Result<Recorded> {
        self.signal(Signal::SIGINT)?;
        self.ended()
    }

    /// Reads what it says until it ends by itself, which must be with exit code 0.
    pub(crate) fn ended(self) -> Result<Recorded> {
        let (status, recorded) = self.end()?;
        match status {
            Some(status) if !status.success() => Err(Failure {
                message: format!("sockpick trace ended with {status}"),
                details: recorded.stderr,
            }
            .into()),
            _ => Ok(recorded),
        }
    }

    /// Kills it.
    pub(crate) fn kill(self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.end().map(drop)
    }

    fn end(mut self) -> Result<(Option<ExitStatus>, Recorded)> {
        let Some(mut running) = self.running.take() else {
            return Ok((None, Recorded::default()));
        };
        let status = wait(&mut running.child, END);
        if status.is_err() {
            running.child.kill()?;
            running.child.wait()?;
        }
        let mut recorded = Recorded {
            stderr: collect(&mut running.stderr)?,
            ..Recorded::default()
        };
        let lines = collect(&mut running.stdout)?;
        if status.as_ref().is_ok_and(ExitStatus::success) {
            if let Some(recording) = &mut running.recording {
                recording.tells(&lines, &recorded.stderr)?;
            }
            if running.is_whole {
                let sums = recorded.stderr.iter().find_map(|line| counted(line));
                recorded.counted = Some(sums.context("no sums on stderr")?);
            }
        }
        recorded.recording = running.recording;
        for line in lines {
            match event::parse(&line)? {
                Line::Syn(event) => recorded.events.push(*event),
                Line::Lost(lost) => recorded.lost.push(lost),
                Line::Health(health) => recorded.health.push(health),
                Line::Handover(handover) => recorded.handovers.push(*handover),
            }
        }
        Ok((Some(status?), recorded))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            // It may be gone already.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// SYNs but for sockpick's own, of `N SYNs in S s = … + N own + …`.
fn counted(line: &str) -> Option<u64> {
    let (all, parts) = line.split_once(" SYN")?;
    let own = parts
        .split(" + ")
        .find_map(|part| part.strip_suffix(" own"));
    Some(all.parse::<u64>().ok()? - own?.parse::<u64>().ok()?)
}

fn collect(reader: &mut Option<JoinHandle<Vec<String>>>) -> Result<Vec<String>> {
    let reader = reader.take().context("already read")?;
    reader
        .join()
        .map_err(|_| anyhow::anyhow!("a reader panicked"))
}

/// Waits for a process, but not for ever.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() > limit {
            bail!("process did not end within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
