//! A running `sockpick daemon`: what its sink was given, and what it serves.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::context::{AUTO, Context, Failure};
use crate::netns::Netns;
use crate::trace::{spawn, wait};

/// Emulated guests are slow.
const READY: Duration = Duration::from_secs(90);
/// How long what is to be seen may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where metrics are to be had.
const METRICS: &str = "127.0.0.1:9464";

/// A daemon and its files; it is killed, and they go, when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    folder: PathBuf,
    said: Arc<Mutex<Vec<String>>>,
}

impl Context {
    /// Starts a daemon whose alerts go to a file, with more settings; returns once it watches.
    pub(crate) fn daemon(&self, folder: &Path, settings: &str) -> Result<Daemon> {
        self.daemon_with(folder, settings, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn daemon_with(
        &self,
        folder: &Path,
        settings: &str,
        arguments: &[&str],
    ) -> Result<Daemon> {
        fs::create_dir_all(folder)?;
        configure(folder, settings)?;
        let mut command = Command::new(&self.sockpick);
        command
            .arg("daemon")
            .arg("--config")
            .arg(folder.join("sockpick.toml"))
            .args(arguments);
        if self.backend != AUTO {
            command.args(["--backend", &self.backend]);
        }
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let stderr = child.stderr.take().context("no pipe")?;
        let (ready, said) = listen(stderr);
        let mut daemon = Daemon {
            child,
            folder: folder.to_owned(),
            said,
        };
        if ready.recv_timeout(READY).is_err() {
            let ended = daemon.child.try_wait()?;
            return Err(Failure {
                message: format!("the daemon did not begin to watch: {ended:?}"),
                details: daemon.said(),
            }
            .into());
        }
        Ok(daemon)
    }
}

/// Reads what it says, and tells when it watches.
fn listen(stderr: impl Read + Send + 'static) -> (Receiver<()>, Arc<Mutex<Vec<String>>>) {
    let (tell, ready) = channel();
    let said = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&said);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if line.starts_with("sockpick: tracing by") {
                // Nobody listens after the first.
                let _ = tell.send(());
            }
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(line);
        }
    });
    (ready, said)
}

/// A folder of one scenario's daemon.
pub(crate) fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("daemon-{name}-{}", std::process::id()))
}

/// Writes the configuration: a file for alerts, one to remember them, metrics, and more.
pub(crate) fn configure(folder: &Path, settings: &str) -> Result<()> {
    let shown = folder.display();
    let text = format!(
        "[alerts]\nstate = '{shown}/state.json'\n\
         [metrics]\nlisten = '{METRICS}'\n\
         [[sink]]\ntype = 'file'\npath = '{shown}/alerts.jsonl'\n\
         {settings}\n"
    );
    Ok(fs::write(folder.join("sockpick.toml"), text)?)
}

impl Daemon {
    /// What it said.
    pub(crate) fn said(&self) -> Vec<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    /// Waits until it said something like that.
    pub(crate) fn until_said(&self, what: &str) -> Result<()> {
        let has_it = |said: &Vec<String>| said.iter().any(|line| line.contains(what));
        self.until(what, || Ok(self.said()), has_it).map(drop)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), signal)?)
    }

    /// The lines that its sink was given, once they are as `enough` wants them.
    pub(crate) fn lines(&self, enough: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        self.until("its file", || self.written(), |lines| enough(lines))
    }

    fn written(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.join("alerts.jsonl")).unwrap_or_default();
        let lines = text.lines().map(serde_json::from_str);
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// Status and body of a page.
    pub(crate) fn get(path: &str) -> Result<(u16, String)> {
        Netns::host()?.inside(|| {
            let address: SocketAddr = METRICS.parse()?;
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
            let status = head.split(' ').nth(1).context("no status")?;
            Ok((status.parse()?, body.to_owned()))
        })
    }

    /// Waits until the series of a metric that have these labels come to this value.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)], value: f64) -> Result<()> {
        let what = format!("{name} {labels:?} = {value}");
        let is_there = |(_, body): &(u16, String)| {
            let found = sum(body, name, labels);
            found.is_some_and(|found| (found - value).abs() < 0.5)
        };
        self.until(&what, || Self::get("/metrics"), is_there)
            .map(drop)
    }

    /// Waits until they come to this value at least.
    pub(crate) fn metric_at_least(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        least: f64,
    ) -> Result<()> {
        let what = format!("{name} {labels:?} >= {least}");
        let is_there =
            |(_, body): &(u16, String)| sum(body, name, labels).is_some_and(|found| found >= least);
        self.until(&what, || Self::get("/metrics"), is_there)
            .map(drop)
    }

    /// Waits until what is looked at is enough.
    pub(crate) fn until<T: std::fmt::Debug>(
        &self,
        what: &str,
        look: impl Fn() -> Result<T>,
        enough: impl Fn(&T) -> bool,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            let found = look()?;
            if enough(&found) {
                return Ok(found);
            }
            if start.elapsed() > PATIENCE {
                return Err(Failure {
                    message: format!("{what}: found {found:#?}"),
                    details: self.said(),
                }
                .into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it as systemd does.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status: ExitStatus = wait(&mut self.child, READY)?;
        if !status.success() {
            bail!("the daemon ended with {status}: {:#?}", self.said());
        }
        Ok(())
    }

    /// Kills it.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        wait(&mut self.child, READY).map(drop)
    }
}

/// The sum over the series of a metric that have these labels; `None` if there are none.
pub(crate) fn sum(body: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut found = None;
    for line in body.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (of, rest) = series.split_once('{').unwrap_or((series, ""));
        let has = |(label, wanted): &(&str, &str)| rest.contains(&format!("{label}=\"{wanted}\""));
        if of == name && labels.iter().all(has) {
            found = Some(found.unwrap_or(0.0) + value.parse::<f64>().ok()?);
        }
    }
    found
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
