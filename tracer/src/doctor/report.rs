//! What is asked, and what was found.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    kernel::preflight::Finding,
    probes::plan::{Choice, Hook},
};

/// What is to be looked at.
pub(crate) struct Asked {
    /// The structures in this file.
    pub(crate) btf: Option<PathBuf>,
    /// One mechanism only, instead of the best for each hook.
    pub(crate) backend: Option<Choice>,
}

/// Everything that was found.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(super) kernel: String,
    pub(super) findings: Vec<Finding>,
    /// Mechanisms by which the lookups can be hooked here, the best first.
    pub(super) backends: Vec<Choice>,
    pub(super) hooks: Vec<HookReport>,
    /// Whether tracing would work, and why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// What becomes of one hook.
#[derive(Serialize)]
pub(super) struct HookReport {
    pub(super) hook: Hook,
    pub(super) function: &'static str,
    /// As the session would use it.
    pub(super) used: String,
    /// With fentry alone.
    pub(super) fentry: String,
    /// With kprobes alone.
    pub(super) kprobe: String,
    /// The session would go without it.
    #[serde(skip)]
    pub(super) is_missing: bool,
}
