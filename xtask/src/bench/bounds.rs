//! What sockpick may take at most.

use std::fmt::Write as _;

use super::figures::Column;
use super::kinds::{ALL_HERE, ALL_SPREAD, FEW, MANY};
use super::tables::{aligned, grouped, rounded, tenths};
use super::variants::{
    BPFTRACE, COUNTING, DAEMON, FILTER, JSON, KPROBE, SUSPECTS, SUSPECTS_KPROBE, TABLE,
};

/// What is bounded.
#[derive(Clone, Copy)]
enum Of {
    /// Instructions that a way to watch adds to a connection, at most so many.
    Adds(&'static str, u64),
    /// The same, at most a share of the cheapest of others: hundredths.
    Beside(&'static str, &'static [&'static str], u64),
    /// What is added with the most listeners, beside what is with the fewest: hundredths more.
    Growth(&'static str, u64),
    /// `VmRSS` after a start with the most listeners, in MiB.
    Resident(&'static str, u64),
    /// Million instructions of a start with all listeners in many namespaces.
    Start(u64),
}

/// A bound, and why it is not kept, should that be so.
struct Bound {
    of: Of,
    /// The row, where it is told without the one before it.
    about: &'static str,
    why: &'static str,
}

/// What is at most, and what is: as numbers, and in words.
struct Held {
    is_kept: bool,
    most: String,
    now: String,
}

impl Of {
    /// None where it was not measured.
    fn held(self, column: &Column) -> Option<Held> {
        let told = |value: u64| grouped(rounded(value, 10));
        match self {
            Self::Adds(row, most) => Some(held(most, column.added(row)?, told)),
            Self::Beside(row, others, share) => {
                let others = others.iter().filter_map(|name| column.added(name));
                let most = others.min()? * share / 100;
                Some(held(most, column.added(row)?, told))
            }
            Self::Growth(tool, most) => {
                let percent = |value: u64| format!("{}.{} %", value / 10, value % 10);
                Some(held(most * 10, growth(column, tool)?, percent))
            }
            Self::Resident(tool, most) => {
                let kib = column.start(ALL_HERE, tool)?.resident.value;
                let mib = |kib: u64| format!("{} MiB", tenths(kib * 1024));
                Some(held(most * 1024, kib, mib))
            }
            Self::Start(most) => {
                let took = column.start(ALL_SPREAD, JSON)?.took.value;
                let millions = |value: u64| format!("{} million", grouped(value / 1_000_000));
                Some(held(most * 1_000_000, took, millions))
            }
        }
    }
}

fn held(most: u64, now: u64, told: impl Fn(u64) -> String) -> Held {
    Held {
        is_kept: now <= most,
        most: told(most),
        now: told(now),
    }
}

/// Thousandths that are added more beside many listeners than beside few.
fn growth(column: &Column, tool: &str) -> Option<u64> {
    let added = |kind| {
        let other = column.other(kind)?;
        let figure = if tool == DAEMON {
            other.daemon
        } else {
            other.json
        };
        Some(figure.value)
    };
    let (few, many) = (added(FEW)?, added(MANY)?);
    Some(many.saturating_sub(few) * 1000 / few.max(1))
}

const ACCEPT: &str = "`inet_csk_accept` is hooked, since events name who accepted last; \
                      `--no-accept` spares that. It could be hooked only while an alert lasts.";

const TWO_PROGRAMS: &str = "two programs see a SYN: at `tcp_conn_request`, where it is counted, \
                            nothing tells a SYN that was looked up from one that was steered, so \
                            the beginning of the lookup is hooked as well. To reach a program \
                            takes more than it does then; with one instead of two it would be \
                            some 250 less. `bpf_sk_assign` and `inet_lookup_run_sk_lookup` could \
                            tell of what they steer, `IP_TRANSPARENT` which listeners a TPROXY \
                            rule may choose, and `TCP_SKB_CB` of the packet whether it came \
                            through a VRF.";

const GROWTH: &str = "listeners that nobody connects to are met by no program, so nothing is known to \
                      grow with them. Two boots do not show all of the chance that there is: from \
                      one build of the programs to the next the figure goes up or down by as much. \
                      More boots (`--rounds`) would tell.";

const MEMORY: &str = "each listener has a place in the picture, a group of its own whose health is \
                      watched, a name by which it is found when it closes, and whoever holds it; \
                      and the tables of these grow by doubling.";

const BOUNDS: [Bound; 13] = [
    Bound {
        of: Of::Adds(DAEMON, 600),
        about: "`sockpick daemon`, nothing wrong",
        why: TWO_PROGRAMS,
    },
    Bound {
        of: Of::Beside(DAEMON, &COUNTING, 100),
        about: "the same, beside bpftrace's cheapest counting",
        why: "what bpftrace counts most cheaply is one function's argument, by one program: neither \
              which SYNs were steered, nor which listener should have had them. With one program \
              instead of two the daemon would come near it.",
    },
    Bound {
        of: Of::Adds(SUSPECTS, 600),
        about: "`sockpick trace -o json --only-alerts`, nothing wrong",
        why: ACCEPT,
    },
    Bound {
        of: Of::Adds(FILTER, 600),
        about: "`sockpick trace -o json --port 9`, which records nothing",
        why: ACCEPT,
    },
    Bound {
        of: Of::Adds(JSON, 7500),
        about: "`sockpick trace -o json`",
        why: "what it takes less into /dev/null is the kernel's part of writing into a file; the \
              rest is putting a line together and the programs, as for the table.",
    },
    Bound {
        of: Of::Beside(JSON, &BPFTRACE, 50),
        about: "the same, beside half of bpftrace that prints",
        why: "as above.",
    },
    Bound {
        of: Of::Adds(TABLE, 5500),
        about: "`sockpick trace`",
        why: "what the programs do for each record could be less: they read the socket's group \
              and its queue anew each time.",
    },
    Bound {
        of: Of::Adds(KPROBE, 10_000),
        about: "`sockpick trace -o json --backend kprobe`",
        why: "the end of a lookup and of `accept()` takes a kretprobe each, which is dearer than \
              all that the programs do.",
    },
    Bound {
        of: Of::Adds(SUSPECTS_KPROBE, 1500),
        about: "`sockpick trace -o json --only-alerts --backend kprobe`",
        why: "a kprobe and a kretprobe on `accept()` tell who accepted last, the latter of them \
              dearer than all that the programs do (`--no-accept` spares both), and fields are \
              read by a helper. `bpf_rdonly_cast` (Linux 6.2) would have them loaded as fentry \
              does; `kprobe.multi` (5.18) is cheaper than kprobes.",
    },
    Bound {
        of: Of::Growth(JSON, 2),
        about: "`sockpick trace -o json`: growth from 10 listeners to 10,000",
        why: GROWTH,
    },
    Bound {
        of: Of::Growth(DAEMON, 2),
        about: "`sockpick daemon`: growth from 10 listeners to 10,000",
        why: GROWTH,
    },
    Bound {
        of: Of::Resident(JSON, 24),
        about: "`sockpick trace -o json`: resident after a start with 10,000 listeners",
        why: MEMORY,
    },
    Bound {
        // Half of 917 million.
        of: Of::Start(458),
        about: "`sockpick trace`: a start with 10,000 listeners in 100 namespaces",
        why: "the bound is half of what the first measurement found. Most of a start hangs on neither \
              listeners nor namespaces, as the one with ten listeners shows: the kernel's type \
              information is read, programs are verified and the self-check is made. The loader \
              (aya) reads the type information once more, which it could be spared. What comes \
              on top with namespaces is that each is entered to list its listeners.",
    },
];

/// For the page: the figures of a kernel held against them.
pub(super) fn section(column: &Column) -> String {
    let mut text = format!(
        "## Bounds\n\nWhat sockpick may take at most, on Linux {}; and where it takes more, why, \
         and what could be tried next.\n\n",
        column.kernel
    );
    let head = ["", "at most", "now"];
    let all = BOUNDS.iter();
    let all = all.filter_map(|bound| Some((bound, bound.of.held(column)?)));
    let all: Vec<_> = all.collect();
    let lines = all
        .iter()
        .map(|(bound, held)| vec![bound.about.to_owned(), held.most.clone(), held.now.clone()]);
    text.push_str(&aligned(&head, &lines.collect::<Vec<_>>()));
    text.push('\n');
    for (bound, _) in all.iter().filter(|(_, held)| !held.is_kept) {
        let _ = writeln!(text, "- {}: {}", bound.about, bound.why);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::{Figure, Other, Row, Start};

    fn figure(value: u64) -> Figure {
        Figure { value, spread: 0 }
    }

    fn column() -> Column {
        let row = |name, value| Row {
            name,
            about: name,
            added: figure(value),
            user: None,
            resident: None,
        };
        let other = |name, json| Other {
            name,
            about: name,
            alone: 60_000,
            json: figure(json),
            daemon: figure(700),
        };
        Column {
            rows: vec![
                row(DAEMON, 700),
                row(COUNTING[0], 1000),
                row(COUNTING[1], 690),
            ],
            others: vec![other(FEW, 6000), other(MANY, 6150)],
            starts: vec![Start {
                listeners: 10_000,
                namespaces: 1,
                name: (ALL_HERE, JSON),
                took: figure(1),
                user: 1,
                resident: figure(24 * 1024),
                maps: 1,
            }],
            ..Column::default()
        }
    }

    fn held(of: Of) -> Option<(bool, String)> {
        let held = of.held(&column())?;
        Some((held.is_kept, held.now))
    }

    #[test]
    fn what_is_measured_is_held_against_its_bound() {
        let is = |kept, now: &str| Some((kept, now.to_owned()));
        assert_eq!(held(Of::Adds(DAEMON, 700)), is(true, "700"));
        assert_eq!(held(Of::Beside(DAEMON, &COUNTING, 100)), is(false, "700"));
        assert_eq!(held(Of::Growth(JSON, 2)), is(false, "2.5 %"));
        assert_eq!(held(Of::Growth(DAEMON, 2)), is(true, "0.0 %"));
        assert_eq!(held(Of::Resident(JSON, 24)), is(true, "24.0 MiB"));
        assert_eq!(held(Of::Start(1)), None);
    }
}
