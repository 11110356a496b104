//! `sockpick replay`: the pipeline once more, over a recording.

mod anonymise;

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use sockpick_ebpf::abi::Stats;

use super::outputs::shown;
use crate::{
    cli::{ReplayArgs, Speed},
    config,
    decode::Record,
    outlets::foreground::Foreground,
    pipeline::{Counted, End, Input},
    recording::{
        Position,
        files::{Files, Open},
        filter::{as_recorded, passes},
        player::{Played, Player},
    },
    settings::Settings,
};

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    if let Some(out) = &args.anonymize {
        return anonymise::run(&args.files, out);
    }
    let given = args.watch.given(&args.expect);
    let settings = config::settings(&given, args.expect.config.as_deref())?;
    let settings = settings.with_netns(as_recorded)?;
    let mut files = Files::new(&args.files, !io::stdout().is_terminal());
    while let Some(open) = files.next()? {
        replay(args, &settings, open, &mut files)?;
    }
    Ok(())
}

/// Replays a recording, and the parts that follow it.
fn replay(args: &ReplayArgs, settings: &Settings, mut open: Open, files: &mut Files) -> Result<()> {
    let sink = shown(args.output, args.color, open.header.netns);
    let mut selection = args.user_filter.selection(args.count);
    selection.began_midway = open.is_later();
    let foreground = Foreground::new(sink, open.header.netns, selection);
    let expectations = settings.expectations.clone();
    let mut player = Player::new(open.header.clone(), expectations, foreground);
    let mut seen = Seen::since(open.reader.position());
    let mut pace = Pace::new(args.speed);
    let mut goes_on = None;
    open.tell_of_missing();
    let end = loop {
        let Open { name, reader, .. } = &mut open;
        let how_far = player.play(reader, |input, host| {
            files.progress.show(name);
            match input {
                Input::Record(record) => {
                    pace.wait(record.ktime_ns());
                    seen.record(record, passes(&settings.watch, record, host))
                }
                Input::Counted(counted) => {
                    *counted = seen.counted(counted);
                    true
                }
                _ => true,
            }
        })?;
        match how_far {
            Played::Ended(end) => break Some(seen.end_of(end)),
            Played::Broken => break None,
            Played::Continued => {
                let position = open.reader.position();
                let Some(next) = files.following(position)? else {
                    goes_on = position;
                    break None;
                };
                open = next;
            }
        }
    };
    files.progress.erase();
    let is_whole = end.is_some();
    let summary = player.end(&end.unwrap_or_else(|| seen.end()))?;
    // Nobody may be left to read it.
    let _ = write!(io::stderr(), "{summary}");
    if let Some(position) = goes_on {
        open.tell_of_next(position);
    } else {
        open.tell_of_tear(is_whole, "replayed");
    }
    Ok(())
}

/// What was read.
#[derive(Default)]
struct Seen {
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
    fn since(position: Option<Position>) -> Self {
        Self {
            before: position.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// A record, which passes the filters or is left out; returns which.
    fn record(&mut self, record: &Record, passes: bool) -> bool {
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

    fn counted(&mut self, counted: &Counted) -> Counted {
        let ((syns, listeners), before) = (counted.missing, self.before.counted.missing);
        self.last.missing = (
            syns.saturating_sub(before.0),
            listeners.saturating_sub(before.1),
        );
        self.last.stats = self.of(&counted.stats);
        self.last
    }

    fn end_of(&self, end: End) -> End {
        End {
            stats: self.of(&end.stats),
            seconds: (end.seconds - self.before.seconds).max(0.0),
            ..end
        }
    }

    /// The end of a recording that has none.
    fn end(&self) -> End {
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

/// Keeps the time that there was between records.
struct Pace {
    speed: Speed,
    /// When the first record was told, and its time.
    began: Option<(Instant, u64)>,
}

impl Pace {
    fn new(speed: Speed) -> Self {
        Self { speed, began: None }
    }

    fn wait(&mut self, ktime_ns: u64) {
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
