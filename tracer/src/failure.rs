//! Errors that end sockpick: an exit code and one message that names the thing, the
//! cause and the remedy.

use std::{error::Error, fmt, io};

/// Exit codes of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1: findings, which the output tells; or an answer that a script wants to know of, such
    /// as that nothing would be picked.
    Findings,
    /// 2: usage or configuration.
    Usage,
    /// 3: this kernel or these privileges do not allow it.
    Environment,
    /// 4: failed while running.
    Runtime,
}

impl Kind {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Findings => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::Runtime => 4,
        }
    }
}

/// Why sockpick ends.
#[derive(Debug)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: Kind,
    message: String,
    doctor_knows: bool,
}

impl Failure {
    /// The answer is told on stdout; an empty message adds nothing to it.
    pub fn findings(message: impl Into<String>) -> Self {
        Self::new(Kind::Findings, message)
    }

    /// A usage or configuration error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// This kernel or these privileges do not allow it.
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(Kind::Environment, message)
    }

    /// It failed while running.
    pub fn runtime(message: impl Into<String>) -> Self {
        Self::new(Kind::Runtime, message)
    }

    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            doctor_knows: false,
        }
    }

    /// `sockpick doctor` tells more of it, which is worth saying everywhere but there.
    #[must_use]
    pub fn see_doctor(self) -> Self {
        Self {
            doctor_knows: true,
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// Whoever read stdout has seen enough: no failure.
#[derive(Clone, Copy, Debug)]
pub struct ClosedStdout;

impl fmt::Display for ClosedStdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout is closed")
    }
}

impl Error for ClosedStdout {}

/// Whether it is for a [`ClosedStdout`] that sockpick ends.
#[must_use]
pub fn is_closed_stdout(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    // What an I/O error was made from is not among its causes.
    causes.any(|cause: &io::Error| matches!(cause.get_ref(), Some(of) if of.is::<ClosedStdout>()))
}

/// Where the user finds out more; empty if nowhere.
#[must_use]
pub fn reference(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<Failure>() {
        Some(failure) if failure.doctor_knows => " See sockpick doctor.",
        _ => "",
    }
}

/// Whether there is anything to say of the error beyond its exit code.
#[must_use]
pub fn is_silent(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Failure>()
        .is_some_and(|failure| failure.message.is_empty())
}

/// Exit code of any error: what a [`Failure`] in its chain says, else 4.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error
        .downcast_ref::<Failure>()
        .map_or(Kind::Runtime, |failure| failure.kind)
        .exit_code()
}
