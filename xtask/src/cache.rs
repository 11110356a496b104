//! The folder that holds downloads between runs.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};

/// `$SOCKPICK_CACHE`, or `sockpick` in the user's cache folder.
pub(crate) fn folder() -> Result<PathBuf> {
    let chosen = env::var_os("SOCKPICK_CACHE").map(PathBuf::from);
    let usual = || {
        let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
        base.map(|base| base.join("sockpick"))
    };
    let folder = chosen
        .or_else(usual)
        .context("no cache folder: neither SOCKPICK_CACHE, XDG_CACHE_HOME nor HOME is set")?;
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create the cache folder {}", folder.display()))?;
    Ok(folder)
}

/// Held while something is put into the cache: two runs at once must not both download. The lock
/// goes when the file is dropped, also if the process dies.
pub(crate) fn lock() -> Result<File> {
    let path = folder()?.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
