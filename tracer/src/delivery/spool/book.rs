//! Which notices are in a spool, and where: what waits is added, what is done with is marked, and
//! the bound in bytes is kept.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, BufRead, Read as _},
    sync::Arc,
};

use super::format::{DONE, HEAD, NAME, Piece, read, record};
use crate::alerts::Notice;

/// Bytes of records that are done with for which no file is written anew.
const SLACK: u64 = 64 << 10;

/// Bytes that outlive the process.
pub(super) trait Medium: Send {
    /// All of it, from the beginning.
    fn text(&mut self) -> io::Result<Box<dyn BufRead + '_>>;

    /// Adds bytes behind the first `at`; if that fails, nothing of them stays.
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes bytes over others.
    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Leaves only the first bytes.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;

    /// Has what was added outlive the machine, too.
    fn sync(&mut self) -> io::Result<()>;

    /// Puts all of these in the place of what is there, at once.
    fn replace(&mut self, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()>;

    /// Whether somebody has removed it.
    fn is_gone(&self) -> bool;
}

#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    bytes: u64,
}

/// What was in a spool when it was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Notices that wait, in order.
    pub(super) notices: Vec<Arc<Notice>>,
    /// Records that were damaged.
    pub(super) damaged: u64,
    /// Records beyond a bound: the oldest.
    pub(super) beyond: u64,
    places: Vec<Place>,
}

/// A spool that is open.
pub(super) struct Book {
    medium: Box<dyn Medium>,
    /// Most bytes of what waits.
    most: u64,
    /// What waits, by its place in the order.
    places: BTreeMap<u64, Place>,
    /// Bytes of it.
    held: u64,
    /// Where the text ends.
    end: u64,
    /// What waits and is not in it: too long, or given up while it was sent.
    left_out: BTreeSet<u64>,
    /// It has what an earlier run left, and is lost: another run would count it again.
    is_untidy: bool,
}

impl Book {
    /// Reads what is there: at most so many bytes and notices of it, the latest. What is damaged
    /// is skipped.
    ///
    /// # Errors
    /// If it cannot be read, or is no spool; then it is as it was.
    pub(super) fn open(
        mut medium: Box<dyn Medium>,
        most: u64,
        notices: usize,
    ) -> io::Result<(Self, Found)> {
        begin(&mut *medium)?;
        let mut found = Found::default();
        let mut latest = VecDeque::new();
        let mut held = 0;
        let mut text = medium.text()?;
        io::copy(&mut (&mut text).take(HEAD.len() as u64), &mut io::sink())?;
        let end = read(text, |piece| {
            match piece {
                Piece::Damaged => found.damaged += 1,
                Piece::Waits { at, bytes, notice } => {
                    held += bytes;
                    latest.push_back((Place { at, bytes }, notice));
                }
            }
            while (held > most || latest.len() > notices)
                && let Some((place, _)) = latest.pop_front()
            {
                held -= place.bytes;
                found.beyond += 1;
            }
        })?;
        (found.places, found.notices) = latest.into_iter().unzip();
        let book = Self {
            medium,
            most,
            places: BTreeMap::new(),
            held: 0,
            end,
            left_out: BTreeSet::new(),
            is_untidy: found.damaged + found.beyond > 0,
        };
        Ok((book, found))
    }

    /// What was found is at these places in the order.
    pub(super) fn numbered(&mut self, found: &Found, numbers: &[u64]) {
        let places = numbers.iter().copied().zip(found.places.iter().copied());
        self.places.extend(places);
        self.held = self.places.values().map(|place| place.bytes).sum();
    }

    /// Whether somebody has removed it.
    pub(super) fn is_gone(&self) -> bool {
        self.medium.is_gone()
    }

    /// The places in the order of what is in it.
    pub(super) fn numbers(&self) -> BTreeSet<u64> {
        self.places.keys().copied().collect()
    }

