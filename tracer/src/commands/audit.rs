//! `sockpick audit`: listeners that stand in each other's way, and what shows that it
//! happened. Needs no BPF, and as an ordinary user sees what that user may see.
#![forbid(unsafe_code)]

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    audit::{self, Finding, Severity},
    cli::{AuditArgs, Output},
    failure::Failure,
    judge::rules::Algorithm,
    kernel::algorithm::{self, How},
    sinks::stdout::stdout,
    survey::{self, Survey, gather, own_netns},
    words,
};

/// A finding with what the whole run has in common.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    algorithm: Algorithm,
    algorithm_from: How,
}

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
    let last = last_line(&survey, &shown, &hidden, (algorithm, how));
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
    for &finding in shown {
        match output {
            Output::Table => out.write_all(told(finding)?.as_bytes())?,
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

fn told(finding: &Finding) -> Result<String> {
    let mut text = format!("{} {}", finding.severity, finding.id);
    if finding.netns.inode != own_netns() {
        write!(text, " netns={}", words::namespace(&finding.netns))?;
    }
    writeln!(text, " {}", finding.places())?;
    words::wrap(&mut text, "  cause: ", &finding.cause)?;
    words::wrap(&mut text, "  remedy:", &finding.remedy)?;
    if !finding.clients.is_empty() {
        let clients: Vec<String> = finding.clients.iter().map(ToString::to_string).collect();
        let more = finding.connections.unwrap_or(0) > finding.clients.len() as u64;
        let more = if more { ", …" } else { "" };
        let clients = clients.join(", ") + more;
        words::wrap(&mut text, "  from:  ", &clients)?;
    }
    Ok(text)
}

/// The account, and by which rules it was judged.
fn last_line(
    survey: &Survey,
    shown: &[&Finding],
    hidden: &[&Finding],
    (algorithm, how): (Algorithm, How),
) -> String {
    let count = |count: usize, one: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {one}{plural}")
    };
    let mut line = if shown.is_empty() {
        "no findings".to_owned()
    } else {
        count(shown.len(), "finding")
    };
    for severity in [Severity::Warning, Severity::Info] {
        let below = hidden.iter().filter(|one| one.severity == severity).count();
        if below > 0 {
            // Writing to a string does not fail.
            let _ = write!(
                line,
                ", {below} of severity {severity} not shown (--severity {severity})"
            );
        }
    }
    let walk = match algorithm {
        Algorithm::PortOnly => "walks one chain per port",
        Algorithm::Hybrid => "walks one chain per port up to ten sockets",
        Algorithm::AddressFirst => "looks the address up first",
    };
    let line = format!(
        "{line}; {} in {} looked at; this kernel {walk} ({})",
        count(survey.listeners.len(), "listener"),
        count(survey.asked.len(), "namespace"),
        how.words()
    );
    let mut text = String::new();
    let _ = words::wrap(&mut text, "", &line);
    text
}
