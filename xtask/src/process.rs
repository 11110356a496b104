//! Running other programs, with errors that name the program and repeat what it said.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace this command was started from; Cargo names the package when it runs us.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: start this as `cargo xtask …`")?;
    let root = Path::new(&package).parent();
    Ok(root
        .context("the xtask package has no parent folder")?
        .to_owned())
}

/// The Cargo that started us, so that both agree on the toolchain. What it says of our own package
/// is left out: a build that sees it is another build than that of the same command by hand.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root()?);
    let of_package = ["CARGO_MANIFEST_", "CARGO_PKG_"];
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if of_package.iter().any(|start| name.starts_with(start)) {
            command.env_remove(&*name);
        }
    }
    Ok(command)
}

/// Where a program is on PATH, or in the folders only root's PATH has.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// As [`find_program`], for one that must be there.
pub(crate) fn need_program(name: &str) -> Result<PathBuf> {
    find_program(name)
        .with_context(|| format!("`{name}` is not installed; run `cargo xtask setup`"))
}

/// Runs a program quietly and returns its standard output; its own words are part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let result = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{name}`"))?;
    if !result.status.success() {
        let said = String::from_utf8_lossy(&result.stderr);
        bail!("`{name}` failed ({}): {}", result.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// Runs a program whose output the user should see.
pub(crate) fn visible(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed ({status}); its own message is above");
    }
    Ok(())
}

/// Whether we may install packages and mount things.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
