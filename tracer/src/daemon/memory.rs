//! The file in which alerts outlive a restart.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::alerts::state::MAX_BYTES;

/// What it says; `None` where there is none yet.
///
/// # Errors
/// If it cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    // One more, so that what is longer is told from what is cut.
    file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes it anew: whoever reads it, also after a crash, finds the old or the new, whole.
///
/// # Errors
/// If it cannot be written; the old one is as it was.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = beside(path);
    let written = write_whole(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Half of one is of no use to anybody.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_one_takes_the_place_of_the_old_at_once() -> io::Result<()> {
        let folder = std::env::temp_dir().join(format!("sockpick-memory-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let path = folder.join("alerts.json");
        assert_eq!(read(&path)?, None);
        write(&path, "one")?;
        write(&path, "two")?;
        assert_eq!(read(&path)?.as_deref(), Some("two"));
        assert_eq!(
            fs::read_dir(&folder)?.count(),
            1,
            "nothing is left beside it"
        );
        assert!(write(&folder.join("nowhere/alerts.json"), "x").is_err());
        fs::remove_dir_all(&folder)
    }
}
