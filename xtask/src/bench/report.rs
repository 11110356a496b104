//! The figures for people: on the screen, and in docs/overhead.md.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::bounds;
use super::figures::Column;
use super::plot::Plot;
use super::tables::{self, grouped, rounded};
use super::variants::{
    BPFTRACE, CONNECTION_SCRIPT, COUNTING_SCRIPTS, DAEMON, JSON, LISTENER_SCRIPT, TABLE,
};
use crate::process::workspace_root;

/// Figures on the page are rounded to this.
const STEP: u64 = 10;

const INTRODUCTION: &str = "\
# Overhead

Written by `cargo xtask bench`; do not edit.

A guest that counts instructions instead of time (QEMU, one processor, one nanosecond of guest time
per instruction) makes connections over loopback, one after the other: connect, accept, close with
a reset. Each figure is everything that the processor executed until the last event was written to
a file in memory, idling left out, divided by the connections, less the same without a tool
watching: the probes, the tool's own process, waking it up and switching to it. What comes once is
left out, as the look at who owns a new listener. bpftrace is woken in the middle of a connection
and does some of the kernel's work on its own account, so how its figure divides is not known.

Each kernel is booted twice, and a figure is the middle of the two. Chance, the guest's random numbers
and its clock, comes from the number of the boot: the same boot of the same programs gives the same
figures, to the instruction, on any machine. Another boot has other hash chains, other pages and
other ticks of the clock in the middle of a connection, and so does one with other programs; how far
the boots are apart says how far a figure can be trusted.

![What watching adds](overhead.svg)

";

/// Read by people who want to know what it means on their hosts.
const TIME: &str = "\
## What instructions say of time

They say how much there is to do. They do not say how long it takes, which hangs on the processor,
on what is in its caches and on what else goes on. A program that reads memory nobody read lately
takes longer than its instructions suggest; one that runs for each of a burst of SYNs takes less. On
a host, measure there:

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
    section(column, 1)
}

/// Writes docs/overhead.md and its picture.
pub(super) fn publish(columns: &[Column]) -> Result<()> {
    let docs = workspace_root()?.join("docs");
    let files = [
        ("overhead.md", page(columns)),
        ("overhead.svg", Plot(columns).to_string()),
    ];
    for (name, text) in files {
        let path = docs.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("written to docs/{name}");
    }
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
        page.push_str(&section(column, STEP));
    }
    if let Some(column) = columns.first() {
        page.push_str(&bounds::section(column));
    }
    page.push_str(TIME);
    page.push_str(
        "## The bpftrace scripts\n\nWhere a kernel's table lacks one, bpftrace was refused it there.\n\n",
    );
    let counts = COUNTING_SCRIPTS.join("\n");
    for (what, script) in [
        (
            "Count by listener, what was looked up and what was taken in",
            &*counts,
        ),
        ("Listener only", LISTENER_SCRIPT),
        ("Client, destination and listener", CONNECTION_SCRIPT),
    ] {
        let _ = write!(page, "{what}:\n\n```\n{script}\n```\n\n");
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// All about a kernel.
fn section(column: &Column, step: u64) -> String {
    let (kernel, release) = (&column.kernel, &column.release);
    let mut text = format!("## Linux {kernel} ({release})\n\n");
    if !column.rows.is_empty() {
        text.push_str(&tables::ways(column, step));
        text.push('\n');
    }
    text.extend(idle(column));
    text.extend(memory(column));
    text.push('\n');
    text.extend(parts(column));
    text.push_str(&tables::others(column, step));
    text.push_str(&tables::starts(column));
    text.push_str(&tables::bursts(column));
    text
}

fn idle(column: &Column) -> Option<String> {
    Some(match column.idle? {
        0 => "Without connections, nothing wakes `sockpick trace`.\n".to_owned(),
        idle => format!(
            "Without connections, `sockpick trace` executes {} instructions a minute.\n",
            grouped(rounded(idle, STEP))
        ),
    })
}

/// Where the daemon's instructions go.
fn parts(column: &Column) -> Option<String> {
    let added = column.added(DAEMON).filter(|_| !column.parts.is_empty())?;
    let inside: u64 = column.parts.iter().map(|(_, ran)| ran).sum();
    let all = column.parts.iter();
    let all = all.map(|(probe, ran)| format!("{} at `{probe}`", grouped(*ran)));
    Some(format!(
        "Of what `sockpick daemon` adds, its programs take {}, by the kernel's own count \
         (`kernel.bpf_stats_enabled`), which takes some of it; to reach them and the rest takes {}.\n\n",
        all.collect::<Vec<_>>().join(", "),
        grouped(added.saturating_sub(inside))
    ))
}

/// What it takes of memory, as the kernel counts it for the process.
fn memory(column: &Column) -> Option<String> {
    let of = |name| {
        let row = column.rows.iter().find(|row| row.name == name)?;
        Some(tables::tenths(row.resident? * 1024))
    };
    Some(format!(
        "Resident memory (`VmRSS`): `sockpick trace -o json` {} MiB, `sockpick daemon` {} MiB. The \
         ring buffer (`--buffer-size`) is in it twice, as it is mapped twice in a row.\n",
        of(JSON)?,
        of(DAEMON)?
    ))
}

#[cfg(test)]
mod tests {
    use super::{failures, page};
    use crate::bench::figures::{Column, Figure, Row};

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
            baseline: Figure {
                value: 60_000,
                spread: 0,
            },
            rows: rows.into(),
            ..Column::default()
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
        let figures = [("a", 16_424), ("b", 16_425), ("c", 1), ("d", 1)];
        let page = page(&[column(figures)]);
        assert!(
            page.contains("| a ") && page.contains(" 16,420 | "),
            "{page}"
        );
        assert!(page.contains(" 16,430 | "), "{page}");
        assert!(page.contains("nobody watches: 60,000"), "{page}");
        assert!(page.ends_with("```\n"), "{page}");
    }
}
