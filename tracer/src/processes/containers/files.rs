//! Reads files that others write, some of them who may not be trusted: no more of one than a
//! bound, nothing but regular files, and never waiting for anybody.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, open, openat},
    sys::stat::Mode,
};

/// Most names of a directory that are looked at.
const MOST_NAMES: usize = 16_384;

/// The file system, or for tests a part of it in its place.
pub(super) struct Files {
    root: PathBuf,
}

/// What tells whether a file is another or was written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([i64; 2], [u64; 3]);

/// A file that is open.
pub(super) struct Opened {
    file: File,
    pub(super) stamp: Stamp,
    /// Whose it is.
    pub(super) uid: u32,
}

impl Files {
    pub(super) fn under(root: PathBuf) -> Self {
        Self { root }
    }

    /// Opens a file by the names of directories below `base` and its own, of which none may be a
    /// link. What leads to `base` is the administrator's, and may have links. `None` if it cannot
    /// be read, for whatever reason: then nothing is told by it.
    pub(super) fn open(&self, base: &str, below: &[&str]) -> Option<Opened> {
        let (name, directories) = below.split_last()?;
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut at = open(&self.at(base), directory, Mode::empty()).ok()?;
        for part in directories {
            at = openat(&at, *part, directory | OFlag::O_NOFOLLOW, Mode::empty()).ok()?;
        }
        // A pipe in the file's place is opened at once, and then refused.
        let file = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(&at, *name, file, Mode::empty()).ok()?);
        let data = file.metadata().ok().filter(fs::Metadata::is_file)?;
        let times = [data.mtime(), data.mtime_nsec()];
        Some(Opened {
            file,
            stamp: Stamp(times, [data.dev(), data.ino(), data.size()]),
            uid: data.uid(),
        })
    }

    /// A file's bytes, as [`Files::open`]; `None` if there are more than `most`.
    pub(super) fn read(&self, base: &str, below: &[&str], most: u64) -> Option<Vec<u8>> {
        self.open(base, below)?.read(most)
    }

    /// Names in a directory that are text, in order.
    pub(super) fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(directory)).into_iter().flatten();
        let names = entries.take(MOST_NAMES).flatten();
        let mut names: Vec<String> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(Path::new(path.trim_start_matches('/')))
    }
}

impl Opened {
    /// Its bytes; `None` if there are more than `most`, or they cannot be read.
    pub(super) fn read(self, most: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.take(most + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= most).then_some(bytes)
    }
}
