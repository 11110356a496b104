//! The window that health is told over in a daemon: what is summed is marked once a minute, and
//! what was before the oldest mark counts no more. The time is told, never asked.

use std::collections::VecDeque;

/// The window goes on by so much at once, in nanoseconds.
pub const PART_NS: u64 = 60 * 1_000_000_000;
/// And has so many such parts.
pub const PARTS: usize = 10;
/// How long it is.
pub const WINDOW_NS: u64 = PART_NS * PARTS as u64;

/// What was summed when the last parts began. Without a mark nothing is subtracted.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "of most listeners there are none, and those shall take little"
)]
pub(super) struct Marks<T>(Option<Box<VecDeque<T>>>);

impl<T: Copy + Default> Marks<T> {
    /// So many parts begin with this sum.
    pub(super) fn mark(&mut self, sum: T, parts: usize) {
        let marks = self.0.get_or_insert_default();
        for _ in 0..parts.min(PARTS) {
            if marks.len() == PARTS {
                marks.pop_front();
            }
            marks.push_back(sum);
        }
    }

    /// The sum when the window began; what is younger than the window began with nothing.
    pub(super) fn before(&self) -> T {
        let marks = self.0.as_ref().filter(|marks| marks.len() == PARTS);
        let oldest = marks.and_then(|marks| marks.front());
        oldest.copied().unwrap_or_default()
    }
}

/// Which part it is.
#[derive(Debug, Default)]
pub(super) struct Window {
    now_ns: u64,
    /// When this part began; `None`: no time was told yet.
    part_ns: Option<u64>,
}

impl Window {
    /// It is so late, on `CLOCK_MONOTONIC`. What is earlier than was told before changes nothing.
    pub(super) fn pass(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.part_ns.get_or_insert(now_ns);
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Parts that ended and were not taken.
    pub(super) fn due(&self) -> u64 {
        let began_ns = self.part_ns.unwrap_or(self.now_ns);
        self.now_ns.saturating_sub(began_ns) / PART_NS
    }

    /// Takes them; past the whole window it makes no difference how many they are.
    pub(super) fn take(&mut self) -> usize {
        let due = self.due();
        if let Some(began_ns) = &mut self.part_ns {
            *began_ns += due * PART_NS;
        }
        usize::try_from(due).unwrap_or(PARTS).min(PARTS)
    }
}
