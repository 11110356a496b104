use proptest::prelude::*;

use super::*;
use crate::{
    alerts::Occasion,
    delivery::{
        fixtures,
        spool::fixtures::{notice, notices, serial, text, waiting},
    },
    event::Owner,
};

/// A spool with these records; those that are marked are done with.
fn spool(records: &[bool]) -> Vec<u8> {
    let mut spool = HEAD.to_vec();
    for (serial, is_done) in records.iter().enumerate() {
        let mut record = text(u32::try_from(serial).expect("few"));
        if *is_done {
            record[..DONE.len()].copy_from_slice(DONE);
        }
        spool.extend(record);
    }
    spool
}

#[test]
fn every_notice_is_read_as_it_was_written() {
    let notices = [
        fixtures::notice(0, Occasion::Began),
        fixtures::notice(1, Occasion::Ended),
        fixtures::overflow(),
        fixtures::finding(),
        fixtures::blind(),
        Arc::unwrap_or_clone(notice(1, -1)),
    ];
    let text: Vec<u8> = notices
        .iter()
        .flat_map(|one| record(one).expect("short"))
        .collect();
    let mut found = Vec::new();
    read(&*text, |piece| found.push(piece)).expect("memory");
    let found = found.into_iter().map(|piece| match piece {
        Piece::Waits { notice, .. } => Arc::unwrap_or_clone(notice),
        Piece::Damaged => panic!("nothing is damaged"),
    });
    assert_eq!(found.collect::<Vec<_>>(), notices);
}

#[test]
fn a_record_is_a_line_that_people_can_read() {
    let text = String::from_utf8(text(7)).expect("it is text");
    let (frame, body) = text.split_at(FRAME);
    let words: Vec<&str> = frame.split(' ').collect();
    assert_eq!(words[0], "wait");
    assert_eq!(usize::from_str_radix(words[1], 16), Ok(body.len() - 1));
    assert!(body.starts_with("{\"occasion\":\"began\"") && body.ends_with("}\n"));
    assert_eq!(text.lines().count(), 1);
    assert!(HEAD.starts_with(NAME));
}

#[test]
fn what_is_done_with_is_not_read() {
    assert_eq!(
        waiting(&spool(&[true, false, true, false])),
        (vec![1, 3], 0)
    );
    assert_eq!(waiting(HEAD), (Vec::new(), 0));
}

#[test]
fn a_mark_that_was_cut_off_in_the_middle_is_none() {
    for cut in 0..DONE.len() {
        let mut spool = spool(&[false, false]);
        let at = HEAD.len();
        spool[at..at + cut].copy_from_slice(&DONE[..cut]);
        let read = if cut < 4 { vec![0, 1] } else { vec![1] };
        assert_eq!(waiting(&spool), (read, 0), "{cut}");
    }
}

#[test]
fn two_damaged_records_beside_each_other_are_two() {
    let mut spool = spool(&[false; 4]);
    let length = text(0).len();
    for record in [1, 2] {
        spool[HEAD.len() + record * length + 100] ^= 1;
    }
    assert_eq!(waiting(&spool), (vec![0, 3], 2));
}

#[test]
fn a_notice_that_is_too_long_goes_without_its_processes_or_not_at_all() {
    let mut long = fixtures::notice(0, Occasion::Began);
    let Evidence::Syn(sample) = &mut long.alert.evidence else {
        panic!("it is about a SYN");
    };
    sample.owners = vec![Owner::default(); 20_000].into();
    let written = record(&long).expect("without them");
    assert!(written.len() < 4096);
    long.alert.evidence = Evidence::Check("x".repeat(LONGEST));
    assert_eq!(record(&long), None);
}

#[test]
fn what_has_no_newline_is_passed_over_in_pieces() {
    let mut spool = spool(&[false]);
    spool.extend(b"wait ".iter().cycle().take(5 * LONGEST));
    spool.extend(b"\n");
    spool.extend(text(1));
    let (found, damaged) = waiting(&spool);
    assert_eq!(found, [0, 1]);
    assert!((1..=3).contains(&damaged), "{damaged}");
}

proptest! {
    /// Only whole true records come back, in order, and the rest is counted.
    #[test]
    fn a_spool_that_is_cut_gives_what_is_whole(
        records in proptest::collection::vec(any::<bool>(), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = spool(&records);
        let cut = HEAD.len() + cut.index(whole.len() - HEAD.len());
        let (found, damaged) = waiting(&whole[..cut]);
        let mut at = HEAD.len();
        let (mut kept, mut torn) = (Vec::new(), 0);
        for (serial, is_done) in (0..).zip(&records) {
            let end = at + text(serial).len();
            // Without its newline it is whole, too; cut within its mark it may be anything.
            match cut {
                cut if cut + 1 >= end && !is_done => kept.push(serial),
                cut if cut > at && cut < end - 1 && !is_done => torn += 1,
                cut if cut > at && cut < at + DONE.len() => torn += 1,
                _ => {}
            }
            at = end;
        }
        prop_assert_eq!((found, damaged), (kept, torn));
    }

    #[test]
    fn a_spool_with_a_byte_flipped_gives_the_others(
        records in proptest::collection::vec(any::<bool>(), 1..8),
        at in any::<prop::sample::Index>(),
        bits in 1u8..,
    ) {
        let mut spool = spool(&records);
        let at = HEAD.len() + at.index(spool.len() - HEAD.len());
        spool[at] ^= bits;
        let (found, damaged) = notices(&spool);
        for found in &found {
            prop_assert_eq!(found, &notice(serial(found), 0), "only what was written");
        }
        let found: Vec<u32> = found.iter().map(|notice| serial(notice)).collect();
        prop_assert!(found.is_sorted_by(|one, other| one < other));
        prop_assert!(found.iter().all(|serial| (*serial as usize) < records.len()));
        let waits = (0..).zip(&records).filter(|(_, is_done)| !**is_done);
        let missing = waits.filter(|(serial, _)| !found.contains(serial)).count();
        // Of one that was done with it may not be known any more that it was.
        prop_assert!(missing <= damaged && damaged <= 1, "{} of {}", damaged, missing);
    }
}
