//! The service as it is packaged, in a guest whose first process is systemd: what systemd and its
//! journal say of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::context::{Context, Failure, Skip};
use crate::netns::Netns;

pub(crate) const SERVICE: &str = "sockpick.service";
pub(crate) const SOCKET: &str = "sockpick-metrics.socket";

const CONFIGURATION: &str = "/etc/sockpick/sockpick.toml";
const DROP_IN: &str = "/run/systemd/system/sockpick.service.d/test.conf";

const DROP_INS: &str = "/etc/systemd/system/sockpick.service.d";
/// Where the guest has what of the package a host need not have.
const SHARED: &str = "/usr/share/sockpick";

/// How long what is to be seen may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// Lines of the journal that are shown of what failed.
const SHOWN: usize = 40;

/// The host with its units and the configuration as they are packaged. Both are that again, and
/// the service has ended, when this is dropped.
pub(crate) struct Host {
    packaged: String,
}

/// Tells a story of the service, with more directives for its unit.
pub(crate) fn tell(
    cx: &Context,
    directives: &str,
    story: impl FnOnce(&Host) -> Result<()>,
) -> Result<()> {
    cx.need_sockpick()?;
    if !Path::new("/run/systemd/system").exists() {
        return Err(Skip("systemd is not the first process here".into()).into());
    }
    Netns::host()?;
    let host = Host {
        packaged: fs::read_to_string(CONFIGURATION)?,
    };
    // A system call that the unit forbids would fail quietly; here it ends the service.
    let text = format!("[Service]\nSystemCallErrorNumber=kill\n{directives}");
    fs::create_dir_all(Path::new(DROP_IN).parent().context("no folder")?)?;
    fs::write(DROP_IN, text)?;
    done(&["daemon-reload"])?;
    story(&host).map_err(|error| {
        let message = format!("{error:#}");
        let details = last_words();
        Failure { message, details }.into()
    })
}

impl Host {
    /// Another configuration, made from the packaged one.
    pub(crate) fn configure(&self, edit: impl FnOnce(&str) -> String) -> Result<()> {
        Ok(fs::write(CONFIGURATION, edit(&self.packaged))?)
    }
}

/// A drop-in of the package, in force for what is started until this is dropped.
pub(crate) struct Installed(PathBuf);

/// Installs it as docs/operations.md says.
pub(crate) fn install(name: &str) -> Result<Installed> {
    let place = Path::new(DROP_INS).join(name);
    fs::create_dir_all(DROP_INS)?;
    fs::copy(Path::new(SHARED).join(name), &place)
        .with_context(|| format!("cannot install {name}"))?;
    let installed = Installed(place);
    done(&["daemon-reload"])?;
    Ok(installed)
}

impl Drop for Installed {
    fn drop(&mut self) {
        // What remains goes with the guest.
        let _ = fs::remove_file(&self.0);
        let _ = done(&["daemon-reload"]);
    }
}

/// Has `systemctl` do something, which must succeed.
pub(crate) fn done(words: &[&str]) -> Result<()> {
    let output = systemctl(words)?;
    if !output.status.success() {
        bail!("systemctl {words:?}: {}", said(&output));
    }
    Ok(())
}

/// The same, which must fail.
pub(crate) fn fails(words: &[&str]) -> Result<()> {
    let output = systemctl(words)?;
    if output.status.success() {
        bail!("systemctl {words:?} succeeded");
    }
    Ok(())
}

/// What systemd knows of the service.
pub(crate) fn property(name: &str) -> Result<String> {
    let output = systemctl(&["show", "--property", name, "--value", SERVICE])?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Its main process.
pub(crate) fn main_pid() -> Result<u32> {
    let pid = property("MainPID")?.parse()?;
    if pid == 0 {
        bail!("it does not run");
    }
    Ok(pid)
}

/// These must be so by now.
pub(crate) fn holds(wanted: &[(&str, &str)]) -> Result<()> {
    for (name, value) in wanted {
        let found = property(name)?;
        if found != *value {
            bail!("{name} is {found:?}, not {value:?}");
        }
    }
    Ok(())
}

/// Waits until they are.
pub(crate) fn until(wanted: &[(&str, &str)]) -> Result<()> {
    eventually(|| holds(wanted))
}

/// Waits until the service, in this run of it, has said something like that.
pub(crate) fn until_said(what: &str) -> Result<String> {
    let run = format!("_SYSTEMD_INVOCATION_ID={}", property("InvocationID")?);
    eventually(|| {
        let entries = journal(&[&run])?;
        let mut said = entries.iter().filter_map(|entry| entry["MESSAGE"].as_str());
        let found = said.find(|message| message.contains(what));
        found
            .map(ToOwned::to_owned)
            .with_context(|| format!("the journal has no `{what}`"))
    })
}

fn last_words() -> Vec<String> {
    let entries = journal(&["--unit", SERVICE]).unwrap_or_default();
    let messages = entries.iter().rev().take(SHOWN).rev();
    messages.map(|entry| entry["MESSAGE"].to_string()).collect()
}

/// What `systemctl` does with these words.
fn systemctl(words: &[&str]) -> Result<Output> {
    let output = Command::new("systemctl").args(words).output();
    output.context("cannot start `systemctl`")
}

/// Entries of the journal since the start of the guest that match.
pub(crate) fn journal(matches: &[&str]) -> Result<Vec<Value>> {
    let mut command = Command::new("journalctl");
    command.args(["--output=json", "--all", "--quiet"]);
    let output = command.args(matches).output();
    let output = output.context("cannot start `journalctl`")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let entries = text.lines().map(serde_json::from_str);
    Ok(entries.collect::<Result<_, _>>()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// Tries until it succeeds, for a while.
pub(crate) fn eventually<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < PATIENCE => {}
            outcome => return outcome,
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What remains is told by the next story, or goes with the guest.
        let _ = systemctl(&["stop", SOCKET, SERVICE]);
        let _ = systemctl(&["reset-failed"]);
        let _ = fs::write(CONFIGURATION, &self.packaged);
        let _ = fs::remove_file(DROP_IN);
    }
}
