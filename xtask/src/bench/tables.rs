//! The figures of a kernel as tables, for the screen and for docs/overhead.md.

use std::fmt::Write as _;

use super::figures::{Burst, Column, Figure, Other, Row, Start};
use super::kinds::STOPPED;
use super::variants::{DAEMON, JSON};

/// Ways to watch.
pub(super) fn ways(column: &Column, step: u64) -> String {
    let head = [
        "instructions per connection",
        "added",
        "boots differ by",
        "of a connection",
        "by the probes",
        "by the process",
    ];
    let alone = grouped(rounded(column.baseline.value, step));
    let spread = grouped(column.baseline.spread);
    let mut first = vec![format!("nobody watches: {alone}"), String::new(), spread];
    first.resize(head.len(), String::new());
    let rows = column.rows.iter();
    let rows = rows.map(|row| way(row, column.baseline.value, step));
    let lines: Vec<_> = std::iter::once(first).chain(rows).collect();
    aligned(&head, &lines)
}

fn way(row: &Row, baseline: u64, step: u64) -> Vec<String> {
    let added = row.added.value;
    let kernel = row.user.map(|user| added.saturating_sub(user));
    let share = (added * 100 + baseline / 2) / baseline.max(1);
    let part = |value: Option<u64>| value.map_or("–".to_owned(), |v| grouped(rounded(v, step)));
    vec![
        row.about.to_owned(),
        part(Some(added)),
        grouped(row.added.spread),
        format!("{share} %"),
        part(kernel),
        part(row.user),
    ]
}

/// Other connections. Nothing, where none were measured.
pub(super) fn others(column: &Column, step: u64) -> String {
    if column.others.is_empty() {
        return String::new();
    }
    let head = [
        "instructions per connection",
        "nobody watches",
        "`trace -o json` adds",
        "boots differ by",
        "`daemon` adds",
        "boots differ by",
    ];
    let lines: Vec<_> = column.others.iter().map(|row| other(row, step)).collect();
    let table = aligned(&head, &lines);
    format!("Other connections, and a SYN that is refused:\n\n{table}\n")
}

fn other(row: &Other, step: u64) -> Vec<String> {
    let told = |value: u64| grouped(rounded(value, step));
    let both = |figure: Figure| [told(figure.value), grouped(figure.spread)];
    let mut cells = vec![row.about.to_owned(), told(row.alone)];
    cells.extend(both(row.json));
    cells.extend(both(row.daemon));
    cells
}

/// Starts. Nothing, where none were measured.
pub(super) fn starts(column: &Column) -> String {
    if column.starts.is_empty() {
        return String::new();
    }
    let head = [
        "until it has attached",
        "listeners",
        "network namespaces",
        "million instructions",
        "boots differ by",
        "in its process",
        "`VmRSS`, MiB",
        "maps, MiB",
    ];
    let lines: Vec<_> = column.starts.iter().map(start).collect();
    let table = aligned(&head, &lines);
    format!(
        "What a start takes, all that the processor executes meanwhile, and what the tool has then. \
         Each namespace but the first has a process of its own that has the listeners. `maps` is what \
         the kernel reckons for the maps (`memlock` in `/proc/PID/fdinfo`), the ring buffer among \
         them.\n\n{table}\n"
    )
}

fn start(row: &Start) -> Vec<String> {
    let about = match row.name.1 {
        JSON => "`sockpick trace -o json`",
        DAEMON => "`sockpick daemon`",
        other => other,
    };
    let millions = |value: u64| grouped(rounded(value, 1_000_000) / 1_000_000);
    vec![
        about.to_owned(),
        grouped(row.listeners.into()),
        grouped(row.namespaces.into()),
        millions(row.took.value),
        millions(row.took.spread),
        millions(row.user),
        tenths(row.resident.value * 1024),
        tenths(row.maps),
    ]
}

/// Bytes as MiB, rounded up to a tenth.
pub(super) fn tenths(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Bursts, in words.
pub(super) fn bursts(column: &Column) -> String {
    let mut text = String::new();
    for burst in &column.bursts {
        let _ = writeln!(text, "{}", words(burst));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn words(burst: &Burst) -> String {
    let (syns, told) = (grouped(burst.syns), grouped(burst.told));
    let (lost, spread) = (grouped(burst.lost.value), grouped(burst.lost.spread));
    let when = if burst.name == STOPPED {
        "while it is stopped and its processor is none of its own (SIGSTOP until the last)"
    } else {
        "while it shares the processor with whoever connects"
    };
    format!(
        "- Of a burst of {syns} connections one after the other, `sockpick trace -o json` tells \
         {told} and counts {lost} as lost, {when}; boots differ by {spread}."
    )
}

/// The first column to the left, figures to the right.
pub(super) fn aligned(head: &[&str], lines: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().copied().map(ToOwned::to_owned).collect();
    let width = |at: usize| {
        let cells = lines.iter().filter_map(|line| line.get(at));
        let all = cells.chain(head.get(at));
        all.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let rules: Vec<String> = widths.iter().enumerate().map(rule).collect();
    let mut text = String::new();
    for line in [&*head, &rules]
        .into_iter()
        .chain(lines.iter().map(Vec::as_slice))
    {
        push(&mut text, line, &widths);
    }
    text
}

fn rule((at, width): (usize, &usize)) -> String {
    if at == 0 {
        "-".repeat(*width)
    } else {
        format!("{}:", "-".repeat(width.saturating_sub(1)))
    }
}

fn push(text: &mut String, line: &[String], widths: &[usize]) {
    for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
        let _ = if at == 0 {
            write!(text, "| {cell:<width$} |")
        } else {
            write!(text, " {cell:>width$} |")
        };
    }
    text.push('\n');
}

pub(super) fn rounded(value: u64, step: u64) -> u64 {
    (value + step / 2) / step * step
}

/// With a comma between thousands.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{aligned, grouped, rounded, tenths};

    #[test]
    fn figures_are_grouped_and_rounded() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(rounded(150, 100), 200);
        assert_eq!(rounded(149, 1), 149);
        assert_eq!(tenths((21 << 20) + 1), "21.1");
    }

    #[test]
    fn columns_are_aligned() {
        let table = aligned(
            &["what", "n"],
            &[["–", "1,000"].map(ToOwned::to_owned).to_vec()],
        );
        assert_eq!(
            table,
            "| what |     n |\n| ---- | ----: |\n| –    | 1,000 |\n"
        );
    }
}
