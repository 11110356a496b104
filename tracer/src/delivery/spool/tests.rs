mod run;

use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    fixtures::{Memory, notice, waiting},
    format::HEAD,
    *,
};
use crate::delivery::queue::Message;
use run::{BEGIN, HOUR, Receiver, Run, usual};

async fn a_second() {
    sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_back_after_ten_minutes_gets_all_in_order_and_nothing_stays() {
    let memory = Memory::default();
    let receiver = Receiver::down_for(Duration::from_mins(10));
    let run = Run::of(&memory, &receiver, &usual());
    for minute in 0..9 {
        run.push(minute * 3..minute * 3 + 3);
        sleep(Duration::from_mins(1)).await;
    }
    assert_eq!(waiting(&memory.bytes()), ((0..27).collect(), 0));
    sleep(Duration::from_mins(3)).await;
    assert_eq!(receiver.got(), (0..27).collect::<Vec<_>>());
    assert_eq!(memory.bytes(), HEAD);
    assert_eq!((run.stats().queued, run.lost.sum()), (0, 0));
    assert_eq!(run.end(Duration::from_secs(5)).await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn another_run_sends_what_waited_before_what_is_new() {
    let memory = Memory::default();
    let run = Run::of(&memory, &Receiver::down_for(HOUR), &usual());
    run.push(0..5);
    a_second().await;
    assert_eq!(run.end(Duration::from_secs(5)).await, (0, 5));
    let receiver = Receiver::up();
    let run = Run::of(&memory, &receiver, &usual());
    run.push(5..7);
    a_second().await;
    assert_eq!(receiver.got(), (0..7).collect::<Vec<_>>());
    assert_eq!(run.end(Duration::from_secs(5)).await, (0, 0));
    assert_eq!(memory.bytes(), HEAD);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_no_loss() {
    let memory = Memory::default();
    let run = Run::of(&memory, &Receiver::down_for(HOUR), &usual());
    run.push(0..5);
    a_second().await;
    let lost = run.lost.clone();
    run.end(Duration::from_secs(5)).await;
    assert_eq!(lost.sum(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_loses_nothing() {
    let memory = Memory::default();
    let run = Run::of(&memory, &Receiver::down_for(HOUR), &usual());
    run.push(0..5);
    a_second().await;
    let memory = run.kill(&memory);
    let receiver = Receiver::up();
    let run = Run::of(&memory, &receiver, &usual());
    a_second().await;
    assert_eq!(receiver.got(), [0, 1, 2, 3, 4]);
    // And once more, without anything that was sent.
    let memory = run.kill(&memory);
    let receiver = Receiver::up();
    let run = Run::of(&memory, &receiver, &usual());
    a_second().await;
    assert_eq!(receiver.got(), Vec::<u32>::new());
    drop(run);
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_took_without_saying_so_is_sent_once_more() {
    let memory = Memory::default();
    let receiver = Receiver::up();
    receiver.is_speechless.store(true, Ordering::Relaxed);
    let run = Run::of(&memory, &receiver, &usual());
    run.push(0..2);
    a_second().await;
    let memory = run.kill(&memory);
    receiver.is_speechless.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        let run = Run::of(&memory, &receiver, &usual());
        a_second().await;
        run.end(Duration::from_secs(5)).await;
    }
    let mut got = receiver.got();
    got.sort_unstable();
    assert_eq!(got, [0, 0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_thrown_away_and_counted_here_and_over_a_restart() {
    let memory = Memory::default();
    let age = SpoolSettings {
        age: HOUR,
        ..usual()
    };
    let run = Run::of(&memory, &Receiver::down_for(9 * HOUR), &age);
    run.push(0..3);
    sleep(HOUR / 2).await;
    run.push(3..5);
    sleep(HOUR / 2 + Duration::from_mins(2)).await;
    assert_eq!(waiting(&memory.bytes()), (vec![3, 4], 0));
    assert_eq!((run.lost.sum(), run.stats().dropped.notices), (3, 3));
    assert_eq!(run.end(Duration::from_secs(5)).await, (0, 2));
    let left = memory.bytes();
    for (minutes, got, lost) in [(89, vec![3, 4], 0), (91, vec![], 2)] {
        let (memory, receiver) = (Memory::of(&left), Receiver::up());
        let after = Duration::from_mins(minutes);
        let run = Run::later(after, &memory, &receiver, &age);
        a_second().await;
        assert_eq!((receiver.got(), run.lost.sum()), (got, lost));
        assert_eq!(memory.bytes(), HEAD);
        run.end(Duration::from_secs(5)).await;
    }
}

/// A host without a clock of its own begins in the past, and learns what time it is.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_makes_nothing_old_that_came_in_this_run() {
    let memory = Memory::default();
    let age = SpoolSettings {
        age: HOUR,
        ..usual()
    };
    let receiver = Receiver::down_for(HOUR / 2);
    let run = Run::of(&memory, &receiver, &age);
    run.outbox.push(Message::Notice(notice(1, 0)));
    sleep(HOUR / 2 + Duration::from_mins(2)).await;
    assert_eq!((receiver.got(), run.lost.sum()), (vec![1], 0));
    run.end(Duration::from_secs(5)).await;
}

/// A disk that answers nothing: the sink has waited for it once, and then goes on.
#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_stops_no_sink() {
    let memory = Memory::default();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let open: Open = {
        let (memory, released) = (memory.clone(), Mutex::new(released));
        Box::new(move || {
            let _ = released.lock().expect("no test panicked").recv();
            Ok(memory.open())
        })
    };
    let receiver = Receiver::up();
    let run = Run::opening(open, Duration::ZERO, &receiver, &usual());
    run.push([0]);
    // While a thread waits for the disk, time does not pass by itself.
    let pass = async |time| {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(time).await;
    };
    pass(PATIENCE / 2).await;
    pass(PATIENCE / 4).await;
    assert_eq!(receiver.got(), Vec::<u32>::new());
    pass(PATIENCE).await;
    pass(Duration::ZERO).await;
    assert_eq!(receiver.got(), [0]);
    drop(release);
    assert_eq!(run.end(Duration::from_secs(5)).await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn past_the_bound_in_bytes_the_oldest_are_thrown_away_and_counted() {
    let memory = Memory::default();
    let one = fixtures::text(10).len() as u64;
    let small = SpoolSettings {
        bytes: 10 * one,
        ..usual()
    };
    let receiver = Receiver::down_for(HOUR);
    let run = Run::of(&memory, &receiver, &small);
    for serial in 10..30 {
        run.push([serial]);
        a_second().await;
    }
    let kept: Vec<u32> = (20..30).collect();
    assert_eq!(waiting(&memory.bytes()), (kept.clone(), 0));
    assert_eq!((run.lost.sum(), run.stats().queued), (10, 10));
    sleep(HOUR + Duration::from_mins(2)).await;
    assert_eq!(receiver.got(), kept);
    run.end(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_no_sink_and_is_used_again_when_there_is_room() {
    let memory = Memory::default();
    memory.set_room(HEAD.len());
    let up = Receiver::up();
    let run = Run::of(&memory, &up, &usual());
    run.push(0..9);
    a_second().await;
    assert_eq!(up.got(), (0..9).collect::<Vec<_>>());
    run.end(Duration::from_secs(5)).await;

    let run = Run::of(&memory, &Receiver::down_for(HOUR), &usual());
    run.push(0..9);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(memory.bytes(), HEAD);
    assert_eq!(run.stats().queued, 9);
    memory.set_room(usize::MAX);
    sleep(AFTER_FAILURE + Duration::from_secs(1)).await;
    assert_eq!(waiting(&memory.bytes()), ((0..9).collect(), 0));
    memory.set_room(memory.bytes().len());
    run.push([9]);
    a_second().await;
    assert_eq!(run.end(Duration::from_secs(5)).await, (1, 9));
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_another_has_stops_no_sink_and_is_taken_when_it_is_free() {
    let memory = Memory::default();
    let run = Run::of(&memory, &Receiver::down_for(HOUR), &usual());
    run.push(0..2);
    a_second().await;
    run.end(Duration::from_secs(1)).await;
    let is_taken = Arc::new(AtomicBool::new(true));
    let open: Open = {
        let (memory, is_taken) = (memory.clone(), Arc::clone(&is_taken));
        Box::new(move || {
            if is_taken.load(Ordering::Relaxed) {
                return Err(io::Error::other("another sockpick has it"));
            }
            Ok(memory.open())
        })
    };
    let receiver = Receiver::up();
    let run = Run::opening(open, Duration::ZERO, &receiver, &usual());
    run.push([2]);
    a_second().await;
    assert_eq!(receiver.got(), [2]);
    is_taken.store(false, Ordering::Relaxed);
    sleep(AFTER_FAILURE).await;
    assert_eq!(receiver.got(), [2, 0, 1]);
    assert_eq!(memory.bytes(), HEAD);
    run.end(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_somebody_removes_is_begun_anew_with_what_waits() {
    let memory = Memory::default();
    let run = Run::of(&memory, &Receiver::down_for(HOUR), &usual());
    run.push(0..3);
    a_second().await;
    memory.remove();
    run.push([3]);
    a_second().await;
    assert_eq!(waiting(&memory.bytes()), (vec![0, 1, 2, 3], 0));
    assert_eq!(run.end(Duration::from_secs(1)).await, (0, 4));
}

#[tokio::test(start_paused = true)]
async fn damaged_records_are_counted_as_lost_and_the_others_sent() {
    let mut bytes = HEAD.to_vec();
    let now = notice(1, BEGIN);
    let record = format::record(&now).expect("short");
    bytes.extend(record.repeat(2));
    bytes[HEAD.len() + 50] ^= 4;
    bytes.truncate(bytes.len() - 2);
    bytes.extend(b"}\nwait 0000");
    let receiver = Receiver::up();
    let memory = Memory::of(&bytes);
    let run = Run::of(&memory, &receiver, &usual());
    a_second().await;
    assert_eq!(receiver.got(), [1]);
    assert_eq!((run.lost.sum(), run.stats().dropped.notices), (2, 2));
    assert_eq!(memory.bytes(), HEAD);
    run.end(Duration::from_secs(1)).await;
}

/// A disk that is in time for nothing any more must not be taken for one with nothing on it.
#[tokio::test(start_paused = true)]
async fn what_has_ended_is_not_taken_to_be_sent() {
    let memory = Memory::default();
    let run = Run::of(&memory, &Receiver::down_for(HOUR), &usual());
    run.push(0..3);
    a_second().await;
    let before = memory.bytes();
    run.outbox.end();
    run.outbox.push(Message::Notice(notice(4, BEGIN)));
    // It is looked at again when the first of it is too old.
    sleep(25 * HOUR).await;
    assert_eq!(memory.bytes(), before);
}

#[test]
fn a_failure_is_told_with_its_remedy() {
    for (error, remedy) in [
        (
            io::Error::from_raw_os_error(libc::ENOSPC),
            "; make room there",
        ),
        (
            io::Error::from_raw_os_error(libc::ENOENT),
            "; make its directory",
        ),
        (
            io::Error::from_raw_os_error(libc::EROFS),
            "; name a file that sockpick may write",
        ),
    ] {
        assert!(told(&error).contains(remedy), "{}", told(&error));
    }
}
