//! The files to be replayed, in the order in which they were written.

use std::{
    collections::VecDeque,
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Result;
use rustc_hash::FxHashMap;

use super::progress::Progress;
use crate::{
    failure::Failure,
    recording::{Header, Position, reader::Reader},
    remark::remark,
};

/// A recording that is being read, or a part of one.
pub(crate) struct Open {
    /// For messages.
    pub(crate) name: String,
    pub(crate) reader: Reader,
    pub(crate) header: Header,
}

/// A file, and which part of a recording it is.
type Given = (PathBuf, Option<Position>);

/// Those that are left.
pub(crate) struct Files {
    left: VecDeque<Given>,
    /// The next one, if somebody looked at it already.
    peeked: Option<Open>,
    pub(crate) progress: Progress,
}

impl Files {
    /// Parts of one session stand in their order, whatever order they are given in. `alone`:
    /// nothing else is written to the terminal meanwhile.
    pub(crate) fn new(files: &[PathBuf], alone: bool) -> Self {
        let single = files.len() == 1;
        let given = files.iter().map(|file| {
            let position = if single { None } else { position(file) };
            (file.clone(), position)
        });
        Self {
            left: in_order(given.collect()).into(),
            peeked: None,
            progress: Progress::new(alone),
        }
    }

    /// Whether they are one recording: a single file, or parts without a gap.
    pub(crate) fn are_one(&self) -> bool {
        let positions = self.left.iter().map(|(_, position)| position);
        let mut pairs = positions.clone().zip(positions.skip(1));
        pairs.all(|(one, next)| one.zip(*next).is_some_and(|(one, next)| next.follows(&one)))
    }

    /// The next file.
    pub(crate) fn next(&mut self) -> Result<Option<Open>> {
        if let Some(open) = self.peeked.take() {
            return Ok(Some(open));
        }
        let Some((path, _)) = self.left.pop_front() else {
            return Ok(None);
        };
        let name = path.display().to_string();
        let (reader, header) = Reader::begin(self.open(&path)?, &name)?;
        Ok(Some(Open {
            name,
            reader,
            header,
        }))
    }

    /// The next file, if it is the part after this one.
    pub(crate) fn following(&mut self, before: Option<Position>) -> Result<Option<Open>> {
        self.peeked = self.next()?;
        let next = self.peeked.as_ref().and_then(|open| open.reader.position());
        let follows = next
            .zip(before)
            .is_some_and(|(next, before)| next.follows(&before));
        Ok(if follows { self.peeked.take() } else { None })
    }

    fn open(&mut self, path: &Path) -> Result<Box<dyn Read>> {
        if path == Path::new("-") {
            self.progress.begin(None);
            return Ok(Box::new(io::stdin()));
        }
        let file = open(path)?;
        let metadata = file.metadata().ok();
        let length = metadata.filter(Metadata::is_file).map(|there| there.len());
        let counted = self.progress.begin(length);
        Ok(Box::new(counted.over(file)))
    }
}

impl Open {
    /// Whether parts came before that are not among what is read.
    pub(crate) fn is_later(&self) -> bool {
        self.reader
            .position()
            .is_some_and(|position| position.is_later())
    }

    /// Says so if parts before are missing.
    pub(crate) fn tell_of_missing(&self) {
        if let Some(Position { number, .. }) = self.reader.position().filter(Position::is_later) {
            remark(format_args!(
                "{} is part {number} of a recording, and the part before it was not \
                 given: what was learned until then is not known (docs/recordings.md)",
                self.name
            ));
        }
    }

    /// Says that the next part is missing.
    pub(crate) fn tell_of_next(&self, position: Position) {
        remark(format_args!(
            "{} goes on in part {}, which was not given; what it has was used",
            self.name,
            position.number.saturating_add(1)
        ));
    }

    /// Says what is wrong with the end of the file, if something is; `done`: with what came before.
    pub(crate) fn tell_of_tear(&self, is_whole: bool, done: &str) {
        let name = &self.name;
        if let Some(torn) = self.reader.torn() {
            remark(format_args!(
                "{name} is torn {torn}; what came before was {done}"
            ));
        } else if !is_whole {
            remark(format_args!(
                "{name} ends before its session did (sockpick was killed, or still \
                 writes); what it has was {done}"
            ));
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        let shown = path.display();
        Failure::usage(format!("cannot read the recording {shown}: {error}")).into()
    })
}

/// Which part of a recording a file is. What is wrong with it is told when it is its turn.
fn position(path: &Path) -> Option<Position> {
    // Only what can be read twice.
    let file = open(path).ok()?;
    file.metadata().ok().filter(Metadata::is_file)?;
    let (reader, _) = Reader::begin(file, "").ok()?;
    reader.position()
}

/// Each file where it is given, but the parts of a session together where the first of them is.
fn in_order(mut files: Vec<Given>) -> Vec<Given> {
    let mut first: FxHashMap<u64, usize> = FxHashMap::default();
    for (at, (_, position)) in files.iter().enumerate() {
        if let Some(position) = position {
            first.entry(position.session).or_insert(at);
        }
    }
    let mut at = 0..;
    files.sort_by_cached_key(|(_, position)| {
        let at = at.next();
        match position {
            Some(position) => (first.get(&position.session).copied(), position.number),
            None => (at, 0),
        }
    });
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_together_and_in_their_order() {
        let part = |session, number| {
            Some(Position {
                session,
                number,
                ..Position::default()
            })
        };
        let files = ["a2", "x", "b1", "a1", "a10", "y"].map(PathBuf::from);
        let positions = [part(1, 2), None, part(2, 1), part(1, 1), part(1, 10), None];
        let given = files.into_iter().zip(positions).collect();
        let ordered = in_order(given).into_iter().map(|(file, _)| file);
        let expected = ["a1", "a2", "a10", "x", "b1", "y"];
        assert!(ordered.eq(expected.map(PathBuf::from)));
    }
}
