//! The file and those before it.
#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Readable by its group, as logs are.
const MODE: u32 = 0o640;

/// A file that lines are added to. At a size it becomes `path.1`, which was before it `path.2`,
/// and so on.
#[derive(Debug)]
pub(in super::super) struct Log {
    path: PathBuf,
    rotate: Option<u64>,
    keep: usize,
    open: Option<File>,
}

impl Log {
    /// Nothing is opened before something is written. `rotate`: another file is begun before
    /// one would be larger than this; `keep`: full ones that stay.
    pub(in super::super) fn new(path: &Path, rotate: Option<u64>, keep: usize) -> Self {
        Self {
            path: path.to_owned(),
            rotate,
            keep,
            open: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds lines, and says how many of them are in the file as a whole; none is in it in part.
    pub(super) fn append(&mut self, lines: &[&[u8]]) -> (usize, io::Result<()>) {
        let mut whole = 0;
        while whole < lines.len() {
            let (written, result) = match self.append_some(&lines[whole..]) {
                Ok(done) => done,
                Err(error) => (0, Err(error)),
            };
            whole += written;
            if result.is_err() {
                self.open = None;
                return (whole, result);
            }
        }
        (whole, Ok(()))
    }

    /// Adds as many lines as fit into the present file, at least one.
    fn append_some(&mut self, lines: &[&[u8]]) -> io::Result<(usize, io::Result<()>)> {
        let mut size = self.size()?;
        let limit = self.rotate.unwrap_or(u64::MAX);
        if size > 0 && size.saturating_add(lines[0].len() as u64) > limit {
            self.rotate()?;
            size = self.size()?;
        }
        let mut text = lines[0].to_vec();
        let mut ends = vec![text.len()];
        for line in &lines[1..] {
            if size.saturating_add((text.len() + line.len()) as u64) > limit {
                break;
            }
            text.extend_from_slice(line);
            ends.push(text.len());
        }
        let file = self.file()?;
        Ok(write_whole(file, size, &text, &ends))
    }

    /// Size of the file, which is opened, or opened anew if another program has moved it.
    fn size(&mut self) -> io::Result<u64> {
        if let Some(file) = &self.open {
            let ours = file.metadata()?;
            let there = fs::symlink_metadata(&self.path);
            let same = |there: fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
            if there.is_ok_and(same) {
                return Ok(ours.len());
            }
            self.open = None;
        }
        self.file()?.metadata().map(|metadata| metadata.len())
    }

    fn file(&mut self) -> io::Result<&mut File> {
        match self.open {
            Some(ref mut file) => Ok(file),
            None => Ok(self.open.insert(open(&self.path)?)),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(format!(".{number}"));
        path.into()
    }
}

/// Opens the file, never through a link in its place, and ends a line that a crash has cut.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        // Without waiting for somebody to read, should it be a pipe.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// Writes text that is to begin at `size`; `ends`: where its lines end. What was written of a
/// line that did not fit is taken back.
fn write_whole(file: &mut File, size: u64, text: &[u8], ends: &[usize]) -> (usize, io::Result<()>) {
    let (written, result) = write_most(file, text);
    let whole = ends.partition_point(|end| *end <= written);
    let kept = whole.checked_sub(1).map_or(0, |last| ends[last]);
    if written == kept {
        return (whole, result);
    }
    let taken_back = file.set_len(size + kept as u64);
    (whole, result.and(taken_back))
}

fn write_most(file: &mut File, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < text.len() {
        match file.write(&text[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}
