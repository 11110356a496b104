//! How many tests passed, and reading that from what test programs print.

use std::fmt;
use std::ops::AddAssign;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Counts {
    pub(super) const ONE_PASS: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };

    pub(super) const ONE_FAILURE: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };

    /// Reads `N passed, N failed, N skipped`, alone on its line.
    pub(super) fn from_closing_line(line: &str) -> Option<Self> {
        let mut parts = line.trim_end().split(", ");
        let mut number = |word: &str| {
            let (number, found) = parts.next()?.split_once(' ')?;
            (found == word).then(|| number.parse().ok()).flatten()
        };
        let counts = Self {
            passed: number("passed")?,
            failed: number("failed")?,
            skipped: number("skipped")?,
        };
        parts.next().is_none().then_some(counts)
    }

    /// Reads a line of Rust's own test harness.
    pub(super) fn from_harness_line(line: &str) -> Option<Self> {
        let rest = line.trim_start().strip_prefix("test result: ")?;
        let (_, rest) = rest.split_once(". ")?;
        let number = |word: &str| {
            rest.split("; ").find_map(|part| {
                let (number, found) = part.split_once(' ')?;
                (found == word).then(|| number.parse().ok()).flatten()
            })
        };
        Some(Self {
            passed: number("passed")?,
            failed: number("failed")?,
            skipped: number("ignored")?,
        })
    }
}

/// Alerts that the ground truth asked for, and what differed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Alerts {
    pub(super) expected: u64,
    /// Not given.
    pub(super) missed: u64,
    /// Given, and should not have been.
    pub(super) wrong: u64,
    /// Processes named as owners of a listener that were none.
    pub(super) owners: u64,
}

impl Alerts {
    /// Reads `ALERTS expected=N missed=N false=N wrong_owners=N`.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("ALERTS ")?.split_whitespace();
        let mut number = |name: &str| {
            let (key, value) = words.next()?.split_once('=')?;
            (key == name).then(|| value.parse().ok()).flatten()
        };
        Some(Self {
            expected: number("expected")?,
            missed: number("missed")?,
            wrong: number("false")?,
            owners: number("wrong_owners")?,
        })
    }

    pub(super) fn all_right(self) -> bool {
        self.missed == 0 && self.wrong == 0 && self.owners == 0
    }
}

impl AddAssign for Alerts {
    fn add_assign(&mut self, other: Self) {
        self.expected += other.expected;
        self.missed += other.missed;
        self.wrong += other.wrong;
        self.owners += other.owners;
    }
}

impl fmt::Display for Alerts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            expected,
            missed,
            wrong,
            owners,
        } = self;
        write!(
            out,
            "ALERTS expected={expected} missed={missed} false={wrong} wrong_owners={owners}"
        )
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(out, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::{Alerts, Counts};

    #[test]
    fn the_line_of_alerts_is_read_as_it_is_written() {
        let alerts = Alerts {
            expected: 40,
            missed: 1,
            wrong: 2,
            owners: 3,
        };
        assert_eq!(Alerts::from_line(&alerts.to_string()), Some(alerts));
        assert_eq!(Alerts::from_line("ALERTS expected=1 missed=0"), None);
        assert!(!alerts.all_right());
    }

    #[test]
    fn the_closing_line_is_read_as_it_is_written() {
        let counts = Counts {
            passed: 12,
            failed: 1,
            skipped: 3,
        };
        assert_eq!(Counts::from_closing_line(&counts.to_string()), Some(counts));
        assert_eq!(Counts::from_closing_line("12 passed, 1 failed"), None);
        assert_eq!(
            Counts::from_closing_line("1 passed, 1 failed, 0 skipped, 4"),
            None
        );
    }

    #[test]
    fn the_harness_line_is_read() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered \
                    out; finished in 0.00s";
        let counts = Counts {
            passed: 3,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(Counts::from_harness_line(line), Some(counts));
        assert_eq!(Counts::from_harness_line("test a::b ... ok"), None);
    }
}
