//! `cargo xtask lint`: everything that can be said about the sources without running them.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::process::{cargo, find_program, output, visible, workspace_root};

type Check = fn() -> Result<()>;

pub(crate) fn run() -> ExitCode {
    // All of them, so that one run tells everything.
    let checks: [(&str, Check); 4] = [
        ("format", || cargo_check(&["fmt", "--all", "--check"])),
        ("clippy", clippy),
        ("documentation", documentation),
        ("names of this machine", machine_names),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(error) = check() {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        eprintln!("lint: nothing found");
        return ExitCode::SUCCESS;
    }
    eprintln!("lint: failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn cargo_check(arguments: &[&str]) -> Result<()> {
    visible(cargo()?.args(arguments))
}

/// The build of the tests, so that build scripts and macros are built, and run, once for both.
const LIKE_THE_TESTS: &str = "--release";

fn clippy() -> Result<()> {
    // Includes the probes, as seen on this machine's target: the compilers that know BPF's core
    // library bring no clippy.
    cargo_check(&[
        "clippy",
        LIKE_THE_TESTS,
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])?;
    cargo_check(&[
        "clippy",
        LIKE_THE_TESTS,
        "--quiet",
        "--package",
        "sockpick-ebpf",
        "--features",
        "legacy",
        "--",
        "-D",
        "warnings",
    ])
}

fn documentation() -> Result<()> {
    let mut command = cargo()?;
    command.args(["doc", LIKE_THE_TESTS, "--quiet", "--workspace", "--no-deps"]);
    visible(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// A path or a mirror of the machine somebody worked on has no place in the project.
fn machine_names() -> Result<()> {
    let root = workspace_root()?;
    let needles = needles(&root);
    let files = output(Command::new("git").current_dir(&root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut found = 0;
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        // Removed in the working copy, or a link to nowhere.
        let Ok(content) = fs::read(root.join(name)) else {
            continue;
        };
        for (number, line) in content.split(|&byte| byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            for needle in needles.iter().filter(|needle| line.contains(*needle)) {
                eprintln!("{name}:{}: names `{needle}`", number + 1);
                found += 1;
            }
        }
    }
    anyhow::ensure!(
        found == 0,
        "{found} lines name a path or a package mirror of this machine; find these out at run time"
    );
    Ok(())
}

/// What must not be found: the checkout, the home folder, the hosts packages come from.
fn needles(root: &Path) -> Vec<String> {
    let mut needles = vec![root.to_string_lossy().into_owned()];
    if let Some(home) = std::env::home_dir() {
        // With what follows: root's home alone is a path that every machine has.
        needles.push(format!("{}/", home.display()));
    }
    if find_program("apt-get").is_some() {
        let sites = Command::new("apt-get")
            .args(["indextargets", "--format", "$(SITE)"])
            .output()
            .context("cannot start apt-get");
        let sites = sites.map(|answer| String::from_utf8_lossy(&answer.stdout).into_owned());
        for site in sites.unwrap_or_default().lines() {
            let host = site.rsplit("://").next().unwrap_or(site);
            let host = host.split('/').next().unwrap_or(host);
            if !host.is_empty() && !needles.iter().any(|known| known == host) {
                needles.push(host.to_owned());
            }
        }
    }
    needles.retain(|needle| needle.len() > 2);
    needles
}
