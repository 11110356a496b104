//! Counts alerts over a scenario: how many there had to be, were missed, were false.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::{WantVerdict, is_alert};

static EXPECTED: AtomicU64 = AtomicU64::new(0);
static MISSED: AtomicU64 = AtomicU64::new(0);
static FALSE: AtomicU64 = AtomicU64::new(0);
static OWNERS: AtomicU64 = AtomicU64::new(0);

/// Begins the line that a scenario, and a run of many, says them in.
pub(crate) const MARK: &str = "ALERTS ";

/// The counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alerts {
    pub(crate) expected: u64,
    pub(crate) missed: u64,
    pub(crate) wrong: u64,
    /// Processes named as owners that were none.
    pub(crate) owners: u64,
}

/// Counts one event.
pub(crate) fn count(want: &WantVerdict, said: &str) {
    let wanted = |(verdict, _): &(&str, Option<&str>)| is_alert(verdict);
    let must = !want.any_of.is_empty() && want.any_of.iter().all(wanted);
    let may = want.any_of.iter().any(wanted);
    if must {
        EXPECTED.fetch_add(1, Ordering::Relaxed);
    }
    if must && !is_alert(said) {
        MISSED.fetch_add(1, Ordering::Relaxed);
    }
    if !may && is_alert(said) {
        FALSE.fetch_add(1, Ordering::Relaxed);
    }
}

/// An alert that had to come and has no event at all.
pub(crate) fn missed() {
    EXPECTED.fetch_add(1, Ordering::Relaxed);
    MISSED.fetch_add(1, Ordering::Relaxed);
}

/// So many owners were named wrongly.
pub(crate) fn wrong_owners(count: u64) {
    OWNERS.fetch_add(count, Ordering::Relaxed);
}

impl Alerts {
    /// What was counted in this process.
    pub(crate) fn counted() -> Self {
        Self {
            expected: EXPECTED.load(Ordering::Relaxed),
            missed: MISSED.load(Ordering::Relaxed),
            wrong: FALSE.load(Ordering::Relaxed),
            owners: OWNERS.load(Ordering::Relaxed),
        }
    }

    /// Reads the line that [`std::fmt::Display`] writes.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(MARK)?.split_whitespace();
        let mut number = |name: &str| -> Option<u64> {
            let value = words.next()?.strip_prefix(name)?;
            value.strip_prefix('=')?.parse().ok()
        };
        Some(Self {
            expected: number("expected")?,
            missed: number("missed")?,
            wrong: number("false")?,
            owners: number("wrong_owners")?,
        })
    }

    /// Adds another scenario's.
    pub(crate) fn add(&mut self, other: Self) {
        self.expected += other.expected;
        self.missed += other.missed;
        self.wrong += other.wrong;
        self.owners += other.owners;
    }
}

impl std::fmt::Display for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            expected,
            missed,
            wrong,
            owners,
        } = self;
        write!(
            f,
            "{MARK}expected={expected} missed={missed} false={wrong} wrong_owners={owners}"
        )
    }
}
