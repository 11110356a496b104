//! What the guest measured, and the figures that follow.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::variants::{VARIANTS, counted, script};
use crate::guest::{Guest, Source};
use crate::kernels;
use crate::rootfs::GuestFile;

const BASELINE: &str = "baseline";

/// A figure per connection, in instructions, as the rounds agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figure {
    /// The median of the rounds.
    pub(super) value: u64,
    /// Between the lowest and the highest.
    pub(super) spread: u64,
}

/// What one variant adds.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) added: Figure,
    /// How much of it the tool's own process did, if that can be told.
    pub(super) user: Option<u64>,
    /// Its resident memory in KiB, once it saw connections.
    pub(super) resident: Option<u64>,
}

/// One kernel.
pub(super) struct Column {
    pub(super) kernel: String,
    pub(super) release: String,
    /// A connection that nobody watches.
    pub(super) baseline: u64,
    pub(super) rows: Vec<Row>,
    /// sockpick's own instructions in a minute without connections.
    pub(super) idle: u64,
    /// What each function's probe takes of a connection that the daemon watches, those that take
    /// most first.
    pub(super) parts: Vec<(String, u64)>,
}

impl Column {
    /// What a variant adds.
    pub(super) fn added(&self, name: &str) -> Option<u64> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        Some(row.added.value)
    }
}

/// What is to be measured on each kernel.
pub(super) struct Asked<'a> {
    /// Names of rows; none: all.
    pub(super) rows: &'a [String],
    pub(super) connections: u32,
    pub(super) rounds: u32,
    pub(super) timeout: Duration,
}

/// Measures on one kernel; takes minutes.
pub(super) fn measure(kernel: &str, files: &[GuestFile], asked: &Asked<'_>) -> Result<Column> {
    let guest = Guest {
        files: files.to_owned(),
        // As few things as possible that differ from boot to boot.
        append: "nokaslr norandmaps".into(),
        icount: true,
        timeout: asked.timeout,
        ..Guest::new(kernels::find(kernel, false)?)
    };
    let command = [
        "sh",
        "-c",
        &script(asked.rows, asked.connections, asked.rounds),
    ]
    .map(ToOwned::to_owned);
    let mut said = Said::default();
    let finished = guest.run(&command, |source, line| {
        if source == Source::Command {
            said.add(&String::from_utf8_lossy(line));
        }
    })?;
    if finished.exit_code != 0 {
        bail!(
            "the measurement on kernel {kernel} failed:\n{}",
            said.rest.trim_end()
        );
    }
    said.column(kernel, u64::from(counted(asked.connections)))
        .with_context(|| format!("the measurement on kernel {kernel} is not complete"))
}

/// Instructions that a sample took.
struct Sample {
    busy: u64,
    tool: u64,
    /// Per connection, from inside the load: no start and end of processes.
    load: u64,
}

/// The guest's lines, read.
#[derive(Default)]
struct Said {
    release: String,
    samples: BTreeMap<String, Vec<Sample>>,
    resident: BTreeMap<String, u64>,
    parts: Vec<(String, u64)>,
    idle: Option<u64>,
    /// Everything else: errors.
    rest: String,
}

