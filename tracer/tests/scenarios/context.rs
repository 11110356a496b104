//! What every scenario is given.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::kernel::{BTF, version};

/// Sockpick's own choice for each hook, where that is neither all fentry nor all kprobe.
pub(crate) const AUTO: &str = "auto";

/// The programs for old kernels, without type information.
pub(crate) const LEGACY: &str = "legacy";

/// One run of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// `fentry`, `kprobe`, [`LEGACY`] or [`AUTO`]
    pub(crate) backend: String,
    /// What events of [`AUTO`] call their backend: that of the lookups.
    pub(crate) auto: String,
    /// The sockpick binary.
    pub(crate) sockpick: PathBuf,
    /// Without sockpick: only the servers' side is checked.
    pub(crate) ground_truth: bool,
    /// With `--only-alerts` everywhere: what is no alert is counted in the kernel.
    pub(crate) suspects: bool,
}

/// Not run here, for a reason that is no fault.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// A failure with several things to say: one line, then details.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What went wrong.
    pub(crate) message: String,
    /// More lines.
    pub(crate) details: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.details
            .iter()
            .try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl std::error::Error for Failure {}

impl Context {
    /// What events of this run call their backend: that of the lookups.
    pub(crate) fn event_backend(&self) -> &str {
        if self.backend == AUTO {
            &self.auto
        } else {
            &self.backend
        }
    }

    /// Whether sockpick knows the ids of the programs of groups: measured structures do not
    /// include the program's.
    pub(crate) fn knows_programs(&self) -> bool {
        self.backend != LEGACY && Path::new(BTF).exists()
    }

    /// The same run, with alerts told only.
    pub(crate) fn of_suspects(&self) -> Self {
        Self {
            suspects: true,
            ..self.clone()
        }
    }

    /// Skips what asks for more than alerts, where only those are told.
    pub(crate) fn need_all(&self) -> anyhow::Result<()> {
        if self.suspects {
            return Err(Skip("asks for more than alerts".into()).into());
        }
        Ok(())
    }

    /// Skips what takes long and hangs on user space more than on the kernel, but on three of the
    /// matrix.
    pub(crate) fn need_one_of_three(&self) -> anyhow::Result<()> {
        self.need_sockpick()?;
        let version = version()?;
        if matches!(version, (6, 1 | 12)) || version >= (7, 3) {
            return Ok(());
        }
        Err(Skip("runs on 6.1, 6.12 and the newest kernel of the matrix".into()).into())
    }

    /// Skips what takes long and hangs on user space alone, but on one of the matrix.
    pub(crate) fn need_one_of_all(&self) -> anyhow::Result<()> {
        self.need_sockpick()?;
        if version()? == (6, 12) {
            return Ok(());
        }
        Err(Skip("runs on 6.12 alone of the matrix".into()).into())
    }

    /// Skips a scenario that is about sockpick alone when sockpick is not run.
    pub(crate) fn need_sockpick(&self) -> anyhow::Result<()> {
        if self.ground_truth {
            return Err(Skip("about sockpick itself; not run for the ground truth".into()).into());
        }
        Ok(())
    }
}
