//! The daemon: what it alerts and counts is what the servers say.

use std::path::PathBuf;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::verdicts::host;
use crate::attempt::all_answered;
use crate::client::connect;
use crate::context::Context;
use crate::daemon::{Daemon, configure};
use crate::listen::Listen;
use crate::server::Server;

/// A folder of the scenario's own.
fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("daemon-{}", std::process::id()))
}

fn occasions(lines: &[Value]) -> Vec<&str> {
    let occasions = lines.iter().map(|line| line["alert"].as_str());
    occasions.map(Option::unwrap_or_default).collect()
}

/// A series of SYNs that came to this listener.
fn syns(listener: &str, matched: &str) -> String {
    format!(
        "sockpick_syn_total{{listener=\"{listener}\",match=\"{matched}\",netns=\"{{}}\",\
         via=\"reuseport_hash\"}}"
    )
}

/// A is down for a while and B gets its requests: one alert with a true count, at once; metrics
/// are what the servers accepted. Killed and started again, it neither tells of it anew nor
/// forgets it.
pub(crate) fn daemon_story(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let _netns = host()?;
    let folder = folder();
    let _b = Server::start(Listen::new("B", "0.0.0.0:80")?.group(1))?;
    let a = Server::start(Listen::new("A", "6.6.6.6:80")?.group(1))?;
    let daemon = cx.daemon(&folder, "[daemon]\nself_check = '10s'")?;
    all_answered(&connect("6.6.6.6:80", 10)?, &["A"])?;
    drop(a);
    all_answered(&connect("6.6.6.6:80", 7)?, &["B"])?;
    let lines = daemon.lines(|lines| !lines.is_empty())?;
    let first = &lines[0];
    if occasions(&lines) != ["began"]
        || first["verdict"] != "uncovered"
        || first["reason"] != "restart_gap"
        || first["expected"] != "6.6.6.6:80"
        || first["listener"] != "*:80"
    {
        bail!("not what happened: {lines:#?}");
    }
    daemon.metric("sockpick_alerts_active", 1)?;
    Ok(())
}
