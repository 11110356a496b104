//! What the guests measured, and the figures that follow.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::figures::{Burst, Column, Figure, Other, Row, Start};
use super::kinds::{CROWDS, KINDS, SHARED, STOPPED};
use super::variants::{DAEMON, JSON, VARIANTS, Variant, named};

/// Instructions that a connection took: all, and in the tool's own process.
struct Sample {
    all: u64,
    tool: u64,
}

/// The lines of a boot, read.
#[derive(Default)]
pub(super) struct Said {
    release: String,
    samples: BTreeMap<String, Vec<Sample>>,
    resident: BTreeMap<String, u64>,
    parts: Vec<(String, u64)>,
    idle: Option<u64>,
    /// Instructions, those of the process, KiB, bytes of maps.
    starts: BTreeMap<String, [u64; 4]>,
    /// SYNs, told, lost.
    bursts: BTreeMap<String, [u64; 3]>,
    /// All lines.
    pub(super) log: String,
    /// Those that are no figures: errors.
    pub(super) rest: String,
}

impl Said {
    pub(super) fn add(&mut self, line: &str) {
        self.log.push_str(line);
        if self.read(line).is_none() {
            self.rest.push_str(line);
        }
    }

    fn read(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (what, words) = words.split_first()?;
        let (name, words) = words.split_first()?;
        if *what == "RELEASE" {
            (*name).clone_into(&mut self.release);
            return Some(());
        }
        let numbers = words.iter().map(|word| word.parse::<u64>().ok());
        let numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
        self.measured(what, (*name).to_owned(), &numbers)
    }

    fn measured(&mut self, what: &str, name: String, numbers: &[u64]) -> Option<()> {
        match (what, numbers) {
            ("IDLE", &[ran]) => self.idle = Some(ran),
            ("RESIDENT", &[kib]) => drop(self.resident.insert(name, kib)),
            ("PART", &[connections, ran]) => self.parts.push((name, ran / connections.max(1))),
            ("SAMPLE", &[connections, all, tool]) => {
                let [all, tool] = [all, tool].map(|ran| ran / connections.max(1));
                let samples = self.samples.entry(name).or_default();
                samples.push(Sample { all, tool });
            }
            ("BEGAN", numbers) => drop(self.starts.insert(name, numbers.try_into().ok()?)),
            ("BURST", numbers) => drop(self.bursts.insert(name, numbers.try_into().ok()?)),
            _ => return None,
        }
        Some(())
    }

    /// The median of the samples of that name.
    fn median(&self, name: &str, of: impl Fn(&Sample) -> u64) -> Option<u64> {
        let samples = self.samples.get(name)?;
        Some(Figure::of(samples.iter().map(of).collect())?.value)
    }

    /// A connection of a kind that nobody watches.
    fn alone(&self, kind: &str) -> Option<u64> {
        self.median(&format!("{kind}baseline"), |sample| sample.all)
    }

    fn added(&self, kind: &str, variant: &Variant) -> Option<u64> {
        let name = format!("{kind}{}", variant.name);
        let watched = self.median(&name, |sample| sample.all)?;
        Some(watched.saturating_sub(self.alone(kind)?))
    }
}

/// What the boots of a kernel say, put together.
pub(super) fn column(kernel: &str, boots: &[Said]) -> Column {
    Column {
        kernel: kernel.to_owned(),
        release: boots
            .first()
            .map(|boot| boot.release.clone())
            .unwrap_or_default(),
        baseline: each(boots, |boot| boot.alone("")).unwrap_or_default(),
        rows: VARIANTS.iter().filter_map(|way| row(boots, way)).collect(),
        idle: boots.iter().filter_map(|boot| boot.idle).max(),
        parts: parts(boots),
        others: others(boots).collect(),
        starts: starts(boots).collect(),
        bursts: bursts(boots).collect(),
    }
}

/// A figure of all boots that have it.
fn each(boots: &[Said], of: impl Fn(&Said) -> Option<u64>) -> Option<Figure> {
    Figure::of(boots.iter().filter_map(of).collect())
}

fn row(boots: &[Said], way: &'static Variant) -> Option<Row> {
    let user = |boot: &Said| boot.median(way.name, |sample| sample.tool);
    Some(Row {
        name: way.name,
        about: way.about,
        added: each(boots, |boot| boot.added("", way))?,
        // bpftrace is woken by each event, in the middle of the kernel's work on a connection, and
        // does the rest of it on its own account.
        user: each(boots, user)
            .filter(|_| way.script().is_none())
            .map(|user| user.value),
        resident: each(boots, |boot| boot.resident.get(way.name).copied()).map(|kib| kib.value),
    })
}

