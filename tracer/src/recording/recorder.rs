//! Records a session: in one file, or in parts of a size, of which the last few are kept.

use std::{
    collections::VecDeque,
    fs::{self, File, Metadata},
    hash::{BuildHasher as _, RandomState},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{Asked, Frame, Header, Part, Position, writer::Writer};
use crate::{
    host::noted::Notes,
    pipeline::{End, Input},
    settings::values::Rotation,
};

/// A session that is being recorded.
pub struct Recorder {
    writer: Writer,
    notes: Notes,
    parts: Option<Parts>,
}

/// What a recording in several files needs to know.
struct Parts {
    rotation: Rotation,
    /// As the user named the first file.
    path: PathBuf,
    position: Position,
    /// Parts that are kept, the oldest first: their names, and what the system knows the files by.
    kept: VecDeque<(PathBuf, (u64, u64))>,
}

impl Recorder {
    /// Begins a file, or a row of them. `notes` has the answers to what is written.
    ///
    /// # Errors
    /// If the file, or a later part of an earlier recording, is there already, or it cannot be
    /// written.
    pub fn begin(
        path: &Path,
        header: Header,
        notes: Notes,
        rotation: Option<Rotation>,
    ) -> Result<Self> {
        let parts = rotation.map(|rotation| Parts {
            rotation,
            path: path.to_owned(),
            position: Position {
                session: RandomState::new().hash_one(header.began),
                number: 1,
                ..Position::default()
            },
            kept: VecDeque::new(),
        });
        let first = match &parts {
            None => Frame::Header(Box::new(header)),
            Some(parts) => {
                parts.none_is_there()?;
                parts.first(header)
            }
        };
        let writer = Writer::begin(path, &first)?;
        Ok(Self {
            writer,
            notes,
            parts,
        })
    }

    /// What the pipeline took, after it has.
    ///
    /// # Errors
    /// If the file takes no more: what was written before is kept.
    pub fn input(&mut self, input: &Input) -> Result<()> {
        let ends_batch = matches!(input, Input::Counted(_));
        let asked = self.asked(input.clone(), ends_batch);
        self.writer.put(&Frame::Input(asked))
    }

    /// How the session ended, after the pipeline has.
    ///
    /// # Errors
    /// As [`Recorder::input`].
    pub fn end(&mut self, end: &End) -> Result<()> {
        let asked = self.asked(end.clone(), true);
        self.writer.put(&Frame::End(asked))
    }

    /// Whether the next batch is to begin a part.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let size = self.parts.as_ref().map(|parts| parts.rotation.bytes);
        size.is_some_and(|size| self.writer.bytes() >= size)
    }

    /// Begins the next part, between two batches. `now` has what was counted, and how long it
    /// took; its session and number do not matter.
    ///
    /// # Errors
    /// If the part cannot be written, or the oldest not be removed.
    pub fn next_part(&mut self, header: Header, now: Position) -> Result<()> {
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        let before = (self.writer.path().to_owned(), name_of(self.writer.file())?);
        self.writer.put(&Frame::Continued)?;
        parts.position = Position {
            session: parts.position.session,
            number: parts.position.number.saturating_add(1),
            ..now
        };
        let path = part(&parts.path, parts.position.number);
        self.writer = Writer::begin(&path, &parts.first(header))?;
        // Whoever begins with this part knows no earlier answer.
        self.notes.forget();
        parts.kept.push_back(before);
        parts.remove_old()
    }

    fn asked<T>(&self, to: T, ends_batch: bool) -> Asked<T> {
        let (starts_afresh, notes) = self.notes.take(ends_batch);
        Asked {
            starts_afresh,
            notes,
            to,
        }
    }
}

impl Parts {
    fn first(&self, header: Header) -> Frame {
        Frame::Part(Box::new(Part {
            header,
            position: self.position,
        }))
    }

    /// Removes the oldest parts beyond those to be kept; a file that somebody else put in the
    /// place of one stays.
    fn remove_old(&mut self) -> Result<()> {
        let keep = self.rotation.keep.map_or(usize::MAX, |keep| keep as usize);
        while self.kept.len() > keep
            && let Some((path, name)) = self.kept.pop_front()
        {
            let is_it = fs::symlink_metadata(&path).is_ok_and(|there| numbers(&there) == name);
            if is_it {
                let removed = fs::remove_file(&path);
                let shown = path.display();
                removed.with_context(|| format!("cannot remove {shown}, an old part"))?;
            }
        }
        Ok(())
    }

    /// Refuses to begin where a later part could not be written: hours later is too late.
    fn none_is_there(&self) -> Result<()> {
        let folder = self.path.parent().filter(|path| *path != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        // Who may not list the folder is told when a part cannot be written.
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        for name in names.map(|entry| entry.file_name()) {
            let number = number(&self.path, &folder.join(&name));
            if number.is_some() {
                bail!(
                    "{} is there already, a part of an earlier recording, and sockpick overwrites \
                     no file: give another name, or remove it",
                    folder.join(name).display()
                );
            }
        }
        Ok(())
    }
}

/// The file of a part: `night.zst`, `night.1.zst`, `night.2.zst`.
fn part(first: &Path, number: u32) -> PathBuf {
    if number <= 1 {
        return first.to_owned();
    }
    let (stem, end) = split(first);
    let mut name = stem.into_os_string();
    name.push(format!(".{}{end}", number - 1));
    name.into()
}

/// Which later part of `first` a path would be.
fn number(first: &Path, path: &Path) -> Option<u32> {
    let ((stem, end), name) = (split(first), path.file_name()?.to_str()?);
    let behind = name.strip_prefix(stem.file_name()?.to_str()?)?;
    let number = behind.strip_prefix('.')?.strip_suffix(end)?;
    number.parse().ok()
}

/// The name without the ending of a compressed file, and that.
fn split(path: &Path) -> (PathBuf, &'static str) {
    match path.extension() {
        Some(end) if end == "zst" => (path.with_extension(""), ".zst"),
        _ => (path.to_owned(), ""),
    }
}

fn name_of(file: &File) -> io::Result<(u64, u64)> {
    Ok(numbers(&file.metadata()?))
}

/// What the system knows a file by.
fn numbers(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_before_the_ending() {
        let plain = Path::new("/tmp/night");
        assert_eq!(part(plain, 1), plain);
        assert_eq!(part(plain, 2), Path::new("/tmp/night.1"));
        let packed = Path::new("night.zst");
        assert_eq!(part(packed, 11), Path::new("night.10.zst"));
        assert_eq!(number(packed, Path::new("./night.10.zst")), Some(10));
        for other in ["night.zst", "night.x.zst", "nights.1.zst", "night.1"] {
            assert_eq!(number(packed, Path::new(other)), None, "{other}");
        }
        assert_eq!(number(plain, Path::new("/tmp/night.1")), Some(1));
    }
}
