//! `sockpick doctor`: what this kernel offers, and what is missing.

use std::io::Write as _;

use anyhow::Result;

use crate::{
    cli::{DoctorArgs, Output},
    doctor::{self, Asked, table},
    failure::Failure,
    sinks::stdout::stdout,
};

pub(super) fn run(args: &DoctorArgs) -> Result<()> {
    env_logger::init();
    let report = doctor::examine(&Asked {
        btf: args.btf.clone(),
        backend: args.backend,
    });
    let mut out = stdout();
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        Output::Table => table::write(&mut out, &report)?,
    }
    out.flush()?;
    match report.problem {
        Some(problem) => Err(Failure::environment(problem).into()),
        None => Ok(()),
    }
}
