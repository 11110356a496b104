//! What of a recording was read, counted as if its filters had been in the kernel.

use std::time::Duration;

use sockpick_ebpf::abi::Stats;

use super::Position;
use crate::{
    decode::Record,
    pipeline::{Counted, End},
};

/// What was read.
#[derive(Default)]
pub(crate) struct Seen {
    /// What was counted before the first part that was read.
    before: Position,
    /// SYNs, and those without a listener.
    syns: u64,
    refused: u64,
    /// SYNs that the filters left out, and those of them without a listener.
    left_out: u64,
    left_out_refused: u64,
    first_ns: Option<u64>,
    last_ns: u64,
    last: Counted,
}

impl Seen {
    /// Nothing yet; `position`: of the part that it begins with.
    pub(crate) fn since(position: Option<Position>) -> Self {
        Self {
            before: position.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// A record, which passes the filters or is left out; returns which.
    pub(crate) fn record(&mut self, record: &Record, passes: bool) -> bool {
        let ktime_ns = record.ktime_ns();
        self.first_ns.get_or_insert(ktime_ns);
        self.last_ns = self.last_ns.max(ktime_ns);
        if let Record::Syn(record) = record {
            let refused = record.has_listener == 0;
            self.syns += u64::from(passes);
            self.refused += u64::from(passes && refused);
            self.left_out += u64::from(!passes);
            self.left_out_refused += u64::from(!passes && refused);
        }
        passes
    }

    /// The counters since it began, as if the filters had been in the kernel.
    fn of(&self, stats: &Stats) -> Stats {
        let since = stats.since(&self.before.counted.stats);
        if !self.before.is_later() {
            return Stats {
                syns: since.syns.saturating_sub(self.left_out),
                emitted: since.emitted.saturating_sub(self.left_out),
                refused: since.refused.saturating_sub(self.left_out_refused),
                ..since
            };
        }
        // Records that were counted in the part before may be in this one: what is in it counts.
        let emitted = self.syns + self.last.missing.0;
        Stats {
            syns: emitted + since.syns.saturating_sub(since.emitted),
            emitted,
            refused: self.refused,
            ..since
        }
    }

    pub(crate) fn counted(&mut self, counted: &Counted) -> Counted {
        let ((syns, listeners), before) = (counted.missing, self.before.counted.missing);
        self.last.missing = (
            syns.saturating_sub(before.0),
            listeners.saturating_sub(before.1),
        );
        self.last.stats = self.of(&counted.stats);
        self.last
    }

    pub(crate) fn end_of(&self, end: End) -> End {
        End {
            stats: self.of(&end.stats),
            seconds: (end.seconds - self.before.seconds).max(0.0),
            ..end
        }
    }

    /// The end of a recording that has none.
    pub(crate) fn end(&self) -> End {
        let lost = self.last.stats.lost_ring;
        let took_ns = self.last_ns.saturating_sub(self.first_ns.unwrap_or(0));
        End {
            stats: Stats {
                syns: self.syns + lost,
                emitted: self.syns,
                ..self.last.stats
            },
            listeners: Vec::new(),
            seconds: Duration::from_nanos(took_ns).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_part_counts_what_is_in_it() {
        let stats = |syns, emitted, lost_ring| Stats {
            syns,
            emitted,
            lost_ring,
            ..Stats::default()
        };
        let counted = |stats, missing| Counted {
            stats,
            missing: (missing, 0),
        };
        // Three were written before the part began, and are read in it.
        let mut seen = Seen::since(Some(Position {
            number: 2,
            counted: counted(stats(100, 90, 10), 4),
            seconds: 5.0,
            ..Position::default()
        }));
        seen.syns = 3 + 20;
        let now = seen.counted(&counted(stats(125, 110, 15), 4));
        assert_eq!((now.stats, now.missing), (stats(28, 23, 5), (0, 0)));
        let end = seen.end_of(End {
            stats: stats(125, 110, 15),
            seconds: 7.0,
            ..End::default()
        });
        assert_eq!((end.stats, end.seconds), (stats(28, 23, 5), 2.0));
    }
}
