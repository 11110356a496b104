//! The daemon while things go wrong around it: disks fill, it is killed, clocks are set,
//! configurations are broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::time::{ClockId, clock_gettime, clock_settime};
use nix::unistd::mkfifo;
use serde_json::Value;

use super::session::gone;
use super::verdicts::host;
use crate::attempt::all_answered;
use crate::bpf::objects::Objects;
use crate::client::connect;
use crate::context::Context;
use crate::daemon::{Daemon, configure, folder};
use crate::listen::Listen;
use crate::receiver::{Answer, Receiver};
use crate::server::Server;

/// Of services that do not listen. Their notices take more than a page of a disk.
const PORTS: [u16; 8] = [80, 81, 82, 83, 84, 85, 86, 87];
const ALL: f64 = 8.0;
/// Where a receiver comes to be.
const RECEIVER: u16 = 9099;
const DAY: i64 = 86_400;

/// Services that nobody listens for but B, and a webhook with a spool.
fn settings(services: &[u16], folder: &Path) -> String {
    let shown = folder.display();
    let services = services
        .iter()
        .map(|port| format!("[[service]]\nname = 'S{port}'\nlisten = ['6.6.6.6:{port}']\n"));
    services.collect::<String>()
        + &format!(
            "[[sink]]\ntype = 'webhook'\nurl = 'http://127.0.0.1:{RECEIVER}/alerts'\n\
             spool = '{shown}/hook.spool'\n"
        )
}

/// Alerts that the file was told of as begun, by service.
fn began(lines: &[Value]) -> Vec<String> {
    let began = lines.iter().filter(|line| line["alert"] == "began");
    began
        .filter_map(|line| line["service"].as_str().map(ToOwned::to_owned))
        .collect()
}

/// A disk of its own, which is gone when this is dropped.
struct Disk(PathBuf);

