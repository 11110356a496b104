//! A spool's file: nobody else reads it, one process at a time writes it, and no link is followed
//! to it.
#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, BufRead, BufReader, BufWriter, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use super::book::Medium;

const MODE: u32 = 0o600;
/// How often the file may be another one when it is locked than when it was opened.
const TRIES: usize = 8;

/// An open file, which is locked until it is closed.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    file: File,
    /// More may be behind its end than belongs there.
    is_torn: bool,
}

impl Disk {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// If it cannot be opened, is no file of one's own, or belongs to another process.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let file = open(path, false)?;
            lock(&file)?;
            // Who had it before may have put another in its place.
            if is_at(&file, path) {
                // What a crash left while it was written anew.
                let _ = fs::remove_file(beside(path));
                return Ok(Self {
                    path: path.to_owned(),
                    file,
                    is_torn: false,
                });
            }
        }
        Err(in_use())
    }
}

impl Medium for Disk {
    fn text(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Box::new(BufReader::new(&self.file)))
    }

    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(at)?;
        }
        let written = self.file.write_all_at(bytes, at);
        self.is_torn = written.is_err() && self.file.set_len(at).is_err();
        written
    }

    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn replace(&mut self, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let beside = beside(&self.path);
        let written = write_whole(&beside, parts);
        let renamed = written.and_then(|file| fs::rename(&beside, &self.path).map(|()| file));
        match renamed {
            Ok(file) => {
                (self.file, self.is_torn) = (file, false);
                Ok(())
            }
            Err(error) => {
                // Half of one is of no use to anybody.
                let _ = fs::remove_file(&beside);
                Err(error)
            }
        }
    }

    fn is_gone(&self) -> bool {
        !is_at(&self.file, &self.path)
    }
}

/// It is locked before it is there for others.
fn write_whole(path: &Path, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<File> {
    // What a crash left there.
    let _ = fs::remove_file(path);
    let file = open(path, true)?;
    lock(&file)?;
    let mut writer = BufWriter::new(&file);
    for part in parts {
        writer.write_all(&part)?;
    }
    writer.flush()?;
    drop(writer);
    file.sync_data()?;
    Ok(file)
}

fn open(path: &Path, is_new: bool) -> io::Result<File> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .create_new(is_new)
        .mode(MODE)
        // Without waiting for somebody at its other end, should it be a pipe.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => other("it is a symbolic link, which is not followed; name the file"),
        _ => error,
    })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(other("it is no regular file; name another"));
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(other(
            "it belongs to another user; remove it, or name another file",
        ));
    }
    if metadata.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(in_use()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn in_use() -> io::Error {
    other("another sockpick has it; name a file of its own for each")
}

fn other(wrong: &str) -> io::Error {
    io::Error::other(wrong)
}

/// Whether this is the file that others find there.
fn is_at(file: &File, path: &Path) -> bool {
    let ours = file.metadata();
    let there = fs::symlink_metadata(path);
    let same = |(ours, there): (fs::Metadata, fs::Metadata)| {
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    };
    ours.and_then(|ours| Ok((ours, there?))).is_ok_and(same)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests;
