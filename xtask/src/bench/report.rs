//! The figures for people: on the screen, and in docs/overhead.md.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::bounds;
use super::samples::{Column, Row};
use super::variants::{
    BPFTRACE, CONNECTION_SCRIPT, COUNTING_SCRIPT, DAEMON, JSON, LISTENER_SCRIPT, TABLE,
};
use crate::process::workspace_root;

/// Figures on the page are rounded to this: two runs differ by about as much.
pub(super) const STEP: u64 = 50;

const INTRODUCTION: &str = "\
# Overhead

Written by `cargo xtask bench`; do not edit.

A guest that counts instructions instead of time (QEMU, one processor, one nanosecond of guest time
per instruction) makes connections over loopback, one after the other: connect, accept, close with
a reset. Each figure is everything that the processor executed until the last event was written to
a file in memory, idling left out, divided by the connections, less the same without a tool
watching: the probes, the tool's own process, waking it up and switching to it. bpftrace is woken in
the middle of a connection and does some of the kernel's work on its own account, so how its figure
divides is not known.

";

/// Read by people who want to know what it means on their hosts.
const TIME: &str = "\
## What instructions say of time

They say how much there is to do, nearly the same in every run: figures vary by some hundred
instructions from one start of a guest to the next. They do not say how long it takes, which hangs
on the processor, on what is in its caches and on what else goes on. A program that reads memory nobody
read lately takes longer than its instructions suggest; one that runs for each of a burst of SYNs
takes less. On a host, measure there:

```
sysctl kernel.bpf_stats_enabled=1
curl -s localhost:9464/metrics | grep -E 'bpf_run_seconds|syn_total'    # and a while later again
sysctl kernel.bpf_stats_enabled=0
```

`sockpick_bpf_run_seconds_total` is the time that each probe of `sockpick daemon` ran, without what
it takes to reach it. What it grew by from one scrape to the next, divided by what
`sockpick_syn_total` did, is the time that a SYN took. Of `sockpick trace`, `bpftool prog show` tells
it.

";

/// Everything, exactly.
pub(super) fn on_screen(column: &Column) -> String {
    let mut text = format!("{}\n\n", title(column));
    text.push_str(&table(column, 1));
    let _ = writeln!(text, "\n{}\n{}\n", idle(column), memory(column));
    text.push_str(&parts(column));
    text
}

/// Writes docs/overhead.md.
pub(super) fn publish(columns: &[Column]) -> Result<()> {
    let path = workspace_root()?.join("docs/overhead.md");
    fs::write(&path, page(columns)).with_context(|| format!("cannot write {}", path.display()))?;
    println!("written to docs/overhead.md");
    Ok(())
}

/// What breaks the promise to cost less than the cheaper bpftrace script.
pub(super) fn failures(column: &Column) -> Vec<String> {
    let kernel = &column.kernel;
    let cheaper = BPFTRACE.iter().filter_map(|name| column.added(name)).min();
    let Some(limit) = cheaper else {
        return vec![format!("{kernel}: bpftrace was not measured")];
    };
    [JSON, TABLE]
        .into_iter()
        .filter_map(|name| match column.added(name) {
            Some(added) if added < limit => None,
            Some(added) => Some(format!(
                "{kernel}: {name} adds {}, the cheaper bpftrace script {}",
                grouped(added),
                grouped(limit)
            )),
            None => Some(format!("{kernel}: {name} was not measured")),
        })
        .collect()
}

fn page(columns: &[Column]) -> String {
    let mut page = String::from(INTRODUCTION);
    for column in columns {
        let _ = writeln!(page, "## {}\n", title(column));
        page.push_str(&table(column, STEP));
        let _ = writeln!(page, "\n{}\n{}\n", idle(column), memory(column));
        page.push_str(&parts(column));
    }
    if let Some(column) = columns.first() {
        page.push_str(&bounds::section(column));
    }
    page.push_str(TIME);
    let _ = write!(
        page,
        "## The bpftrace scripts\n\nCounts by listener:\n\n```\n{COUNTING_SCRIPT}\n```\n\nListener only:\n\n```\n{LISTENER_SCRIPT}\n```\n\n\
         Client, destination and listener:\n\n```\n{CONNECTION_SCRIPT}\n```\n"
    );
    page
}

fn title(column: &Column) -> String {
    format!("Linux {} ({})", column.kernel, column.release)
}

fn idle(column: &Column) -> String {
    if column.idle == 0 {
        return "Without connections, nothing wakes `sockpick trace`.".to_owned();
    }
    format!(
        "Without connections, `sockpick trace` executes {} instructions a minute.",
        grouped(rounded(column.idle, STEP))
    )
}

