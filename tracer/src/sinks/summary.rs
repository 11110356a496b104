//! What is said on stderr at the end: who got how many SYNs, and whether the sum is right.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use super::{place, printable};
use crate::event::{GroupHealth, Queue, Reason, Stage, Verdict, Why};
use crate::words;

/// What a session saw; [`fmt::Display`] renders it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How long it looked.
    pub seconds: f64,
    /// The sums.
    pub totals: Totals,
    /// SYNs by verdict and cause.
    pub verdicts: Vec<((Verdict, Option<Reason>), u64)>,
    /// SYNs dropped because the accept queue was full; they are among the others too.
    pub overflowed: u64,
    /// Connections that came to another listener than their SYN, by how.
    pub handovers: Vec<(Why, u64)>,
    /// The listeners, in any order.
    pub listeners: Vec<ListenerLine>,
    /// How the groups fared.
    pub health: Vec<GroupHealth>,
    /// Remarks, a sentence each.
    pub notes: Vec<String>,
}

/// What became of the SYNs: `syns` = `shown` + `filtered` + `not_shown` + `lost`.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// SYNs the kernel counted.
    pub syns: u64,
    /// Those written to the output.
    pub shown: u64,
    /// Those left out by filters in user space.
    pub filtered: u64,
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
    /// Inode number of its namespace.
    pub netns: u32,
    /// Where it is bound, as it is to be shown.
    pub endpoint: String,
    /// Its reuseport group.
    pub group: Option<u32>,
    /// Its place in the group.
    pub member: Option<u16>,
    /// SYNs it was chosen for.
    pub syns: u64,
    /// Its accept queue when last seen.
    pub queue: Option<Queue>,
    /// Who holds it, as it is to be shown.
    pub owner: String,
    /// Closed meanwhile.
    pub closed: bool,
}

/// The listeners of one address: a single one, or the members of a group.
struct Address<'a> {
    members: Vec<&'a ListenerLine>,
    syns: u64,
}

/// A line of the table; what is empty in all lines is not written.
type Row = [String; TITLES.len()];
const TITLES: [&str; 6] = ["LISTENER", "SYNS", "SHARE", "QUEUE", "NETNS", "OWNER"];

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
        for group in &self.health {
            healthy(group)
                .iter()
                .try_for_each(|note| words::wrap(f, "note:", note))?;
        }
        self.notes
            .iter()
            .try_for_each(|note| words::wrap(f, "note:", note))
    }
}

impl Totals {
    fn lost(&self) -> u128 {
        self.lost.iter().map(|&(_, lost)| u128::from(lost)).sum()
    }

