//! `cargo xtask setup`: what building and testing need and a bare machine lacks.
//!
//! On Debian as root it installs; elsewhere it says what is missing and why, and leaves the
//! installing to whoever may do it.

mod packages;
mod toolchain;

use anyhow::{Result, bail};

use crate::process::{find_program, is_root};

/// One missing thing.
struct Missing {
    /// A Debian package, or for what is none, a phrase.
    name: String,
    purpose: &'static str,
}

pub(crate) fn run() -> Result<()> {
    let toolchain = toolchain::State::detect();
    let mut missing = packages::missing(packages::GUESTS);
    let mut sources = Vec::new();
    if !toolchain.compiler_is_complete() {
        sources = packages::missing(packages::COMPILER);
    }
    if !toolchain.linker && !toolchain.ordinary_compiler {
        sources.extend(packages::missing(packages::LINKER));
    }
    missing.extend(sources);
    if can_install() {
        missing.extend(packages::missing(packages::SYSTEMD));
    }
    if missing.is_empty() && toolchain.is_complete() {
        return Ok(());
    }
    if !can_install() {
        return refuse(&missing, &toolchain);
    }
    packages::install(&missing)?;
    toolchain.complete()
}

/// Only where apt is and may be used.
fn can_install() -> bool {
    is_root() && find_program("apt-get").is_some() && find_program("dpkg-query").is_some()
}

fn refuse(missing: &[Missing], toolchain: &toolchain::State) -> Result<()> {
    eprintln!("missing (names are those of Debian's packages):");
    for thing in missing {
        eprintln!("  {:<26} {}", thing.name, thing.purpose);
    }
    for line in toolchain.advice() {
        eprintln!("  {line}");
    }
    bail!(
        "this machine lacks what is listed above, and setup installs only on Debian as root; \
         install it and run `cargo xtask setup` again"
    )
}
