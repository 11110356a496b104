use std::sync::Mutex;

use tokio::time::Instant;

use super::*;
use crate::{
    alerts::Occasion,
    delivery::{
        attempt::Failure,
        fixtures::{line, message},
        outbox::Lost,
    },
};

/// A server that is down until a time, and keeps a record of when it was asked.
#[derive(Clone, Default)]
struct Flaky {
    up_at: Option<Instant>,
    asked: Arc<Mutex<Vec<(Instant, usize)>>>,
    retry_after: Option<Duration>,
    is_final: bool,
}

impl Flaky {
    fn asked(&self) -> Vec<(Instant, usize)> {
        self.asked.lock().expect("no test panicked").clone()
    }
}

impl Send for Flaky {
    const BATCH: usize = 4;

    async fn send(&mut self, batch: &[Message], _: u64) -> Attempt {
        let now = Instant::now();
        self.asked
            .lock()
            .expect("no test panicked")
            .push((now, batch.len()));
        if self.up_at.is_some_and(|up| now < up) {
            return Attempt::failed(Failure {
                text: "it is down".to_owned(),
                retry_after: self.retry_after,
                is_final: self.is_final,
            });
        }
        Attempt::accepted(batch.len())
    }
}

fn begin(sink: &Flaky, limit: usize) -> Arc<Outbox> {
    let outbox = Arc::new(Outbox::new("test".to_owned(), limit, Lost::default()));
    let sink = sink.clone();
    tokio::spawn(run(Arc::clone(&outbox), sink, Backoff::new(3), None));
    outbox
}

async fn settled(outbox: &Outbox) {
    while outbox.stats().queued > 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_notice_is_sent_at_once_and_lines_together() {
    let (sink, start) = (Flaky::default(), Instant::now());
    let outbox = begin(&sink, 100);
    outbox.push(message(0, Occasion::Began));
    settled(&outbox).await;
    assert!(sink.asked()[0].0 - start < GATHER);
    for number in 0..3 {
        outbox.push(line(&number.to_string()));
        sleep(Duration::from_millis(5)).await;
    }
    settled(&outbox).await;
    let batches: Vec<usize> = sink.asked().iter().map(|(_, number)| *number).collect();
    assert_eq!(batches, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_not_waited_for() {
    let (sink, start) = (Flaky::default(), Instant::now());
    let outbox = begin(&sink, 100);
    for number in 0..2 * Flaky::BATCH {
        outbox.push(line(&number.to_string()));
    }
    settled(&outbox).await;
    let asked = sink.asked();
    assert_eq!(asked.len(), 2);
    assert!(
        asked.iter().all(|(at, _)| *at - start < GATHER),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_back_after_ten_minutes_gets_everything_within_another() {
    let start = Instant::now();
    let up_at = start + Duration::from_mins(10);
    let sink = Flaky {
        up_at: Some(up_at),
        ..Flaky::default()
    };
    let outbox = begin(&sink, 100);
    for number in 0..10 {
        outbox.push(message(number, Occasion::Began));
    }
    sleep(Duration::from_mins(9)).await;
    let stats = outbox.stats();
    assert_eq!((stats.queued, stats.accepted), (10, 0));
    assert_eq!(stats.last_error.as_deref(), Some("it is down"));
    settled(&outbox).await;
    let stats = outbox.stats();
    assert_eq!((stats.accepted, stats.dropped.sum()), (10, 0));
    assert_eq!(stats.last_error, None);
    assert_eq!(stats.retries, stats.sends.failed);
    // Five doublings, and then at least half a minute each.
    assert!((10..30).contains(&stats.sends.failed), "{stats:?}");
    let asked = sink.asked();
    assert!(asked.iter().all(|(_, number)| *number <= Flaky::BATCH));
    let back = asked
        .iter()
        .find(|(at, _)| *at >= up_at)
        .expect("asked again");
    assert!(back.0 - up_at <= Duration::from_mins(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_time_gets_it() {
    let start = Instant::now();
    let sink = Flaky {
        up_at: Some(start + Duration::from_millis(1)),
        retry_after: Some(Duration::from_secs(100)),
        ..Flaky::default()
    };
    let outbox = begin(&sink, 100);
    outbox.push(message(0, Occasion::Began));
    settled(&outbox).await;
    let asked = sink.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].0 - start >= Duration::from_secs(100));
}

#[tokio::test(start_paused = true)]
async fn closing_sends_what_waits_at_once_and_ends() {
    let start = Instant::now();
    let sink = Flaky {
        up_at: Some(start + Duration::from_secs(30)),
        ..Flaky::default()
    };
    let outbox = begin(&sink, 100);
    outbox.push(message(0, Occasion::Began));
    sleep(Duration::from_secs(31)).await;
    let asked_before = sink.asked().len();
    outbox.close(Instant::now() + Duration::from_secs(5));
    outbox.ended().await;
    assert!(
        start.elapsed() < Duration::from_secs(32),
        "it did not wait for its pause to end"
    );
    assert_eq!(sink.asked().len(), asked_before + 1);
    let stats = outbox.stats();
    assert_eq!(
        (stats.accepted, outbox.left().lost, stats.ended),
        (1, 0, true)
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_by_the_deadline_is_left_and_counted() {
    let start = Instant::now();
    let sink = Flaky {
        up_at: Some(start + Duration::from_hours(1)),
        ..Flaky::default()
    };
    let outbox = begin(&sink, 100);
    outbox.push(message(0, Occasion::Began));
    outbox.push(message(0, Occasion::Lasts));
    sleep(Duration::from_secs(1)).await;
    outbox.close(Instant::now() + Duration::from_secs(5));
    outbox.ended().await;
    assert_eq!(start.elapsed().as_secs(), 6);
    assert_eq!(outbox.left().lost, 2);
    outbox.push(message(1, Occasion::Began));
    let stats = outbox.stats();
    assert_eq!(
        (stats.dropped.notices, stats.dropped.repeats, stats.queued),
        (2, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_at_its_end_ends() {
    let sink = Flaky {
        up_at: Some(Instant::now() + Duration::from_hours(1)),
        is_final: true,
        ..Flaky::default()
    };
    let outbox = begin(&sink, 100);
    outbox.push(line("x"));
    outbox.ended().await;
    let stats = outbox.stats();
    assert!(stats.ended);
    assert_eq!((stats.dropped.lines, stats.retries), (1, 0));
    assert_eq!(stats.last_error.as_deref(), Some("it is down"));
}

struct Panicking;

impl Send for Panicking {
    const BATCH: usize = 1;

    async fn send(&mut self, _: &[Message], _: u64) -> Attempt {
        panic!("a sink with a mistake in it")
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_has_ended_and_says_so() {
    let outbox = Arc::new(Outbox::new("test".to_owned(), 4, Lost::default()));
    let backoff = Backoff::new(0);
    tokio::spawn(run(Arc::clone(&outbox), Panicking, backoff, None));
    outbox.push(line("x"));
    outbox.ended().await;
    assert_eq!(outbox.stats().dropped.lines, 1);
}
