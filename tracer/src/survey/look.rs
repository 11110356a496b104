//! One look, for whoever tells himself what it found.

use std::time::Duration;

use anyhow::Result;

use super::{Survey, gather};
use crate::{
    audit::{self, Finding},
    cli::ScopeArgs,
    judge::rules::Algorithm,
};

/// What a look found.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The worst first.
    pub(crate) findings: Vec<Finding>,
    /// What could not be seen, a sentence each.
    pub(crate) remarks: Vec<String>,
}

/// Looks once; queues are watched for so long.
///
/// # Errors
/// If nothing within the scope can be looked at.
pub(crate) fn look(scope: &ScopeArgs, queues: Duration, algorithm: Algorithm) -> Result<Looked> {
    let mut survey = Survey::take(scope)?;
    let scene = gather::scene(&mut survey, queues, algorithm);
    Ok(Looked {
        findings: audit::findings(&scene),
        remarks: survey.remarks,
    })
}
