//! `cargo xtask bench`: what watching costs, in instructions per connection.
//!
//! The guests count instructions instead of time, so the figures are the same on any machine and
//! in any run, however busy the machine is.

mod bounds;
mod record;
mod report;
mod samples;
mod variants;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::artifacts::{self, Build};
use crate::process::need_program;
use crate::rootfs::GuestFile;
use crate::setup;

/// One kernel where every hook takes fentry, and one where the lookups need kprobes.
const KERNELS: [&str; 2] = ["6.12", "6.1"];

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
    #[arg(long = "row", value_name = "NAME", value_parser = variants::names())]
    rows: Vec<String>,
    /// Connections of one sample
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1000..=100_000))]
    connections: u32,
    /// Samples of everything
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Time for all samples on one kernel
    #[arg(long, value_name = "SECS", default_value_t = 1800)]
    timeout: u64,
    /// Measure a few rows on one kernel, and fail where one costs more than docs/overhead.md has on
    /// record, and does so once more
    #[arg(long, conflicts_with_all = ["kernels", "rows", "rounds"])]
    check: bool,
    /// Do not build first; measure what was built last
    #[arg(long)]
    no_build: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::run()?;
    let mut files = artifacts::collect(Build::all_unless(args.no_build))?;
    files.push(GuestFile::new(
        need_program("bpftrace")?,
        "/usr/bin/bpftrace",
    ));
    if args.check {
        return check(args, &files);
    }
    let is_complete = args.kernels.is_empty() && args.rows.is_empty();
    let kernels = if args.kernels.is_empty() {
        KERNELS.map(ToOwned::to_owned).to_vec()
    } else {
        args.kernels.clone()
    };
    let asked = args.asked(&args.rows, args.rounds);
    let mut columns = Vec::new();
    // One at a time: nobody waits for these figures, and others may need the other processor.
    for kernel in &kernels {
        let column = samples::measure(kernel, &files, &asked)?;
        print!("{}", report::on_screen(&column));
        columns.push(column);
    }
    if is_complete {
        report::publish(&columns)?;
    }
    Ok(if args.rows.is_empty() {
        verdict(&columns)
    } else {
        ExitCode::SUCCESS
    })
}

/// Fails where a row costs more than is on record, twice in a row: figures vary a little.
fn check(args: &Args, files: &[GuestFile]) -> Result<ExitCode> {
    let rows = CHECKED.map(ToOwned::to_owned);
    let asked = args.asked(&rows, 1);
    for last in [false, true] {
        let column = samples::measure(KERNELS[0], files, &asked)?;
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
    fn asked<'a>(&self, rows: &'a [String], rounds: u32) -> samples::Asked<'a> {
        samples::Asked {
            rows,
            connections: self.connections,
            rounds,
            timeout: Duration::from_secs(self.timeout),
        }
    }
}

/// sockpick says far more than the bpftrace scripts, and must cost less than the cheaper one.
fn verdict(columns: &[samples::Column]) -> ExitCode {
    let failures: Vec<String> = columns.iter().flat_map(report::failures).collect();
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
