//! How long a sink waits after a failure. Pure: what is random is passed in.
#![forbid(unsafe_code)]

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Least wait after the first failure, before jitter.
const FIRST: Duration = Duration::from_secs(1);

/// Longest wait that sockpick chooses itself.
const LONGEST: Duration = Duration::from_mins(1);

/// Longest wait that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// Twice as long after each failure, up to a minute; between half of it and all, so that hosts
/// that failed together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    state: u64,
}

impl Backoff {
    /// Nothing has failed. `seed`: anything that differs between hosts and sinks.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            state: seed,
        }
    }

    /// The same with a seed of its own.
    pub(crate) fn seeded() -> Self {
        Self::new(RandomState::new().hash_one(0))
    }

    /// Something was accepted.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure. `asked`: how long the server asks for at least.
    pub(crate) fn after_failure(&mut self, asked: Option<Duration>) -> Duration {
        let doublings = 2u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        let half = FIRST.saturating_mul(doublings).min(LONGEST) / 2;
        let wait = half + half.mul_f64(self.fraction());
        wait.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    /// From 0 to 1: splitmix64.
    fn fraction(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_success() {
        let mut backoff = Backoff::new(1);
        for whole in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = backoff.after_failure(None);
            let whole = Duration::from_secs(whole);
            assert!((whole / 2..=whole).contains(&wait), "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.after_failure(None) <= FIRST);
    }

    #[test]
    fn thousands_of_failures_wait_no_longer() {
        let mut backoff = Backoff::new(7);
        for _ in 0..10_000 {
            assert!(backoff.after_failure(None) <= LONGEST);
        }
    }

    #[test]
    fn a_server_may_ask_for_more_but_not_for_any_time() {
        let mut backoff = Backoff::new(1);
        let asked = Duration::from_secs(90);
        assert_eq!(backoff.after_failure(Some(asked)), asked);
        let day = Duration::from_hours(24);
        assert_eq!(backoff.after_failure(Some(day)), LONGEST_ASKED);
        assert!(backoff.after_failure(Some(Duration::ZERO)) >= FIRST);
    }

    #[test]
    fn two_seeds_wait_differently() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            [(); 4].map(|()| backoff.after_failure(None))
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1));
    }
}
