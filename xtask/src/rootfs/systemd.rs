//! This machine's systemd in a guest: its programs, the units of a small host, and the guest's
//! command as one of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Root;
use crate::process::{find_program, need_program};

/// The first process, which becomes systemd.
pub(super) const INIT: &str = include_str!("../guest/systemd.sh");

/// Where systemd keeps its programs; before usr was merged, on some machines, in the second.
const FOLDERS: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];

/// Those in that folder; the last is there from systemd 255 on.
const PROGRAMS: [&str; 3] = ["systemd", "systemd-journald", "systemd-executor"];

const TOOLS: [&str; 2] = ["systemctl", "journalctl"];

/// Of this machine's units those that a host without users, devices and disks has. Those that a
/// release has not are left out.
const UNITS: [&str; 22] = [
    "basic.target",
    "emergency.target",
    "local-fs-pre.target",
    "local-fs.target",
    "multi-user.target",
    "network-pre.target",
    "network.target",
    "paths.target",
    "poweroff.target",
    "reboot.target",
    "rescue.target",
    "shutdown.target",
    "slices.target",
    "sockets.target",
    "swap.target",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sysinit.target",
    "systemd-journald-dev-log.socket",
    "systemd-journald.service",
    "systemd-journald.socket",
    "timers.target",
];

/// Which of them are wanted by which.
const WANTED: [(&str, &str); 6] = [
    ("sockets.target", "systemd-journald.socket"),
    ("sockets.target", "systemd-journald-dev-log.socket"),
    ("sysinit.target", "systemd-journald.service"),
    ("sysinit.target", "sys-kernel-debug.mount"),
    ("sysinit.target", "sys-kernel-tracing.mount"),
    ("multi-user.target", COMMAND),
];

const COMMAND: &str = "guest-command.service";
const COMMAND_UNIT: &str = "\
[Unit]
Description=The guest's command
[Service]
ExecStart=/guest-command
";

/// Whether this machine has one.
pub(crate) fn is_installed() -> bool {
    folder().is_some() && TOOLS.iter().all(|tool| find_program(tool).is_some())
}

fn folder() -> Option<&'static Path> {
    let mut folders = FOLDERS.iter().map(Path::new);
    folders.find(|folder| folder.join(PROGRAMS[0]).is_file())
}

/// Adds it to a guest's files.
pub(super) fn add(root: &mut Root) -> Result<()> {
    let folder = folder().context(
        "systemd is not installed on this machine, so no guest can have it; run `cargo xtask setup`",
    )?;
    let there = |path: &PathBuf| path.is_file();
    for path in PROGRAMS
        .map(|name| folder.join(name))
        .iter()
        .filter(|path| there(path))
    {
        root.program(path, &path.to_string_lossy())?;
    }
    for tool in TOOLS {
        root.program(&need_program(tool)?, &format!("usr/bin/{tool}"))?;
    }
    let units = folder.join("system");
    for path in UNITS
        .map(|name| units.join(name))
        .iter()
        .filter(|path| there(path))
    {
        root.program(path, &path.to_string_lossy())?;
    }
    configure(root);
    Ok(())
}

/// What makes a host of it.
fn configure(root: &mut Root) {
    const OWN: &str = "etc/systemd/system";
    let archive = &mut root.archive;
    for (path, text) in [
        ("etc/machine-id", "5ee11571f8a84f0f9b0d3c6d1c0ffee0\n"),
        ("etc/hostname", "guest\n"),
        ("etc/systemd/system/guest-command.service", COMMAND_UNIT),
    ] {
        archive.bytes(path, text.as_bytes(), 0o644);
    }
    archive.symlink(
        &format!("{OWN}/default.target"),
        "/usr/lib/systemd/system/multi-user.target",
    );
    for (by, unit) in WANTED {
        let place = if unit == COMMAND {
            OWN
        } else {
            "usr/lib/systemd/system"
        };
        archive.symlink(
            &format!("{OWN}/{by}.wants/{unit}"),
            &format!("/{place}/{unit}"),
        );
    }
}