impl Disk {
    fn of(folder: &Path) -> Result<Self> {
        let size = Some("size=256k");
        mount(Some("none"), folder, Some("tmpfs"), MsFlags::empty(), size)
            .context("cannot mount a small disk")?;
        Ok(Self(folder.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Fills it to the last byte.
    fn fill(&self) -> Result<()> {
        let wrote = fs::write(self.ballast(), vec![0; 1 << 20]);
        ensure!(wrote.is_err(), "the disk has more room than it should");
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The guest goes as well; there is nobody to tell.
        let _ = umount(&self.0);
    }
}

/// The disk is full under the state, the file and the spool, and nobody is at the webhook. The
/// daemon goes on, says so, and writes all of it once there is room; killed then, it has the next
/// run tell the webhook, once.
pub(crate) fn daemon_disk_full(cx: &Context) -> Result<()> {
    cx.need_one_of_all()?;
    let _netns = host()?;
    let folder = folder("disk-full");
    fs::create_dir_all(&folder)?;
    let disk = Disk::of(&folder)?;
    let settings = settings(&PORTS, &folder);
    let _servers = all_of_b()?;
    let daemon = cx.daemon(&folder, &settings)?;
    disk.fill()?;
    go_wrong()?;
    daemon.metric("sockpick_alerts_active", &[], ALL)?;
    for sign in ["alerts cannot be kept in", "hook.spool", "alerts.jsonl"] {
        daemon.until_said(sign)?;
    }
    let file = [("sink", "file")];
    daemon.metric("sockpick_sink_queue_length", &file, ALL)?;
    ensure!(Daemon::get("/readyz")?.0 == 200, "it is not ready");
    ensure!(read(&folder, "alerts.jsonl").is_empty(), "there was room");

    disk.make_room()?;
    daemon.lines(|lines| sorted(began(lines)) == names())?;
    let spooled = || Ok(read(&folder, "hook.spool").matches("\nwait ").count());
    daemon.until("a spool", spooled, |waiting| *waiting == PORTS.len())?;
    let state = || Ok(read(&folder, "state.json"));
    let has_all = |text: &String| names().iter().all(|name| text.contains(name));
    daemon.until("the state", state, has_all)?;
    for stage in ["kernel", "queue", "sink"] {
        daemon.metric("sockpick_events_lost_total", &[("stage", stage)], 0.0)?;
    }
    daemon.kill()?;

    let receiver = Receiver::start(RECEIVER, Answer::Taken)?;
    let daemon = cx.daemon(&folder, &settings)?;
    daemon.metric("sockpick_alerts_active", &[], ALL)?;
    let told = || Ok(sorted(receiver.began()));
    daemon.until("the webhook", told, |told| *told == names())?;
    go_wrong()?;
    daemon.metric("sockpick_alerts_active", &[], ALL)?;
    sleep(Duration::from_secs(2));
    ensure!(sorted(receiver.began()) == names(), "one was told twice");
    daemon.finish()?;
    drop(disk);
    Ok(fs::remove_dir_all(folder)?)
}

/// B listens where no service does.
fn all_of_b() -> Result<Vec<Server>> {
    let listen = |port: u16| Listen::new("B", &format!("0.0.0.0:{port}"));
    let servers = PORTS.iter().map(|port| Server::inside(listen(*port)?));
    servers.collect()
}

/// A SYN for each service.
fn go_wrong() -> Result<()> {
    for port in PORTS {
        all_answered(&connect(&format!("6.6.6.6:{port}"), 1)?, &["B"])?;
    }
    Ok(())
}

fn names() -> Vec<String> {
    PORTS.iter().map(|port| format!("S{port}")).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// So long after an alert's first SYN it is killed, in milliseconds.
const KILLED_AFTER: [u64; 8] = [0, 10, 30, 80, 200, 500, 1100, 2000];

/// Killed again and again, while alerts begin and are told: nothing is left in the kernel, no alert
/// is lost, and none is told more than once more than it should be.
pub(crate) fn daemon_killed(cx: &Context) -> Result<()> {
    cx.need_one_of_three()?;
    let _netns = host()?;
    let folder = folder("killed");
    fs::create_dir_all(&folder)?;
    let before = Objects::now()?;
    let _servers = all_of_b()?;
    let settings = settings(&PORTS, &folder);
    let receiver = Receiver::start(RECEIVER, Answer::Taken)?;
    for (port, after) in PORTS.iter().zip(KILLED_AFTER) {
        let daemon = cx.daemon(&folder, &settings)?;
        connect(&format!("6.6.6.6:{port}"), 1)?;
        sleep(Duration::from_millis(after));
        daemon.kill()?;
    }
    if Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        gone(&before).context("after SIGKILL")?;
    }
    let daemon = cx.daemon(&folder, &settings)?;
    go_wrong()?;
    daemon.metric("sockpick_alerts_active", &[], ALL)?;
    let names = names();
    let all = |told: &Vec<String>| names.iter().all(|name| told.contains(name));
    daemon.until("all in the webhook", || Ok(receiver.began()), all)?;
    let lines = daemon.lines(|lines| all(&began(lines)))?;
    sleep(Duration::from_secs(2));
    for told in [receiver.began(), began(&lines)] {
        for name in &names {
            let times = told.iter().filter(|told| *told == name).count();
            ensure!(times <= 2, "{name} began {times} times: {told:?}");
        }
        println!("FIGURE {} alerts, begun {} times", names.len(), told.len());
    }
    daemon.finish()?;
    gone(&before).context("after SIGTERM")?;
    Ok(fs::remove_dir_all(folder)?)
}

/// Sets the clock of the wall by so much.
fn set_clock(by: i64) -> Result<()> {
    let clock = ClockId::CLOCK_REALTIME;
    let now = clock_gettime(clock)?;
    Ok(clock_settime(clock, now + TimeSpec::seconds(by))?)
}

/// The clock is set back by a day, forth by ten, and back again, also while no daemon runs: what
/// alerts goes on and is not told anew, and the daemon sees as before.
pub(crate) fn daemon_clock(cx: &Context) -> Result<()> {
    cx.need_one_of_all()?;
    let _netns = host()?;
    let folder = folder("clock");
    fs::create_dir_all(&folder)?;
    let settings = settings(&[80], &folder) + "[daemon]\nself_check = '10s'\n";
    let receiver = Receiver::start(RECEIVER, Answer::Taken)?;
    let _b = Server::start(Listen::new("B", "0.0.0.0:80")?)?;
    let mut daemon = cx.daemon(&folder, &settings)?;
    let mut times = 0.0;
    for (by, restarts) in [
        (-DAY, false),
        (10 * DAY, false),
        (-9 * DAY, true),
        (DAY, true),
    ] {
        goes_on(&daemon, &mut times)?;
        if restarts {
            daemon.kill()?;
            set_clock(by)?;
            daemon = cx.daemon(&folder, &settings)?;
            times = 0.0;
        } else {
            set_clock(by)?;
        }
        goes_on(&daemon, &mut times)?;
    }
    set_clock(-DAY)?;
    daemon.metric_at_least("sockpick_self_check_total", &[("result", "ok")], 2.0)?;
    ensure!(Daemon::get("/readyz")?.0 == 200, "it is not ready");
    daemon.metric("sockpick_self_check_total", &[("result", "failed")], 0.0)?;
    ensure!(receiver.began() == ["S80"], "told: {:?}", receiver.began());
    let text = read(&folder, "alerts.jsonl");
    ensure!(text.matches("\"began\"").count() == 1, "begun: {text}");
    ensure!(!text.contains("\"ended\""), "ended: {text}");
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// One more wrong SYN is one more of the same alert.
fn goes_on(daemon: &Daemon, times: &mut f64) -> Result<()> {
    all_answered(&connect("6.6.6.6:80", 1)?, &["B"])?;
    *times += 1.0;
    daemon.metric("sockpick_syn_total", &[("listener", "*:80")], *times)?;
    daemon.metric("sockpick_alerts_active", &[], 1.0)
}

/// While it runs its configuration becomes what no configuration is, is half of one, gone, a
/// directory and a pipe. Each time the one before stays in force, and what alerts goes on.
pub(crate) fn daemon_broken_configuration(cx: &Context) -> Result<()> {
    cx.need_one_of_all()?;
    let _netns = host()?;
    let folder = folder("broken");
    fs::create_dir_all(&folder)?;
    let settings = settings(&[80], &folder);
    let _b = Server::start(Listen::new("B", "0.0.0.0:80")?)?;
    let daemon = cx.daemon(&folder, &settings)?;
    let path = folder.join("sockpick.toml");
    let good = fs::read(&path)?;
    let mut times = 0.0;
    goes_on(&daemon, &mut times)?;
    // In the middle of the last key.
    let half = &good[..good.len() - 20];
    for broken in [half, b"\xff\xfe", b"[alerts", &vec![b'#'; 5 << 20]] {
        fs::write(&path, broken)?;
        refused(&daemon)?;
        goes_on(&daemon, &mut times)?;
    }
    fs::remove_file(&path)?;
    refused(&daemon)?;
    fs::create_dir(&path)?;
    refused(&daemon)?;
    goes_on(&daemon, &mut times)?;
    fs::remove_dir(&path)?;
    // Nobody writes into it, and it is not waited for.
    mkfifo(&path, Mode::S_IRUSR)?;
    refused(&daemon)?;
    goes_on(&daemon, &mut times)?;
    fs::remove_file(&path)?;
    configure(&folder, &settings)?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.metric("sockpick_config_last_reload_successful", &[], 1.0)?;
    goes_on(&daemon, &mut times)?;
    daemon.lines(|lines| began(lines) == ["S80"])?;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// It is told to read its configuration, and says that it does not take it.
fn refused(daemon: &Daemon) -> Result<()> {
    let said = || {
        let said = daemon.said();
        let is_refusal = |line: &&String| line.contains("the configuration is not taken");
        said.iter().filter(is_refusal).count()
    };
    let before = said();
    daemon.signal(Signal::SIGHUP)?;
    daemon.until("a refusal", || Ok(said()), |now| *now == before + 1)?;
    let (status, _) = Daemon::get("/readyz")?;
    if status != 200 {
        bail!("/readyz says {status}");
    }
    daemon.metric("sockpick_config_last_reload_successful", &[], 0.0)
}
