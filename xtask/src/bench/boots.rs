//! Guests in which it is measured.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::figures::Column;
use super::samples::{Said, column};
use super::script::{Wanted, others, ways};
use crate::artifacts;
use crate::guest::{Guest, Source};
use crate::kernels;
use crate::rootfs::GuestFile;

/// What is measured on a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// All ways to watch, other connections, starts and bursts.
    Everything,
    /// All ways to watch.
    Ways,
    /// Some of them.
    Short,
}

/// What is to be measured on each kernel.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) wanted: Wanted<'a>,
    /// Boots of each kernel.
    pub(super) rounds: u32,
    pub(super) timeout: Duration,
    /// This machine's files for the guests.
    pub(super) files: &'a [GuestFile],
}

/// Measures on one kernel; takes minutes.
pub(super) fn measure(kernel: &str, set: Set, asked: &Asked<'_>) -> Result<Column> {
    let ways = ways(asked.wanted, set == Set::Short);
    let others = others(asked.wanted).filter(|_| set == Set::Everything);
    if ways.is_none() && others.is_none() {
        bail!("none of the rows named is measured on kernel {kernel}; name others, or no row");
    }
    let mut boots = Vec::new();
    for round in 1..=asked.rounds {
        let mut said = Said::default();
        // Two boots, so that the one does not change the figures of the other.
        for script in [&ways, &others].into_iter().flatten() {
            boot(kernel, script, round, asked, &mut said)?;
        }
        if asked.wanted.rows.is_empty() {
            let log = log(kernel, round)?;
            fs::write(&log, &said.log)
                .with_context(|| format!("cannot write {}", log.display()))?;
        }
        boots.push(said);
    }
    Ok(column(kernel, &boots))
}

/// What was measured last, when all rows were asked for.
pub(super) fn recalled(kernel: &str, rounds: u32) -> Result<Column> {
    let read = |round| {
        let log = log(kernel, round)?;
        let text = fs::read_to_string(&log).with_context(|| {
            format!(
                "cannot read {}: measure first, cargo xtask bench",
                log.display()
            )
        })?;
        let mut said = Said::default();
        text.split_inclusive('\n').for_each(|line| said.add(line));
        Ok(said)
    };
    let boots: Result<Vec<_>> = (1..=rounds).map(read).collect();
    Ok(column(kernel, &boots?))
}

/// Where the lines of a boot are.
fn log(kernel: &str, round: u32) -> Result<PathBuf> {
    Ok(artifacts::folder()?.join(format!("bench-{kernel}-{round}.log")))
}

/// A boot with the same number is the same boot, to the instruction: chance comes from the number.
fn boot(kernel: &str, script: &str, seed: u32, asked: &Asked<'_>, said: &mut Said) -> Result<()> {
    let guest = Guest {
        files: asked.files.to_owned(),
        append: "nokaslr norandmaps".into(),
        icount: true,
        seed: Some(seed),
        timeout: asked.timeout,
        ..Guest::new(kernels::find(kernel, false)?)
    };
    let command = ["sh", "-c", script].map(ToOwned::to_owned);
    let finished = guest.run(&command, |source, line| {
        if source == Source::Command {
            said.add(&String::from_utf8_lossy(line));
        }
    })?;
    if finished.exit_code != 0 {
        let rest = said.rest.trim_end();
        bail!("the measurement on kernel {kernel} failed:\n{rest}");
    }
    Ok(())
}
