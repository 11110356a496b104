//! The project's own commands: `cargo xtask COMMAND`.
//!
//! They fetch what is needed (toolchain, guest tools, kernels), build, check and test. Kernel
//! probes cannot run on every build machine, so whatever needs a kernel runs in a QEMU guest.

mod archive;
mod artifacts;
mod bench;
mod cache;
mod chart;
mod cpio;
mod dashboard;
mod demo;
mod guest;
mod kernels;
mod lint;
mod modules;
mod object;
mod peers;
mod process;
mod rootfs;
mod setup;
mod soak;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing need; quick when nothing is missing
    Setup,
    /// Check format, lints, documentation, and that no file names this machine
    Lint,
    /// Watch sockpick at work in a guest: two nginx services, a restart, and who got each request
    Demo(demo::Args),
    /// Run the tests: on this machine, then the scenarios in a guest for every kernel
    Test(test::Args),
    /// Measure in guests what watching costs, next to bpftrace; write docs/overhead.md
    Bench(bench::Args),
    /// Have the daemon watch for a day of a guest's time; write docs/soak.md
    Soak(soak::Args),
    /// Write the Grafana dashboard over the daemon's metrics
    Dashboard,
    /// Tell what Linux 4.14 would refuse of a built eBPF object
    Object(object::Args),
    /// Boot a kernel in QEMU, run a command in it as root, return its exit status
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Command::Lint => Ok(lint::run()),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Dashboard => dashboard::run().map(|()| ExitCode::SUCCESS),
        Command::Object(args) => object::run(&args),
        Command::Vm(args) => vm::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        // One message with its causes; a backtrace would tell a user nothing.
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
