//! How much time looks that are as much work as there are processes may take.

use std::time::{Duration, Instant};

/// No more than this part of one CPU in the long run, however many processes there are,
const SHARE: u32 = 10;
/// but that much at once after a quiet time: services start several listeners in a row.
const MOST_CREDIT: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// When it was last charged.
    charged: Option<Instant>,
    /// What may be spent, as of then; and what was spent beyond it.
    credit: Duration,
    debt: Duration,
}

impl Budget {
    pub(crate) fn allows(&self) -> bool {
        self.charged
            .is_none_or(|at| self.credit + at.elapsed() / SHARE > self.debt)
    }

    /// Accounts for a look that took so long and ended now.
    pub(crate) fn charge(&mut self, took: Duration) {
        let earned = match self.charged {
            Some(at) => self.credit + at.elapsed() / SHARE,
            None => MOST_CREDIT,
        };
        let owed = self.debt + took;
        self.credit = earned.saturating_sub(owed).min(MOST_CREDIT);
        self.debt = owed.saturating_sub(earned);
        self.charged = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spent_all_waits_ten_times_as_long() {
        let mut budget = Budget::default();
        assert!(budget.allows());
        budget.charge(MOST_CREDIT / 2);
        assert!(budget.allows());
        budget.charge(MOST_CREDIT);
        assert!(!budget.allows());
        budget.charged = budget
            .charged
            .and_then(|at| at.checked_sub(MOST_CREDIT * 4));
        assert!(!budget.allows());
        budget.charged = budget
            .charged
            .and_then(|at| at.checked_sub(MOST_CREDIT * 2));
        assert!(budget.allows());
    }
}
