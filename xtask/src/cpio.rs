//! The "newc" cpio format, in which the kernel takes its initial file system.
//!
//! Written here because the kernel needs only this one variant, and because archives made
//! separately must be able to follow one another in one file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

enum Entry {
    Directory(u32),
    Symlink(String),
    Bytes(Vec<u8>, u32),
    /// Read only when the archive is written.
    Host(PathBuf, u32),
}

/// A file tree to be; paths are relative to the root and without a leading slash.
#[derive(Default)]
pub(crate) struct Archive {
    // Sorted, so that every directory comes before what it holds.
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    pub(crate) fn directory(&mut self, path: &str) {
        self.directory_with_mode(path, 0o755);
    }

    pub(crate) fn directory_with_mode(&mut self, path: &str, mode: u32) {
        self.insert(path, Entry::Directory(mode));
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.insert(path, Entry::Symlink(target.to_owned()));
    }

    pub(crate) fn bytes(&mut self, path: &str, content: &[u8], mode: u32) {
        self.insert(path, Entry::Bytes(content.to_owned(), mode));
    }

    pub(crate) fn host_file(&mut self, path: &str, source: &Path, mode: u32) {
        self.insert(path, Entry::Host(source.to_owned(), mode));
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_matches('/'))
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        let parents = path.char_indices().filter(|&(_, letter)| letter == '/');
        for (end, _) in parents {
            let parent = self.entries.entry(path[..end].to_owned());
            parent.or_insert(Entry::Directory(0o755));
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes the archive with its trailer, padded so that another may follow.
    pub(crate) fn write(&self, out: &mut impl Write) -> Result<()> {
        let mut serial = 0;
        for (path, entry) in &self.entries {
            serial += 1;
            let written = match entry {
                Entry::Directory(mode) => record(out, serial, path, DIRECTORY | mode, &[]),
                Entry::Symlink(to) => record(out, serial, path, SYMLINK | 0o777, to.as_bytes()),
                Entry::Bytes(content, mode) => record(out, serial, path, REGULAR | mode, content),
                Entry::Host(source, mode) => {
                    let content = fs::read(source)
                        .with_context(|| format!("cannot read {}", source.display()))?;
                    record(out, serial, path, REGULAR | mode, &content)
                }
            };
            written.with_context(|| format!("cannot write {path} into the guest's archive"))?;
        }
        record(out, 0, "TRAILER!!!", 0, &[]).context("cannot write the guest's archive")
    }
}

fn record(out: &mut impl Write, serial: u32, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
    let size = u32::try_from(data.len())
        .map_err(|_| io::Error::other("the cpio format holds no file of 4 GiB or more"))?;
    let links = 1;
    let name_size = path.len() + 1;
    // magic, inode, mode, uid, gid, links, mtime, size, device (2), node (2), name size, check
    write!(
        out,
        "070701{serial:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}\
         {0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}{path}\0",
        0
    )?;
    pad(out, 110 + name_size)?;
    out.write_all(data)?;
    pad(out, data.len())
}

fn pad(out: &mut impl Write, written: usize) -> io::Result<()> {
    out.write_all(&[0; 3][..written.wrapping_neg() % 4])
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn parents_come_first_and_records_are_aligned() {
        let mut archive = Archive::default();
        archive.bytes("/a/b/file", b"hello", 0o644);
        archive.symlink("link", "a/b");
        let mut bytes = Vec::new();
        archive.write(&mut bytes).expect("writing to memory");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let positions: Vec<_> = ["a\0", "a/b\0", "a/b/file\0", "link\0", "TRAILER!!!\0"]
            .iter()
            .map(|name| text.find(name).expect("every name is there"))
            .collect();
        assert!(positions.is_sorted());
        assert_eq!(bytes.len() % 4, 0);
        for (at, _) in text.match_indices("070701") {
            assert_eq!(at % 4, 0);
        }
    }
}