    fn accounted(&self) -> u128 {
        [self.shown, self.filtered, self.not_shown]
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
            "{} in {:.1} s = {} shown + {} filtered + {} not shown + {lost} lost",
            syns(totals.syns.into()),
            self.seconds,
            totals.shown,
            totals.filtered,
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
            writeln!(
                f,
                "{refused} ({share}) refused: no listener, so the client gets a reset"
            )?;
        }
        if self.overflowed > 0 {
            let dropped = syns(self.overflowed.into());
            writeln!(
                f,
                "{dropped} dropped: the accept queue of the listener was full"
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
                Stage::Queue => "the ring buffer was full",
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

    fn table(&self, f: &mut fmt::Formatter<'_>, known: u64) -> fmt::Result {
        let addresses = self.addresses();
        if addresses.is_empty() {
            return Ok(());
        }
        let first = self.listeners[0].netns;
        let tagged = self.listeners.iter().any(|line| line.netns != first);
        let mut rows = Vec::new();
        for address in &addresses {
            address.rows(&mut rows, known, tagged);
        }
        words::columns(f, TITLES, 1..=4, &rows)?;
        writeln!(f)
    }

    /// Busiest first.
    fn addresses(&self) -> Vec<Address<'_>> {
        let mut by_key: BTreeMap<_, Vec<&ListenerLine>> = BTreeMap::new();
        for (index, line) in self.listeners.iter().enumerate() {
            let alone = line.group.is_none().then_some(index);
            let key = (line.netns, &line.endpoint, line.group, alone);
            by_key.entry(key).or_default().push(line);
        }
        let mut addresses: Vec<_> = by_key
            .into_values()
            .map(|mut members| {
                members.sort_by_key(|line| (line.closed, line.member.is_none(), line.member));
                let syns = members.iter().map(|line| line.syns).sum();
                Address { members, syns }
            })
            .collect();
        addresses.sort_by_key(|address| Reverse(address.syns));
        addresses
    }
}

impl Address<'_> {
    fn rows(&self, rows: &mut Vec<Row>, known: u64, tagged: bool) {
        let Some(first) = self.members.first() else {
            return;
        };
        let name = printable(&first.endpoint).into_owned();
        let netns = if tagged {
            first.netns.to_string()
        } else {
            String::new()
        };
        let total = share(self.syns, known);
        if first.group.is_none() {
            rows.push(row(name, first, total, netns));
            return;
        }
        let syns = self.syns.to_string();
        rows.push([name, syns, total, String::new(), netns, self.about()]);
        for member in &self.members {
            let name = match member.member {
                Some(index) => format!("  [{index}]"),
                None => "  [?]".to_owned(),
            };
            let part = share(member.syns, self.syns);
            rows.push(row(name, member, part, String::new()));
        }
    }

    /// The size of the group and its balance, among those that are open.
    fn about(&self) -> String {
        let open = self.members.iter().filter(|line| !line.closed);
        let open: Vec<u64> = open.map(|line| line.syns).collect();
        let members = |count| format!("{count} member{}", if count == 1 { "" } else { "s" });
        match (open.len(), self.members.len()) {
            (0, all) => members(all),
            (1, _) => members(1),
            (count, _) => members(count) + &balance(&open),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "one decimal needs no more")]
fn balance(syns: &[u64]) -> String {
    let mean = syns.iter().sum::<u64>() as f64 / syns.len() as f64;
    match syns.iter().max() {
        Some(&most) if most > 0 => format!(", busiest {:.1}x the mean", most as f64 / mean),
        _ => String::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "one decimal needs no more")]
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", part as f64 * 100.0 / whole as f64)
}

fn row(name: String, line: &ListenerLine, share: String, netns: String) -> Row {
    let queue = line.queue.map_or_else(String::new, |queue| {
        let Queue { length, limit } = queue;
        format!("{length}/{limit}")
    });
    let closed = if line.closed { " (closed)" } else { "" };
    let owner = printable(&line.owner);
    let owner = format!("{owner}{closed}");
    [name, line.syns.to_string(), share, queue, netns, owner]
}

/// What is not as it should be in a group, a sentence each.
fn healthy(group: &GroupHealth) -> Vec<String> {
    let place = place(group.listener.address, group.listener.port, None);
    let mut said = Vec::new();
    for member in group.members.iter().filter(|member| member.unbalanced) {
        let name = member
            .id
            .map_or_else(|| "that was given none".to_owned(), |id| id.to_string());
        said.push(format!(
            "{place}: member {name} was given {} SYNs, its fair share is {:.0}: more than four \
             standard deviations off, so not by chance.",
            member.syns, member.fair
        ));
    }
    let short = || group.members.iter().filter(|member| member.short_lived);
    let (count, taken) = (
        short().count(),
        short().map(|member| member.syns).sum::<u64>(),
    );
    if count > 0 {
        said.push(format!(
            "{place}: {count} members came and went within ten seconds, and took {} with them.",
            syns(taken.into())
        ));
    }
    if group.destroyed > 0 {
        said.push(format!(
            "{place}: {} connections waited for accept() when their listener closed; the kernel \
             resets them, unless net.ipv4.tcp_migrate_req is set.",
            group.destroyed
        ));
    }
    said
}

fn syns(count: u128) -> String {
    format!("{count} SYN{}", if count == 1 { "" } else { "s" })
}
