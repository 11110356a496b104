//! `sockpick audit`: listeners that stand in each other's way, and what shows that it
//! happened. Needs no BPF, and as an ordinary user sees what that user may see.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

use crate::{
    audit::{
        self, Finding, Severity,
        told::{self, Line},
    },
    cli::{AuditArgs, Output},
    failure::Failure,
    judge::rules::Algorithm,
    kernel::algorithm::{self, How},
    namespaces,
    sinks::stdout::stdout,
    survey::{self, Survey, gather},
};

pub(super) fn run(args: &AuditArgs) -> Result<()> {
    env_logger::init();
    let mut survey = Survey::take(&args.scope)?;
    let (algorithm, how) = algorithm::detect();
    let scene = gather::scene(&mut survey, args.watch, algorithm);
    let findings = audit::findings(&scene);
    survey::tell(&survey.remarks);
    let (shown, hidden): (Vec<&Finding>, Vec<&Finding>) = findings
        .iter()
        .partition(|finding| finding.severity >= args.severity);
    let looked = told::Looked {
        listeners: survey.listeners.len(),
        namespaces: survey.asked.len(),
    };
    let last = told::account(&looked, &shown, &hidden, (algorithm, how))?;
    write(args.output, &shown, (algorithm, how), &last).context("cannot write the output")?;
    if shown
        .iter()
        .any(|finding| finding.severity >= Severity::Warning)
    {
        return Err(Failure::findings("").into());
    }
    Ok(())
}

fn write(
    output: Output,
    shown: &[&Finding],
    (algorithm, algorithm_from): (Algorithm, How),
    last: &str,
) -> Result<()> {
    let mut out = io::BufWriter::new(stdout());
    let own = namespaces::own().unwrap_or(0);
    for &finding in shown {
        match output {
            Output::Table => out.write_all(told::finding(finding, own)?.as_bytes())?,
            Output::Json => {
                let line = Line {
                    finding,
                    algorithm,
                    algorithm_from,
                };
                serde_json::to_writer(&mut out, &line).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
        }
    }
    if output == Output::Table {
        out.write_all(last.as_bytes())?;
    }
    out.flush()?;
    if output == Output::Json {
        // Nobody may be left to read it.
        let _ = write!(io::stderr(), "{last}");
    }
    Ok(())
}
