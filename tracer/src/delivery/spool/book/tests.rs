use proptest::prelude::*;

use super::*;
use crate::delivery::spool::{
    fixtures::{Memory, notice, serial, text, waiting},
    format::LONGEST,
};

const ROOMY: u64 = 1 << 30;

fn open(memory: &Memory) -> (Book, Found) {
    Book::open(memory.open(), ROOMY, usize::MAX).expect("it is a spool")
}

/// Notices at places of their own numbers.
fn all(serials: impl IntoIterator<Item = u32>) -> Vec<(u64, Arc<Notice>)> {
    let serials = serials.into_iter();
    serials
        .map(|serial| (u64::from(serial), notice(serial, 0)))
        .collect()
}

fn keep(book: &mut Book, serials: impl IntoIterator<Item = u32>) -> Vec<u64> {
    let mut given_up = Vec::new();
    book.keep(&all(serials), &mut given_up)
        .expect("there is room");
    given_up
}

fn found(memory: &Memory) -> Vec<u32> {
    let (_, found) = open(&Memory::of(&memory.bytes()));
    assert_eq!((found.damaged, found.beyond), (0, 0));
    found.notices.iter().map(|notice| serial(notice)).collect()
}

#[test]
fn another_run_finds_what_waits_in_order() {
    let memory = Memory::default();
    let (mut book, _) = open(&memory);
    keep(&mut book, 0..3);
    assert_eq!(found(&memory), [0, 1, 2]);
    keep(&mut book, [0, 2, 3]);
    assert_eq!(found(&memory), [0, 2, 3]);
    keep(&mut book, []);
    assert_eq!(memory.bytes(), HEAD, "nothing waits, and nothing stays");
    keep(&mut book, [4]);
    assert_eq!(found(&memory), [4]);
}

#[test]
fn a_run_goes_on_with_what_another_left() {
    let memory = Memory::default();
    keep(&mut open(&memory).0, 0..4);
    let (mut book, found_then) = open(&memory);
    book.numbered(&found_then, &[0, 1, 2, 3]);
    let before = memory.bytes().len();
    keep(&mut book, [2, 3, 8]);
    assert_eq!(
        memory.bytes().len(),
        before + text(8).len(),
        "none was written again"
    );
    assert_eq!(found(&memory), [2, 3, 8]);
}

#[test]
fn past_the_bound_in_bytes_the_oldest_go_first() {
    let memory = Memory::default();
    let room = 3 * text(10).len() as u64;
    let (mut book, _) = Book::open(memory.open(), room, usize::MAX).expect("a spool");
    assert_eq!(keep(&mut book, 10..15), [10, 11]);
    assert_eq!(found(&memory), [12, 13, 14]);
    // One that is being sent is there still, and does not come back.
    assert_eq!(keep(&mut book, 11..15), Vec::<u64>::new());
    assert_eq!(found(&memory), [12, 13, 14]);
}

#[test]
fn a_spool_with_less_room_than_before_keeps_the_latest() {
    let memory = Memory::default();
    keep(&mut open(&memory).0, 10..20);
    for (bytes, notices) in [(2 * text(10).len() as u64, 9), (ROOMY, 2)] {
        let copy = Memory::of(&memory.bytes());
        let (mut book, left) = Book::open(copy.open(), bytes, notices).expect("a spool");
        assert_eq!((left.beyond, left.notices.len()), (8, 2));
        book.numbered(&left, &[18, 19]);
        keep(&mut book, [18, 19]);
        assert_eq!(found(&copy), [18, 19], "and counts the others once");
    }
}

#[test]
fn what_is_damaged_is_counted_once() {
    let memory = Memory::default();
    keep(&mut open(&memory).0, 0..3);
    let mut bytes = memory.bytes();
    bytes[HEAD.len() + 60] ^= 1;
    let memory = Memory::of(&bytes);
    let (mut book, left) = open(&memory);
    assert_eq!(left.damaged, 1);
    book.numbered(&left, &[1, 2]);
    keep(&mut book, [1, 2]);
    assert_eq!(waiting(&memory.bytes()), (vec![1, 2], 0));
}

#[test]
fn a_full_disk_costs_nothing_that_was_kept_and_takes_the_rest_when_there_is_room() {
    let memory = Memory::default();
    let (mut book, _) = open(&memory);
    keep(&mut book, 0..2);
    memory.set_room(memory.bytes().len() + text(2).len() + 5);
    let mut given_up = Vec::new();
    let full = book
        .keep(&all(0..5), &mut given_up)
        .expect_err("it is full");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(found(&memory), [0, 1, 2]);
    // What is done with is marked all the same.
    book.keep(&all(1..5), &mut given_up)
        .expect_err("it is full");
    assert_eq!(found(&memory), [1, 2]);
    memory.set_room(usize::MAX);
    assert_eq!(keep(&mut book, 1..5), Vec::<u64>::new());
    assert_eq!(found(&memory), [1, 2, 3, 4]);
    assert!(given_up.is_empty());
}

