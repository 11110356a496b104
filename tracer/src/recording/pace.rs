//! How fast a recording is replayed.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::settings::values::Speed;

/// Keeps the time that there was between records.
pub(crate) struct Pace {
    speed: Speed,
    /// When the first record was told, and its time.
    began: Option<(Instant, u64)>,
}

impl Pace {
    pub(crate) fn new(speed: Speed) -> Self {
        Self { speed, began: None }
    }

    /// Waits until it is time for a record of that time.
    pub(crate) fn wait(&mut self, ktime_ns: u64) {
        let Speed::Times(times) = self.speed else {
            return;
        };
        let (began, first_ns) = *self.began.get_or_insert((Instant::now(), ktime_ns));
        let after = Duration::from_nanos(ktime_ns.saturating_sub(first_ns));
        // What is slower than there is time for waits as long as there is.
        let due = Duration::try_from_secs_f64(after.as_secs_f64() / times);
        let due = due.unwrap_or(Duration::MAX);
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
}