fn parts(boots: &[Said]) -> Vec<(String, u64)> {
    let Some(boot) = boots.iter().find(|boot| !boot.parts.is_empty()) else {
        return Vec::new();
    };
    // What takes less than one of a connection is left out.
    let parts = boot.parts.iter().filter(|(_, ran)| *ran > 0);
    let mut parts: Vec<_> = parts.cloned().collect();
    parts.sort_by_key(|(_, ran)| Reverse(*ran));
    parts
}

fn others(boots: &[Said]) -> impl Iterator<Item = Other> {
    KINDS.iter().filter_map(|kind| {
        let prefix = format!("{}/", kind.name);
        let added = |way| each(boots, |boot| boot.added(&prefix, named(way)?));
        Some(Other {
            name: kind.name,
            about: kind.about,
            alone: each(boots, |boot| boot.alone(&prefix))?.value,
            json: added(JSON)?,
            daemon: added(DAEMON)?,
        })
    })
}

fn starts(boots: &[Said]) -> impl Iterator<Item = Start> {
    let both = CROWDS
        .iter()
        .flat_map(|crowd| [JSON, DAEMON].map(|tool| (crowd, tool)));
    both.filter_map(|(crowd, tool)| {
        let name = format!("{}/{tool}", crowd.name);
        let figure = |at: usize| each(boots, |boot| boot.starts.get(&name).map(|all| all[at]));
        Some(Start {
            listeners: crowd.listeners,
            namespaces: crowd.namespaces,
            name: (crowd.name, tool),
            took: figure(0)?,
            user: figure(1)?.value,
            resident: figure(2)?,
            maps: figure(3)?.value,
        })
    })
}

fn bursts(boots: &[Said]) -> impl Iterator<Item = Burst> {
    [SHARED, STOPPED].into_iter().filter_map(|name| {
        let figure = |at: usize| each(boots, |boot| boot.bursts.get(name).map(|all| all[at]));
        Some(Burst {
            name,
            syns: figure(0)?.value,
            told: figure(1)?.value,
            lost: figure(2)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
RELEASE 6.12.1
SAMPLE baseline 10 900 0
RESIDENT json 20480
SAMPLE json 10 1210 100
SAMPLE json 10 1190 120
SAMPLE daemon 10 970 10
SAMPLE bpftrace-listener 10 1400 400
PART tcp_conn_request 10 2100
PART inet_csk_listen_start 10 3
IDLE json 77
SAMPLE v6/baseline 10 1100 0
SAMPLE v6/json 10 1200 0
SAMPLE v6/daemon 10 1190 0
BEGAN 10-in-1/json 5000 4000 20000 9000
BURST stopped 20000 15000 5000
";

    fn said(lines: &str) -> Said {
        let mut said = Said::default();
        for line in lines.split_inclusive('\n') {
            said.add(line);
        }
        said
    }

    #[test]
    fn figures_are_per_connection_and_without_the_baseline() {
        let column = column("6.12", &[said(LINES)]);
        let [json, daemon, bpftrace] = &column.rows[..] else {
            panic!("a row for each way that was measured");
        };
        assert_eq!((json.added.value, json.user), (30, Some(11)));
        assert_eq!((daemon.added.value, daemon.user), (7, Some(1)));
        assert_eq!((json.resident, bpftrace.resident), (Some(20_480), None));
        assert_eq!((bpftrace.added.value, bpftrace.user), (50, None));
        assert_eq!((column.baseline.value, column.idle), (90, Some(77)));
        assert_eq!(column.parts, [("tcp_conn_request".to_owned(), 210)]);
        let v6 = column.other("v6").expect("it was measured");
        let figures = (v6.alone, v6.json.value, v6.daemon.value);
        assert_eq!(figures, (110, 10, 9));
        let start = column.start("10-in-1", JSON).expect("it was measured");
        assert_eq!((start.took.value, start.maps), (5000, 9000));
        assert_eq!(column.bursts[0].lost.value, 5000);
    }

    #[test]
    fn boots_are_held_against_each_other() {
        let other = LINES.replace("SAMPLE daemon 10 970 10", "SAMPLE daemon 10 1030 10");
        let column = column("6.12", &[said(LINES), said(&other)]);
        let figure = Figure {
            value: 10,
            spread: 6,
        };
        assert_eq!(column.rows[1].added, figure);
    }

    #[test]
    fn what_is_no_sample_is_kept_for_the_error() {
        let said = said("BENCH-ERROR json said 3 lines\nSAMPLE json 1 2\n");
        assert!(said.rest.contains("3 lines") && said.rest.contains("SAMPLE"));
        assert!(column("6.12", &[said]).rows.is_empty());
    }
}
