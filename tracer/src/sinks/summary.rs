//! What is said on stderr at the end: who got how many SYNs, and whether the sum is right.

use std::fmt;

mod notes;
mod table;

use crate::event::{GroupHealth, Queue, Reason, Stage, Verdict, Why};
use crate::words;

/// What a session saw; [`fmt::Display`] renders it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Inode number of the namespace that lines need not name.
    pub own_netns: u32,
    /// How long it looked.
    pub seconds: f64,
    /// The sums.
    pub totals: Totals,
    /// SYNs by verdict and cause.
    pub verdicts: Vec<((Verdict, Option<Reason>), u64)>,
    /// SYNs dropped because the accept queue was full; they are among the others too.
    pub overflowed: u64,
    /// SYNs shown that were dropped between their lookup and the listener.
    pub not_taken: u64,
    /// Connections that came to another listener than their SYN, by how.
    pub handovers: Vec<(Why, u64)>,
    /// The listeners, in any order.
    pub listeners: Vec<ListenerLine>,
    /// How the groups fared.
    pub health: Vec<GroupHealth>,
    /// Remarks, a sentence each.
    pub notes: Vec<String>,
}

/// What became of the SYNs: `syns` = `shown` + `filtered` + `own` + `not_shown` + `lost`.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// SYNs the kernel counted.
    pub syns: u64,
    /// Those written to the output.
    pub shown: u64,
    /// Those left out by filters in user space.
    pub filtered: u64,
    /// Those that this sockpick sent, or another beside it, to find out about the kernel.
    pub own: u64,
    /// Those after `--count` was reached.
    pub not_shown: u64,
    /// Those without a listener; they are among the others too.
    pub refused: u64,
    /// Those lost, by stage.
    pub lost: Vec<(Stage, u64)>,
}

/// What one listening socket got.
#[derive(Clone, Debug, Default)]
pub struct ListenerLine {
    /// `listener.id`; 0 for a member that got no SYN. A greater one is younger.
    pub id: u64,
    /// Inode number of its namespace.
    pub netns: u32,
    /// Its namespace, as it is to be shown.
    pub netns_name: String,
    /// Where it is bound, as it is to be shown.
    pub endpoint: String,
    /// Its reuseport group.
    pub group: Option<u32>,
    /// Its place in the group.
    pub member: Option<u16>,
    /// SYNs it was chosen for.
    pub syns: u64,
    /// How many times its fair share that is, where it is not by chance.
    pub over: Option<f64>,
    /// Its accept queue when last seen.
    pub queue: Option<Queue>,
    /// Who holds it, as it is to be shown.
    pub owner: String,
    /// Closed meanwhile.
    pub closed: bool,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.saw_nothing() {
            let seconds = self.seconds;
            writeln!(f, "no SYN reached a listener lookup in {seconds:.1} s")?;
        } else {
            let known = self.known();
            self.table(f, known)?;
            self.sums(f, known)?;
        }
        self.healthy()
            .iter()
            .chain(&self.notes)
            .try_for_each(|note| words::wrap(f, "note:", note))
    }
}

impl Totals {
    fn lost(&self) -> u128 {
        self.lost.iter().map(|&(_, lost)| u128::from(lost)).sum()
    }

    fn accounted(&self) -> u128 {
        [self.shown, self.filtered, self.own, self.not_shown]
            .map(u128::from)
            .iter()
            .sum::<u128>()
            + self.lost()
    }
}

impl Summary {
    /// Whether not one SYN came.
    #[must_use]
    pub fn saw_nothing(&self) -> bool {
        self.totals.syns == 0 && self.totals.accounted() == 0
    }

    /// SYNs whose result is known, which the shares are of.
    fn known(&self) -> u64 {
        let taken: u64 = self.listeners.iter().map(|line| line.syns).sum();
        taken + self.totals.refused
    }

    fn sums(&self, f: &mut fmt::Formatter<'_>, known: u64) -> fmt::Result {
        let totals = &self.totals;
        let (lost, accounted) = (totals.lost(), totals.accounted());
        writeln!(
            f,
            "{} in {:.1} s = {} shown + {} filtered + {} own + {} not shown + {lost} lost",
            syns(totals.syns.into()),
            self.seconds,
            totals.shown,
            totals.filtered,
            totals.own,
            totals.not_shown,
        )?;
        let counted = u128::from(totals.syns);
        if counted > accounted {
            let missing = syns(counted - accounted);
            writeln!(f, "the sum is wrong: {missing} unaccounted for")?;
        } else if counted < accounted {
            let over = syns(accounted - counted);
            writeln!(f, "the sum is wrong: {over} more than the kernel counted")?;
        }
        if totals.refused > 0 {
            let refused = syns(totals.refused.into());
            let share = share(totals.refused, known);
            writeln!(f, "{refused} ({share}) refused: the client gets a reset")?;
        }
        if self.overflowed > 0 {
            let dropped = syns(self.overflowed.into());
            writeln!(
                f,
                "{dropped} dropped: the accept queue of the listener was full"
            )?;
        }
        if self.not_taken > 0 {
            let dropped = syns(self.not_taken.into());
            writeln!(
                f,
                "{dropped} dropped after the lookup: TCP-MD5 or -AO, a socket filter or a policy"
            )?;
        }
        self.verdicts(f)?;
        for &(why, count) in &self.handovers {
            let why = why.word();
            writeln!(
                f,
                "handed over to another listener after the SYN: {why} {count}"
            )?;
        }
        for &(stage, lost) in totals.lost.iter().filter(|(_, lost)| *lost > 0) {
            let why = match stage {
                Stage::Kernel => "a probe was missed",
                Stage::Queue => "the buffer between kernel and sockpick was full",
                Stage::Sink => "the output did not take it all",
            };
            let stage = stage.word();
            writeln!(f, "{} lost: {stage} ({why})", syns(lost.into()))?;
        }
        Ok(())
    }

    /// A line for each verdict other than `ok`, with its causes.
    fn verdicts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for &((verdict, reason), count) in &self.verdicts {
            let Some(reason) = reason.filter(|_| verdict != Verdict::Ok) else {
                continue;
            };
            let name = verdict.word();
            match last {
                Some(before) if before == verdict => write!(f, ", ")?,
                Some(_) => write!(f, "\n{name}: ")?,
                None => write!(f, "{name}: ")?,
            }
            write!(f, "{} {count}", reason.word())?;
            last = Some(verdict);
        }
        if last.is_some() {
            writeln!(f)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "one decimal needs no more")]
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", part as f64 * 100.0 / whole as f64)
}

fn syns(count: u128) -> String {
    words::count(count.try_into().unwrap_or(u64::MAX), "SYN")
}