    /// Has it hold what waits now, all of it in order, and nothing else. Puts into `given_up`
    /// what goes for want of room, the oldest.
    ///
    /// # Errors
    /// If it cannot be written; then it holds a part of it, and this may be tried again.
    pub(super) fn keep(
        &mut self,
        waiting: &[(u64, Arc<Notice>)],
        given_up: &mut Vec<u64>,
    ) -> io::Result<()> {
        let present: BTreeSet<u64> = waiting.iter().map(|(number, _)| *number).collect();
        self.left_out.retain(|number| present.contains(number));
        self.strike(&present)?;
        if self.is_untidy {
            self.write_anew(waiting)?;
        }
        let mut is_more = false;
        for (number, notice) in waiting {
            if !self.places.contains_key(number) && !self.left_out.contains(number) {
                self.add(*number, notice, given_up)?;
                is_more = true;
                // Also while much goes for want of room.
                self.tidy(waiting)?;
            }
        }
        if is_more {
            self.medium.sync()?;
        }
        self.tidy(waiting)
    }

    /// Writes it anew, if most of it is done with.
    fn tidy(&mut self, waiting: &[(u64, Arc<Notice>)]) -> io::Result<()> {
        let done = (self.end - HEAD.len() as u64).saturating_sub(self.held);
        if done > self.held + SLACK {
            self.write_anew(waiting)?;
        }
        Ok(())
    }

    /// Marks what does not wait any more.
    fn strike(&mut self, present: &BTreeSet<u64>) -> io::Result<()> {
        let done = self
            .places
            .keys()
            .filter(|number| !present.contains(number));
        let done: Vec<u64> = done.copied().collect();
        if done.len() == self.places.len() {
            // Also what was damaged, or beyond a bound.
            if self.end > HEAD.len() as u64 {
                self.medium.truncate(HEAD.len() as u64)?;
                self.end = HEAD.len() as u64;
            }
            self.places.clear();
            (self.held, self.is_untidy) = (0, false);
            return Ok(());
        }
        done.into_iter().try_for_each(|number| self.mark(number))
    }

    fn mark(&mut self, number: u64) -> io::Result<()> {
        if let Some(place) = self.places.get(&number) {
            self.medium.overwrite(place.at, DONE)?;
            self.held -= place.bytes;
            self.places.remove(&number);
        }
        Ok(())
    }

    fn add(&mut self, number: u64, notice: &Notice, given_up: &mut Vec<u64>) -> io::Result<()> {
        let Some(record) = record(notice) else {
            self.left_out.insert(number);
            return Ok(());
        };
        let bytes = record.len() as u64;
        while self.held + bytes > self.most
            && let Some((&oldest, _)) = self.places.first_key_value()
        {
            self.mark(oldest)?;
            self.left_out.insert(oldest);
            given_up.push(oldest);
        }
        self.medium.append(self.end, &record)?;
        self.places.insert(
            number,
            Place {
                at: self.end,
                bytes,
            },
        );
        self.held += bytes;
        self.end += bytes;
        Ok(())
    }

    /// Without what is done with.
    fn write_anew(&mut self, waiting: &[(u64, Arc<Notice>)]) -> io::Result<()> {
        let mut places = BTreeMap::new();
        let mut end = HEAD.len() as u64;
        let kept = waiting
            .iter()
            .filter(|(number, _)| self.places.contains_key(number));
        let records = kept.filter_map(|(number, notice)| {
            let record = record(notice)?;
            let bytes = record.len() as u64;
            places.insert(*number, Place { at: end, bytes });
            end += bytes;
            Some(record)
        });
        let mut parts = std::iter::once(HEAD.to_vec()).chain(records);
        self.medium.replace(&mut parts)?;
        drop(parts);
        self.held = end - HEAD.len() as u64;
        (self.places, self.end, self.is_untidy) = (places, end, false);
        Ok(())
    }
}

/// Begins a spool where nothing is yet, or a beginning that was cut off.
fn begin(medium: &mut dyn Medium) -> io::Result<()> {
    let mut head = Vec::new();
    medium
        .text()?
        .take(HEAD.len() as u64)
        .read_to_end(&mut head)?;
    if head == HEAD {
        return Ok(());
    }
    if HEAD.starts_with(&head) {
        medium.truncate(0)?;
        return medium.append(0, HEAD);
    }
    let wrong = if head.starts_with(NAME) {
        "it is of a version that this sockpick does not read; move it away, or name another"
    } else {
        "it is no spool, and is left as it is; move it away, or name another file"
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, wrong))
}

#[cfg(test)]
mod tests;
