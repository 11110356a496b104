//! The tests that need no guest: `cargo test` over the workspace.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context, Result};

use super::counts::Counts;
use crate::artifacts;
use crate::object;
use crate::peers;
use crate::process::cargo;

/// The programs for old kernels, held to what Linux 4.14 takes: one test.
fn object() -> Result<Counts> {
    let counts = if object::check_built()? {
        Counts::ONE_PASS
    } else {
        Counts::ONE_FAILURE
    };
    println!("eBPF object for old kernels: {counts}");
    Ok(counts)
}

pub(super) fn run() -> Result<Counts> {
    let logs = artifacts::folder()?.join("logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let path = logs.join("host.log");
    let mut log =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut child = cargo()?
        .env(peers::VARIABLE, peers::folder()?)
        .env(peers::rotel::VARIABLE, peers::rotel::program()?)
        // Released like what the guests run: one build serves both.
        .args(["test", "--workspace", "--release", "--no-fail-fast"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let mut counts = Counts::default();
    let mut said = String::new();
    let output = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(log, "{line}")?;
        counts += Counts::from_harness_line(&line).unwrap_or_default();
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        // It did not compile, or a test program died without its closing line.
        counts += Counts::ONE_FAILURE;
    }
    if counts.failed > 0 {
        print!("{said}");
    }
    println!("host: {counts}");
    counts += object()?;
    Ok(counts)
}
