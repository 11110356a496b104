//! The packaged service with the drop-in that has it run as a user of its own.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context as _, Result, ensure};

use super::systemd::{
    contain, elsewhere, ends, is_confined, is_counted_as, is_in_the_journal, is_seen,
};
use crate::attempt::all_answered;
use crate::client::connect;
use crate::context::Context;
use crate::listen::Listen;
use crate::server::Server;
use crate::systemd::{
    Host, SERVICE, done, holds, install, journal, main_pid, property, tell, until_said,
};

/// The users that systemd makes.
const DYNAMIC: std::ops::RangeInclusive<u32> = 61184..=65519;

const STATE: &str = "/var/lib/sockpick/alerts.json";

/// It sees and tells what root's does; what it remembers outlives restarts and a change of users;
/// and it is reloaded. (What is left is not asked: with each `daemon-reload` systemd loads programs
/// of its own anew.)
pub(crate) fn user(cx: &Context) -> Result<()> {
    tell(cx, "", |host| {
        let a = Server::start(Listen::new("A", "127.0.0.2:8080")?.group(1))?;
        let b = Server::start(Listen::new("B", "0.0.0.0:8080")?.group(1))?;
        contain(b.pid())?;
        forget()?;
        // Root's, with a state of root's.
        done(&["start", SERVICE])?;
        done(&["stop", SERVICE])?;
        let installed = install("dynamic-user.conf")?;
        done(&["start", SERVICE])?;
        is_a_user()?;
        is_confined()?;
        elsewhere()?;
        all_answered(&connect("127.0.0.2:8080", 3)?, &["A"])?;
        drop(a);
        let attempts = connect("127.0.0.2:8080", 4)?;
        all_answered(&attempts, &["B"])?;
        is_in_the_journal(&attempts[0].client.to_string(), b.pid())?;
        is_remembered()?;
        is_reloaded(host)?;
        drop(installed);
        is_root_again()?;
        ends()
    })
}

/// What the service remembered of scenarios before.
fn forget() -> Result<()> {
    match fs::remove_file(STATE) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Of its own, with a name, and it is ready.
fn is_a_user() -> Result<()> {
    let uid = uid()?;
    ensure!(DYNAMIC.contains(&uid), "it runs as {uid}");
    holds(&[("ActiveState", "active"), ("NRestarts", "0")])?;
    ensure!(property("StatusText")?.starts_with("watching by "));
    Ok(())
}

/// The user that its main process runs as.
fn uid() -> Result<u32> {
    Ok(fs::metadata(format!("/proc/{}", main_pid()?))?.uid())
}

/// After a restart the alert goes on, is told to nobody a second time, and the file is the user's.
fn is_remembered() -> Result<()> {
    done(&["restart", SERVICE])?;
    is_a_user()?;
    is_counted_as("sockpick_alerts_active", &[], 1.0)?;
    let of_now = format!("_PID={}", main_pid()?);
    let told = journal(&[&of_now, "SOCKPICK_ALERT=began"])?;
    ensure!(told.is_empty(), "it is told again: {told:?}");
    let about = fs::metadata(STATE)?;
    ensure!(about.uid() == uid()?, "{STATE} belongs to {}", about.uid());
    Ok(())
}

/// A new filter is attached by the user, too.
fn is_reloaded(host: &Host) -> Result<()> {
    let pid = main_pid()?;
    host.configure(|packaged| format!("{packaged}[watch]\nports = [8081]\n"))?;
    done(&["reload", SERVICE])?;
    until_said("the configuration was read again: [watch]")?;
    is_seen()?;
    ensure!(main_pid()? == pid, "it is another process");
    Ok(())
}

/// Without the drop-in root has what the user had.
fn is_root_again() -> Result<()> {
    done(&["restart", SERVICE])?;
    ensure!(uid()? == 0, "it runs as {}", uid()?);
    is_counted_as("sockpick_alerts_active", &[], 1.0)?;
    let about = fs::symlink_metadata("/var/lib/sockpick").context("no state")?;
    ensure!(about.is_dir() && fs::metadata(STATE)?.uid() == 0);
    Ok(())
}
