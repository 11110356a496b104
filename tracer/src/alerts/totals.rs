//! How many SYNs alerted since the start, for metrics.

use std::collections::BTreeMap;

use super::alert::Situation;
use crate::event::{Reason, Verdict};

/// Most rows: as many as alerts may last at once by default. SYNs of what comes later are counted
/// together.
pub(crate) const MAX_ROWS: usize = 1024;

/// SYNs of one kind that went to one listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The verdict.
    pub verdict: Verdict,
    /// Its reason.
    pub reason: Option<Reason>,
    /// The service that was expected, if one is configured.
    pub service: Option<String>,
    /// Where the listener is bound that got them; `None`: nobody did.
    pub listener: Option<String>,
}

/// SYNs and connections handed over that alerted, with or without an alert of their own.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    rows: BTreeMap<Row, u64>,
    others: u64,
}

impl Totals {
    /// One more.
    pub(crate) fn count(&mut self, situation: &Situation) {
        let row = Row {
            verdict: situation.verdict,
            reason: situation.reason,
            service: situation.service.clone(),
            listener: situation.listener.clone(),
        };
        if let Some(count) = self.rows.get_mut(&row) {
            *count = count.saturating_add(1);
        } else if self.rows.len() < MAX_ROWS {
            self.rows.insert(row, 1);
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// What was counted, in order of the rows.
    pub fn rows(&self) -> impl Iterator<Item = (&Row, u64)> {
        self.rows.iter().map(|(row, count)| (row, *count))
    }

    /// SYNs that have no row, as there were too many.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.others
    }

    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let rows = self.rows.values();
        rows.fold(self.others, |sum, count| sum.saturating_add(*count))
    }
}
