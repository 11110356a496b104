//! Where programs of others are that a test runs. Also for the tests beside the code, which
//! include this file.

use std::{env, path::PathBuf};

/// The folder that `SOCKPICK_PEERS` names, as `cargo xtask test` does; its `usr/bin` has the
/// programs. Without, says why the test does nothing.
pub(crate) fn peers() -> Option<PathBuf> {
    let folder = env::var_os("SOCKPICK_PEERS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "nothing is tested: SOCKPICK_PEERS names no folder with usr/bin/prometheus; \
             `cargo xtask test --host-only` fetches one"
        );
    }
    folder
}
