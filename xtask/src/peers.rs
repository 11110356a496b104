//! Programs of others that tests on this machine and the demo's guest run, to have their word on
//! what sockpick tells them: Prometheus and Alertmanager, and a collector of OpenTelemetry. They
//! are unpacked into the cache, and not installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{archive, cache};

pub(crate) mod rotel;

/// Tells tests, and this command, where the programs are: a folder that has `usr/bin`.
pub(crate) const VARIABLE: &str = "SOCKPICK_PEERS";

const PACKAGES: [&str; 2] = ["prometheus", "prometheus-alertmanager"];

/// What tests run of them.
const PROGRAMS: [&str; 3] = ["prometheus", "promtool", "prometheus-alertmanager"];

/// Taken where this machine's own release is none of the archive's: its programs need only a C
/// library of 2021 or later.
const USUAL_SUITE: &str = "bookworm";

/// The folder with the programs: the one that the user names, else the cache's.
pub(crate) fn folder() -> Result<PathBuf> {
    if let Some(given) = env::var_os(VARIABLE) {
        // Tests run in other folders than this.
        let given = Path::new(&given).canonicalize();
        return checked(given.with_context(|| format!("{VARIABLE} names no folder"))?);
    }
    let _lock = cache::lock()?;
    let suite = suite();
    let folder = cache::folder()?.join("peers").join(&suite);
    if !folder.exists() {
        eprintln!("fetching {} of {suite}", PACKAGES.join(" and "));
        archive::unpack(&PACKAGES, &suite, &folder).with_context(|| {
            format!(
                "Prometheus and Alertmanager, which tests and the demo run, cannot be fetched; \
                 install them and set {VARIABLE}=/, or to another folder that has them in usr/bin"
            )
        })?;
    }
    checked(folder)
}

fn checked(folder: PathBuf) -> Result<PathBuf> {
    for program in PROGRAMS {
        if !folder.join("usr/bin").join(program).is_file() {
            bail!(
                "{} has no usr/bin/{program}; remove the folder, or name another with {VARIABLE}",
                folder.display()
            );
        }
    }
    Ok(folder)
}

/// The release of Debian that this machine has, if the archive has it.
fn suite() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let mut lines = release.lines();
    let codename = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.filter(|codename| archive::has_suite(codename));
    codename.unwrap_or(USUAL_SUITE).to_owned()
}
