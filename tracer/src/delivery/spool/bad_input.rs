//! Spools, damaged: each is read or refused, and what is read is written again as the same.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    book::Book,
    fixtures::{Memory, text},
    format::{DONE, HEAD},
};
use crate::{alerts::Notice, damaged::damaged};

const WORDS: [&str; 14] = [
    "\n",
    "\0",
    " ",
    "wait ",
    "done ",
    "\nwait ",
    "\ndone ",
    "sockpick-spool 1\n",
    "sockpick-spool 2\n",
    "ffffffff ",
    "ffffffffffffffff ",
    "wait 00000000 0000000000000000 00000000 \n",
    "{}",
    "\u{ff}",
];

fn real() -> Vec<Vec<u8>> {
    let few: Vec<u8> = (0..3).flat_map(text).collect();
    let mut done = text(7);
    done[..DONE.len()].copy_from_slice(DONE);
    [few.clone(), [done, few].concat(), Vec::new()]
        .map(|records| [HEAD, &records].concat())
        .to_vec()
}

fn opened(memory: &Memory) -> Option<(Book, Vec<Arc<Notice>>, u64)> {
    let (mut book, found) = Book::open(memory.open(), 1 << 20, 100).ok()?;
    let numbers: Vec<u64> = (0..).take(found.notices.len()).collect();
    book.numbered(&found, &numbers);
    Some((book, found.notices, found.damaged))
}

proptest! {
    #[test]
    fn a_damaged_spool_is_read_or_refused(bytes in damaged(real(), &WORDS)) {
        let memory = Memory::of(&bytes);
        let Some((mut book, found, damaged)) = opened(&memory) else {
            prop_assert_eq!(memory.bytes(), bytes);
            return Ok(());
        };
        prop_assert!(damaged <= bytes.len() as u64);
        let waiting: Vec<_> = (0..).zip(found.iter().cloned()).collect();
        let mut given_up = Vec::new();
        book.keep(&waiting, &mut given_up).expect("there is room");
        let (_, again, damaged) = opened(&Memory::of(&memory.bytes())).expect("it is a spool");
        let kept = &found[given_up.len()..];
        prop_assert_eq!(&again, kept);
        prop_assert_eq!(damaged, 0, "it is counted once");
    }
}
