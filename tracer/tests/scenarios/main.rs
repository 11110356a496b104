//! Scenarios: real connections on a real kernel, and what sockpick says about them,
//! compared connection by connection with what the accepting process says of itself.
//!
//! Runs as root in a guest, never on a developer's machine: without `SOCKPICK_GUEST`
//! in the environment it says so and ends. `cases/` holds the scenarios, `runner.rs`
//! runs each in a process of its own, `compare.rs` judges.

#![cfg(target_os = "linux")]

mod alerts;
mod attempt;
mod bpf;
mod btf;
mod cases;
mod client;
mod compare;
mod context;
mod crowd;
mod daemon;
mod event;
mod explain;
mod flood;
mod kernel;
mod ledger;
mod listen;
mod load;
mod netns;
mod options;
mod receiver;
mod replay;
mod runner;
mod segments;
mod serve;
mod server;
mod snmp;
mod systemd;
mod trace;
mod truth;
mod want;

use std::process::ExitCode;

use anyhow::Result;

use options::Mode;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sockpick-scenarios: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mode = options::parse(std::env::args().skip(1))?;
    match mode {
        Mode::Help => {
            print!("{}", options::USAGE);
            return Ok(ExitCode::SUCCESS);
        }
        Mode::List => {
            for scenario in cases::all() {
                println!("{}", scenario.name);
            }
            return Ok(ExitCode::SUCCESS);
        }
        Mode::Serve(serve) => return serve::run(&serve).map(|()| ExitCode::SUCCESS),
        Mode::Connect(connect) => return client::by_hand(&connect).map(|()| ExitCode::SUCCESS),
        Mode::Load(load) => return load::run(&load).map(|()| ExitCode::SUCCESS),
        Mode::Crowd(crowd) => return crowd::run(&crowd).map(|()| ExitCode::SUCCESS),
        Mode::All(_) | Mode::One(_) => {}
    }
    if std::env::var_os("SOCKPICK_GUEST").is_none() {
        println!(
            "note: scenarios change namespaces and load programs as root; they run in a guest only"
        );
        println!("0 passed, 0 failed, 0 skipped (not in a guest)");
        return Ok(ExitCode::SUCCESS);
    }
    match mode {
        Mode::One(one) => Ok(runner::one(&one)),
        Mode::All(all) => runner::all(&all),
        _ => Ok(ExitCode::SUCCESS),
    }
}