impl Said {
    fn add(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["RELEASE", release] => release.clone_into(&mut self.release),
            ["IDLE", _, ran] => self.idle = ran.parse().ok(),
            ["RESIDENT", name, kib] => {
                if let Ok(kib) = kib.parse() {
                    self.resident.insert(name.into(), kib);
                }
            }
            ["PART", probe, ran] => {
                if let Ok(ran) = ran.parse() {
                    self.parts.push((probe.into(), ran));
                }
            }
            ["SAMPLE", name, busy, tool, load] => {
                let [Ok(busy), Ok(tool), Ok(load)] = [busy, tool, load].map(str::parse) else {
                    return;
                };
                let sample = Sample { busy, tool, load };
                self.samples.entry(name.into()).or_default().push(sample);
            }
            _ => self.rest.push_str(line),
        }
    }

    fn column(&self, kernel: &str, counted: u64) -> Option<Column> {
        let baseline = self.samples.get(BASELINE)?;
        let alone = median(baseline.iter().map(|sample| sample.busy))?;
        let alone_load = median(baseline.iter().map(|sample| sample.load))?;
        let rows = VARIANTS.iter().filter_map(|variant| {
            let samples = self.samples.get(variant.name)?;
            // Where nothing is told, the load's own clock has all that a connection takes, and not
            // what the load's start and end take, which is more than some of these figures.
            let added = samples.iter().map(|sample| match variant.lines {
                0 => sample.load.saturating_sub(alone_load),
                _ => sample.busy.saturating_sub(alone) / counted,
            });
            let user = samples.iter().map(|sample| sample.tool / counted);
            // bpftrace is woken by each event, in the middle of the kernel's work on a
            // connection, and does the rest of it on its own account.
            let is_sockpick = !variant.name.starts_with("bpftrace");
            Some(Row {
                name: variant.name,
                about: variant.about,
                added: figure(added)?,
                user: median(user).filter(|_| is_sockpick),
                resident: self.resident.get(variant.name).copied(),
            })
        });
        let parts = self.parts.iter();
        let parts = parts.map(|(probe, ran)| (probe.clone(), ran / counted));
        let mut parts: Vec<_> = parts.filter(|(_, ran)| *ran > 0).collect();
        parts.sort_by_key(|(_, ran)| Reverse(*ran));
        Some(Column {
            kernel: kernel.to_owned(),
            release: self.release.clone(),
            baseline: alone_load,
            rows: rows.collect(),
            idle: self.idle?,
            parts,
        })
    }
}

fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().checked_sub(1)? / 2)?;
    Some(u64::midpoint(lower, upper))
}

fn figure(values: impl Iterator<Item = u64> + Clone) -> Option<Figure> {
    Some(Figure {
        value: median(values.clone())?,
        spread: values.clone().max()? - values.min()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Figure, Said, median};

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(median([3, 1, 2].into_iter()), Some(2));
        assert_eq!(median([10, 20].into_iter()), Some(15));
        assert_eq!(median([].into_iter()), None);
    }

    #[test]
    fn figures_are_per_connection_and_without_the_baseline() {
        let mut said = Said::default();
        for line in [
            "RELEASE 6.12.1\n",
            "SAMPLE baseline 1000 0 90\n",
            "RESIDENT json 20480\n",
            "SAMPLE json 1310 100 120\n",
            "SAMPLE json 1290 120 120\n",
            "SAMPLE bpftrace-listener 1500 400 130\n",
            "PART tcp_conn_request 2100\n",
            "PART inet_csk_listen_start 3\n",
            "IDLE json 77\n",
        ] {
            said.add(line);
        }
        let column = said.column("6.12", 10).expect("it is complete");
        let [json, bpftrace] = &column.rows[..] else {
            panic!("a row for each variant that was measured");
        };
        let added = Figure {
            value: 30,
            spread: 2,
        };
        assert_eq!((json.added, json.user), (added, Some(11)));
        assert_eq!((json.resident, bpftrace.resident), (Some(20_480), None));
        assert_eq!((bpftrace.added.value, bpftrace.user), (50, None));
        assert_eq!((column.baseline, column.idle), (90, 77));
        // What takes less than one of a connection is left out.
        assert_eq!(column.parts, [("tcp_conn_request".to_owned(), 210)]);
        assert_eq!(said.rest, "");
    }

    #[test]
    fn what_is_no_sample_is_kept_for_the_error() {
        let mut said = Said::default();
        said.add("BENCH-ERROR json said 3 lines\n");
        assert!(said.rest.contains("3 lines"));
        assert!(said.column("6.12", 10).is_none());
    }
}