#[test]
fn a_full_disk_can_always_be_emptied() {
    let memory = Memory::default();
    let (mut book, _) = open(&memory);
    keep(&mut book, 0..9);
    memory.set_room(0);
    keep(&mut book, []);
    assert_eq!(memory.bytes(), HEAD);
}

#[test]
fn a_file_of_something_else_is_left_as_it_is() {
    for (text, said) in [
        ("root:x:0:0", "it is no spool"),
        ("sockpick-alerts 1 00000000\n", "it is no spool"),
        ("sockpick-spool 2\nx", "version"),
        ("sockpick-spool 1 \n", "version"),
        ("sockpick-spool 1\r", "version"),
        ("\n", "it is no spool"),
    ] {
        let memory = Memory::of(text.as_bytes());
        let Err(error) = Book::open(memory.open(), ROOMY, 9) else {
            panic!("{text:?} is read");
        };
        assert!(error.to_string().contains(said), "{text:?}: {error}");
        assert_eq!(memory.bytes(), text.as_bytes());
    }
    for cut in 0..HEAD.len() {
        let memory = Memory::of(&HEAD[..cut]);
        assert!(open(&memory).1.notices.is_empty());
        assert_eq!(memory.bytes(), HEAD, "a beginning that a crash cut");
    }
}

#[test]
fn a_notice_that_is_too_long_is_left_out_and_the_others_are_kept() {
    let memory = Memory::default();
    let (mut book, _) = open(&memory);
    let mut waits = all(0..3);
    let mut long = (*waits[1].1).clone();
    long.alert.evidence = crate::alerts::Evidence::Check("x".repeat(LONGEST));
    waits[1].1 = Arc::new(long);
    book.keep(&waits, &mut Vec::new()).expect("there is room");
    assert_eq!(found(&memory), [0, 2]);
    assert_eq!(book.numbers(), [0, 2].into());
}

/// A receiver that is never done with all of it has the file written anew now and then.
#[test]
fn what_is_done_with_does_not_fill_the_disk() {
    let memory = Memory::default();
    let (mut book, _) = open(&memory);
    for last in 3..2000 {
        keep(&mut book, last - 3..last);
    }
    assert_eq!(found(&memory), [1996, 1997, 1998]);
    let most = SLACK as usize + 8 * text(1000).len();
    assert!(memory.most() <= most, "{} of {most}", memory.most());
}

/// After a disk was full for long, much may wait at once.
#[test]
fn however_much_there_is_at_once_the_file_stays_within_its_bounds() {
    let memory = Memory::default();
    let one = text(1000).len();
    let (mut book, _) = Book::open(memory.open(), 3 * one as u64, usize::MAX).expect("a spool");
    let gone: Vec<u64> = (1000..1997).collect();
    assert_eq!(keep(&mut book, 1000..2000), gone);
    assert_eq!(found(&memory), [1997, 1998, 1999]);
    let most = SLACK as usize + 8 * one;
    assert!(memory.most() <= most, "{} of {most}", memory.most());
}

proptest! {
    /// Whatever comes and goes, and whenever there is no room: another run finds what waits, or
    /// would if it could have been written, and none of it twice.
    #[test]
    fn the_file_has_what_the_queue_has(
        steps in proptest::collection::vec((0..4usize, any::<u16>(), prop::option::of(0..20_000usize)), 1..40),
    ) {
        let memory = Memory::default();
        let (mut book, _) = open(&memory);
        let mut present: Vec<u32> = Vec::new();
        let mut next = 0;
        for (more, gone, room) in steps {
            present.retain(|serial| gone & (1 << (serial % 16)) == 0);
            present.extend(next..next + more as u32);
            next += more as u32;
            memory.set_room(room.unwrap_or(usize::MAX));
            let mut given_up = Vec::new();
            let kept = book.keep(&all(present.iter().copied()), &mut given_up);
            let found = found(&memory);
            prop_assert!(given_up.is_empty());
            prop_assert!(found.is_sorted_by(|one, other| one < other));
            prop_assert!(found.iter().all(|serial| present.contains(serial)));
            let numbers: BTreeSet<u64> = found.iter().map(|serial| u64::from(*serial)).collect();
            prop_assert_eq!(&numbers, &book.numbers());
            match kept {
                Ok(()) => prop_assert_eq!(&found, &present),
                Err(_) => prop_assert!(room.is_some()),
            }
        }
    }
}
