//! `cargo xtask bench`: what watching costs, in instructions per connection.
//!
//! The guests count instructions instead of time, and take chance from a number, so the figures of
//! the same programs are the same on any machine and in any run, however busy the machine is.

mod boots;
mod bounds;
mod figures;
mod kinds;
mod plot;
mod record;
mod report;
mod samples;
mod script;
mod tables;
mod variants;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::artifacts::{self, Build};
use crate::kernels::MATRIX;
use crate::process::need_program;
use crate::rootfs::GuestFile;
use crate::setup;
use boots::{Asked, Set};
use figures::Column;
use script::Wanted;

/// One kernel where every hook takes fentry, and one where the lookups need kprobes; then the
/// oldest and the newest of the matrix, which are only looked at.
const KERNELS: [(&str, Set); 4] = [
    ("6.12", Set::Everything),
    ("6.1", Set::Ways),
    (MATRIX[0], Set::Short),
    (MATRIX[MATRIX.len() - 1], Set::Short),
];

/// What `--check` measures: one of each way to watch.
const CHECKED: [&str; 4] = [
    variants::JSON,
    variants::TABLE,
    variants::DAEMON,
    variants::FILTER,
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this kernel (repeatable); leaves docs/overhead.md as it is
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,
    /// Only this row, by its name in the guest's lines (repeatable); leaves docs/overhead.md as it is
    #[arg(long = "row", value_name = "NAME", value_parser = Wanted::names())]
    rows: Vec<String>,
    /// Connections of one sample
    #[arg(long, value_name = "N", default_value_t = 8000, value_parser = clap::value_parser!(u32).range(1000..=100_000))]
    connections: u32,
    /// Boots of each kernel, each of which measures everything once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Time for a boot
    #[arg(long, value_name = "SECS", default_value_t = 1800)]
    timeout: u64,
    /// Measure a few rows on one kernel, and fail where one costs more than docs/overhead.md has on
    /// record, and does so once more
    #[arg(long, conflicts_with_all = ["kernels", "rows", "rounds"])]
    check: bool,
    /// Measure nothing; write docs/overhead.md from what the last whole run measured
    #[arg(long, conflicts_with_all = ["kernels", "rows", "check"])]
    recall: bool,
    /// Do not build first; measure what was built last
    #[arg(long)]
    no_build: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.recall {
        let columns = KERNELS.map(|(kernel, _)| boots::recalled(kernel, args.rounds));
        let columns: Result<Vec<_>> = columns.into_iter().collect();
        return report::publish(&columns?).map(|()| ExitCode::SUCCESS);
    }
    setup::run()?;
    let mut files = artifacts::collect(Build::all_unless(args.no_build))?;
    files.push(GuestFile::new(
        need_program("bpftrace")?,
        "/usr/bin/bpftrace",
    ));
    if args.check {
        return check(args, &files);
    }
    let asked = args.asked(&args.rows, args.rounds, &files);
    let mut columns = Vec::new();
    // One at a time: nobody waits for these figures, and others may need the other processor.
    for (kernel, set) in args.sets() {
        let column = boots::measure(&kernel, set, &asked)?;
        print!("{}", report::on_screen(&column));
        columns.push((set, column));
    }
    if !args.rows.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let whole = columns.iter().filter(|(set, _)| *set != Set::Short);
    let verdict = verdict(whole.map(|(_, column)| column));
    if args.kernels.is_empty() {
        let columns: Vec<_> = columns.into_iter().map(|(_, column)| column).collect();
        report::publish(&columns)?;
    }
    Ok(verdict)
}

/// Fails where a row costs more than is on record, twice in a row: figures vary a little.
fn check(args: &Args, files: &[GuestFile]) -> Result<ExitCode> {
    let rows = CHECKED.map(ToOwned::to_owned);
    for (last, rounds) in [(false, 1), (true, 2)] {
        let asked = args.asked(&rows, rounds, files);
        let column = boots::measure(KERNELS[0].0, Set::Ways, &asked)?;
        print!("{}", report::on_screen(&column));
        let failures = record::above(&column)?;
        if failures.is_empty() {
            println!("nothing costs more than docs/overhead.md has on record");
            return Ok(ExitCode::SUCCESS);
        }
        for failure in failures {
            println!("{} {failure}", if last { "FAIL" } else { "once more:" });
        }
    }
    println!("should that be meant, put the new figures on record: cargo xtask bench");
    Ok(ExitCode::FAILURE)
}

impl Args {
    fn asked<'a>(&self, rows: &'a [String], rounds: u32, files: &'a [GuestFile]) -> Asked<'a> {
        Asked {
            wanted: Wanted {
                rows,
                connections: self.connections,
            },
            rounds,
            timeout: Duration::from_secs(self.timeout),
            files,
        }
    }

    /// Kernels, and what is measured on them. Whoever names rows gets them on any kernel.
    fn sets(&self) -> Vec<(String, Set)> {
        let known = KERNELS.map(|(kernel, set)| (kernel.to_owned(), set));
        if self.kernels.is_empty() && self.rows.is_empty() {
            return known.into();
        }
        let kernels = self.kernels.iter().cloned();
        let named = kernels.map(|kernel| {
            let set = known.iter().find(|(name, _)| *name == kernel);
            let set = set.map_or(Set::Everything, |(_, set)| *set);
            (kernel, set)
        });
        let mut sets: Vec<_> = named.collect();
        if sets.is_empty() {
            sets.extend(known.into_iter().filter(|(_, set)| *set != Set::Short));
        }
        if !self.rows.is_empty() {
            for (_, set) in &mut sets {
                *set = Set::Everything;
            }
        }
        sets
    }
}

/// sockpick says far more than the bpftrace scripts, and must cost less than the cheaper one.
fn verdict<'a>(columns: impl Iterator<Item = &'a Column>) -> ExitCode {
    let failures: Vec<String> = columns.flat_map(report::failures).collect();
    for failure in &failures {
        println!("FAIL {failure}");
    }
    if failures.is_empty() {
        println!(
            "by the mechanisms that it chooses itself, sockpick costs less than the cheaper bpftrace \
             script, as JSON and as a table, on every kernel measured"
        );
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
