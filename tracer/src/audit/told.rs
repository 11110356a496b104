//! Findings as they are told: to people, and as JSON.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::finding::{Finding, Severity};
use crate::{judge::rules::Algorithm, kernel::algorithm::How, words};

/// A finding with what the whole run has in common.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    #[serde(flatten)]
    pub(crate) finding: &'a Finding,
    pub(crate) algorithm: Algorithm,
    pub(crate) algorithm_from: How,
}

/// A finding for people. `own_netns`: the namespace that it need not name.
///
/// # Errors
/// None: memory takes it.
pub(crate) fn finding(finding: &Finding, own_netns: u32) -> Result<String, fmt::Error> {
    let mut text = format!("{} {}", finding.severity, finding.id);
    if finding.netns.inode != own_netns {
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

/// What was looked at.
pub(crate) struct Looked {
    pub(crate) listeners: usize,
    pub(crate) namespaces: usize,
}

/// The account, and by which rules it was judged.
///
/// # Errors
/// None: memory takes it.
pub(crate) fn account(
    looked: &Looked,
    shown: &[&Finding],
    hidden: &[&Finding],
    (algorithm, how): (Algorithm, How),
) -> Result<String, fmt::Error> {
    let count = |number: usize, one: &str| words::count(number as u64, one);
    let mut line = if shown.is_empty() {
        "no findings".to_owned()
    } else {
        count(shown.len(), "finding")
    };
    for severity in [Severity::Warning, Severity::Info] {
        let below = hidden.iter().filter(|one| one.severity == severity).count();
        if below > 0 {
            write!(
                line,
                ", {below} of severity {severity} not shown (--severity {severity})"
            )?;
        }
    }
    let walk = match algorithm {
        Algorithm::PortOnly => "walks one chain per port",
        Algorithm::Hybrid => "walks one chain per port up to ten sockets",
        Algorithm::AddressFirst => "looks the address up first",
    };
    write!(
        line,
        "; {} in {} looked at; this kernel {walk} ({})",
        count(looked.listeners, "listener"),
        count(looked.namespaces, "namespace"),
        how.words()
    )?;
    let mut text = String::new();
    words::wrap(&mut text, "", &line)?;
    Ok(text)
}
