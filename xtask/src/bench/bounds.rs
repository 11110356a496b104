//! What sockpick may take at most.

use std::fmt::Write as _;

use super::report::{STEP, aligned, grouped, rounded};
use super::samples::Column;
use super::variants::{DAEMON, FILTER, JSON, KPROBE, SUSPECTS, SUSPECTS_KPROBE, TABLE};

/// A bound, and why it is not kept, should that be so.
struct Bound {
    row: &'static str,
    /// The row, where it is told without the one before it.
    about: &'static str,
    most: u64,
    why: &'static str,
}

const ACCEPT: &str = "`inet_csk_accept` is hooked, since events name who accepted last. It could \
                      be hooked only while an alert lasts.";

const BOUNDS: [Bound; 7] = [
    Bound {
        row: DAEMON,
        about: "`sockpick daemon`, nothing wrong",
        most: 600,
        why: "two programs see a SYN: at `tcp_conn_request`, where it is counted, nothing tells a \
              SYN that was looked up from one that was steered, so the beginning of the lookup is \
              hooked as well. To reach a program takes about as much as it does then; with one \
              instead of two it would be some 350 less.",
    },
    Bound {
        row: SUSPECTS,
        about: "`sockpick trace -o json --only-alerts`, nothing wrong",
        most: 600,
        why: ACCEPT,
    },
    Bound {
        row: FILTER,
        about: "`sockpick trace -o json --port 9`, which records nothing",
        most: 600,
        why: ACCEPT,
    },
    Bound {
        row: JSON,
        about: "`sockpick trace -o json`",
        most: 7500,
        why: "what it takes less into /dev/null is the kernel's part of writing into a file; the \
              rest is putting a line together and the programs, as for the table.",
    },
    Bound {
        row: TABLE,
        about: "`sockpick trace`",
        most: 5500,
        why: "what the programs do for each record could be less: they read the socket's group \
              and its queue anew each time.",
    },
    Bound {
        row: KPROBE,
        about: "`sockpick trace -o json --backend kprobe`",
        most: 10_000,
        why: "the end of a lookup and of `accept()` takes a kretprobe each, which is dearer than \
              all that the programs do.",
    },
    Bound {
        row: SUSPECTS_KPROBE,
        about: "`sockpick trace -o json --only-alerts --backend kprobe`",
        most: 1500,
        why: "a kprobe and a kretprobe on `accept()` tell who accepted last, the latter of them \
              dearer than all that the programs do, and fields are read by a helper. \
              `bpf_rdonly_cast` (Linux 6.2) would have them loaded as fentry does; `kprobe.multi` \
              (5.18) is cheaper than kprobes.",
    },
];

/// For the page: the figures of a kernel held against them.
pub(super) fn section(column: &Column) -> String {
    let mut text = format!(
        "## Bounds\n\nWhat sockpick may take at most, on Linux {}; and where it takes more, why, \
         and what could be tried next.\n\n",
        column.kernel
    );
    let head = ["", "at most", "now"].map(ToOwned::to_owned);
    let measured = BOUNDS.iter().filter_map(|bound| {
        let row = column.rows.iter().find(|row| row.name == bound.row)?;
        Some((bound, row))
    });
    let lines = measured.clone().map(|(bound, row)| {
        let now = rounded(row.added.value, STEP);
        vec![bound.about.to_owned(), grouped(bound.most), grouped(now)]
    });
    text.push_str(&aligned(&head, &lines.collect::<Vec<_>>()));
    text.push('\n');
    for (bound, row) in measured {
        if row.added.value > bound.most {
            let _ = writeln!(text, "- {}: {}", bound.about, bound.why);
        }
    }
    text.push('\n');
    text
}
