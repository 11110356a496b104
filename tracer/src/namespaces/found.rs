//! A namespace, and a file that stands for it.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where `ip netns` keeps its names.
pub(super) const NAMED: &str = "/run/netns";

/// A namespace that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Inode number.
    pub inode: u32,
    /// A file whose namespace it is.
    pub path: PathBuf,
    /// Name under `/run/netns`.
    pub name: Option<String>,
    /// Where `path` is a descriptor of sockpick's own, as nothing else leads there: that. It keeps
    /// the namespace, so it is not to be kept for long.
    pub kept: Option<Arc<File>>,
}

/// Inode number of the namespace that a file stands for.
#[must_use]
pub fn inode(path: &Path) -> Option<u32> {
    fs::metadata(path)
        .ok()
        .and_then(|data| data.ino().try_into().ok())
}