/// Where the daemon's instructions go.
fn parts(column: &Column) -> String {
    let Some(added) = column.added(DAEMON).filter(|_| !column.parts.is_empty()) else {
        return String::new();
    };
    let inside: u64 = column.parts.iter().map(|(_, ran)| ran).sum();
    let all = column.parts.iter();
    let all = all.map(|(probe, ran)| format!("{} at `{probe}`", grouped(*ran)));
    format!(
        "Of what `sockpick daemon` adds, its programs take {}, by the kernel's own count \
         (`kernel.bpf_stats_enabled`), which takes some of it; to reach them and the rest takes {}.\n\n",
        all.collect::<Vec<_>>().join(", "),
        grouped(added.saturating_sub(inside))
    )
}

/// What it takes of memory, as the kernel counts it for the process.
fn memory(column: &Column) -> String {
    let of = |name| {
        let row = column.rows.iter().find(|row| row.name == name)?;
        Some(row.resident?.div_ceil(1024).to_string())
    };
    let known = |name| of(name).unwrap_or_else(|| "?".to_owned());
    format!(
        "Resident memory (`VmRSS`): `sockpick trace -o json` {} MiB, `sockpick daemon` {} MiB. The \
         ring buffer (`--buffer-size`) is in it twice, as it is mapped twice in a row.",
        known(JSON),
        known(DAEMON)
    )
}

/// A Markdown table that can be read as it is. `step` 1 also shows how the rounds differ.
fn table(column: &Column, step: u64) -> String {
    let mut head = vec![
        "instructions per connection".to_owned(),
        "added".to_owned(),
        "of a connection".to_owned(),
        "by the probes".to_owned(),
        "by the process".to_owned(),
    ];
    let alone = grouped(rounded(column.baseline, step));
    let mut first = vec![format!("nobody watches: {alone}")];
    first.resize(head.len(), String::new());
    let mut lines = vec![first];
    lines.extend(
        column
            .rows
            .iter()
            .map(|row| cells(row, column.baseline, step)),
    );
    if step == 1 {
        head.push("rounds differ by".to_owned());
        lines[0].push(String::new());
        for (line, row) in lines[1..].iter_mut().zip(&column.rows) {
            line.push(grouped(row.added.spread));
        }
    }
    aligned(&head, &lines)
}

fn cells(row: &Row, baseline: u64, step: u64) -> Vec<String> {
    let added = row.added.value;
    let kernel = row.user.map(|user| added.saturating_sub(user));
    let share = (added * 100 + baseline / 2) / baseline.max(1);
    let part = |value: Option<u64>| value.map_or("–".to_owned(), |v| grouped(rounded(v, step)));
    vec![
        row.about.to_owned(),
        part(Some(added)),
        format!("{share} %"),
        part(kernel),
        part(row.user),
    ]
}

/// The first column to the left, figures to the right.
pub(super) fn aligned(head: &[String], lines: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = lines.iter().filter_map(|line| line.get(at));
        let all = cells.chain(head.get(at));
        all.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut push = |line: &[String]| {
        for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = if at == 0 {
                write!(text, "| {cell:<width$} |")
            } else {
                write!(text, " {cell:>width$} |")
            };
        }
        text.push('\n');
    };
    push(head);
    let rules: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(at, width)| {
            let dashes = "-".repeat(width - usize::from(at > 0));
            if at == 0 {
                dashes
            } else {
                format!("{dashes}:")
            }
        })
        .collect();
    push(&rules);
    for line in lines {
        push(line);
    }
    text
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
    use super::{failures, grouped, page, rounded};
    use crate::bench::samples::{Column, Figure, Row};

    fn column(figures: [(&'static str, u64); 4]) -> Column {
        let rows = figures.map(|(name, value)| Row {
            name,
            about: name,
            added: Figure { value, spread: 0 },
            user: Some(1000),
            resident: None,
        });
        Column {
            kernel: "6.12".into(),
            release: "6.12.1".into(),
            baseline: 60_000,
            rows: rows.into(),
            idle: 49,
            parts: vec![("tcp_conn_request".into(), 300)],
        }
    }

    #[test]
    fn both_outputs_must_beat_the_cheaper_script() {
        let scripts = [("bpftrace-listener", 17_000), ("bpftrace-connection", 9000)];
        let both = |json, table| {
            failures(&column([
                ("json", json),
                ("table", table),
                scripts[0],
                scripts[1],
            ]))
        };
        assert_eq!(both(8000, 8999), Vec::<String>::new());
        assert_eq!(
            both(8000, 9000),
            ["6.12: table adds 9,000, the cheaper bpftrace script 9,000"]
        );
    }

    #[test]
    fn the_page_rounds() {
        let figures = [("a", 16_424), ("b", 16_426), ("c", 1), ("d", 1)];
        let page = page(&[column(figures)]);
        assert!(
            page.contains("| a ") && page.contains(" 16,400 | "),
            "{page}"
        );
        assert!(page.contains(" 16,450 | "), "{page}");
        assert!(page.contains("nobody watches: 60,000"), "{page}");
    }

    #[test]
    fn figures_are_grouped_and_rounded() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(rounded(150, 100), 200);
        assert_eq!(rounded(149, 1), 149);
    }
}
