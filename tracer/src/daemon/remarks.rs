//! What is said of a configuration that was refused.

use log::warn;

use crate::metrics::view::Reload;

/// In the log.
pub(super) fn refused(error: &anyhow::Error) {
    warn!("the configuration is not taken, the one before is in force: {error:#}");
}

/// In the status.
pub(super) fn reload_remark(reloaded: Reload) -> &'static str {
    if reloaded.successful {
        ""
    } else {
        "; the last configuration was refused, the one before is in force"
    }
}
