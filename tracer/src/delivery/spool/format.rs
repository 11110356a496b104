//! The text of a spool: a head with the version, then a line a record. Pure.
//!
//! ```text
//! sockpick-spool 1
//! wait 000004d2 18d73a2c5f0e1a00 5b1f29ac {"occasion":"began", …}
//! ```
//!
//! A record has a mark, which is written over when it is done with; the length of its body; its
//! time, in nanoseconds since 1970; and a checksum of all that is behind the mark. Numbers are
//! hexadecimal. The body is a notice as JSON, which has no newline in it: so that behind damage
//! the next line is a beginning again.
#![forbid(unsafe_code)]

use std::{
    io::{self, BufRead, Read as _},
    sync::Arc,
};

use crate::alerts::{Evidence, Notice};

/// How a spool begins, whatever its version.
pub(super) const NAME: &[u8] = b"sockpick-spool ";
/// How one of the only version begins that is written and read.
pub(super) const HEAD: &[u8] = b"sockpick-spool 1\n";
/// Most bytes of a record.
pub(super) const LONGEST: usize = 256 << 10;

/// The mark of a record that waits.
const WAIT: &[u8] = b"wait ";
/// The mark of one that is done with: in no byte the same, so that damage to one of them does not
/// make a record be taken for done.
pub(super) const DONE: &[u8] = b"done ";
/// Bytes of a record before its body.
const FRAME: usize = "wait 00000000 0000000000000000 00000000 ".len();

/// The notice as a record: if it would be too long without the processes that hold the listeners;
/// `None`: it is too long all the same.
pub(super) fn record(notice: &Notice) -> Option<Vec<u8>> {
    written(notice).or_else(|| {
        let mut shorter = notice.clone();
        if let Evidence::Group(starvation) = &mut shorter.alert.evidence {
            starvation.forget_owners();
        }
        if let Evidence::Syn(sample) = &mut shorter.alert.evidence {
            (sample.owners, sample.expected_owners) = Default::default();
        }
        written(&shorter)
    })
}

fn written(notice: &Notice) -> Option<Vec<u8>> {
    // Strings, numbers and lists of them: JSON has a form for each.
    let body = serde_json::to_string(notice).ok()?;
    let length = body.len();
    let summed = format!("{length:08x} {:016x} ", notice.at.0);
    let sum = sum(summed.as_bytes(), body.as_bytes());
    let mut record = WAIT.to_vec();
    record.extend_from_slice(format!("{summed}{sum:08x} {body}\n").as_bytes());
    (record.len() <= LONGEST).then_some(record)
}

fn sum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

/// Something that was read.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// A record that waits.
    Waits {
        /// Where it begins, in bytes from the beginning of the file.
        at: u64,
        /// How long it is.
        bytes: u64,
        /// What it says.
        notice: Arc<Notice>,
    },
    /// A record that waited, and is damaged.
    Damaged,
}

/// Reads pieces of a spool, behind its head, and gives each to `take`. Says where the text ends.
/// Needs no more memory than a record has bytes.
///
/// # Errors
/// If reading fails.
pub(super) fn read(mut text: impl BufRead, mut take: impl FnMut(Piece)) -> io::Result<u64> {
    let mut at = HEAD.len() as u64;
    let mut line = Vec::new();
    let mut is_in_damage = false;
    loop {
        line.clear();
        // Two records whose newline is damaged are one line; what is longer is passed over in
        // pieces.
        let mut part = text.by_ref().take(2 * LONGEST as u64);
        if part.read_until(b'\n', &mut line)? == 0 {
            return Ok(at);
        }
        let mut begin = 0;
        while begin < line.len() {
            let rest = &line[begin..];
            let Some((bytes, piece)) = whole(rest, at + begin as u64) else {
                // Of what comes behind damage only what begins as a record is another one.
                if !rest.starts_with(DONE) && (!is_in_damage || rest.starts_with(WAIT)) {
                    take(Piece::Damaged);
                }
                is_in_damage = true;
                break;
            };
            is_in_damage = false;
            piece.into_iter().for_each(&mut take);
            begin += bytes;
        }
        at += line.len() as u64;
    }
}

/// The record that this begins with, and its bytes; without a piece if it is done with.
fn whole(text: &[u8], at: u64) -> Option<(usize, Option<Piece>)> {
    let (mark, rest) = text.split_at_checked(WAIT.len())?;
    let frame = rest.get(..FRAME - WAIT.len())?;
    let length = usize::try_from(number(frame, 0..8)?).ok()?;
    let end = FRAME.checked_add(length)?;
    let body = text.get(FRAME..end)?;
    let is_spaced = [8, 25, 34].iter().all(|place| frame[*place] == b' ');
    if !is_spaced || number(frame, 26..34)? != u64::from(sum(&frame[..26], body)) {
        return None;
    }
    // The newline, whatever became of it; the next record is none.
    let bytes = match text.get(end) {
        Some(b'w' | b'd') | None => end,
        Some(_) => end + 1,
    };
    if mark == DONE {
        return Some((bytes, None));
    }
    let piece = match serde_json::from_slice(body).map(Arc::new) {
        Ok(notice) => Piece::Waits {
            at,
            bytes: bytes as u64,
            notice,
        },
        Err(_) => Piece::Damaged,
    };
    Some((bytes, Some(piece)))
}

fn number(frame: &[u8], digits: std::ops::Range<usize>) -> Option<u64> {
    let digits = frame.get(digits)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests;
