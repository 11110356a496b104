//! `cargo xtask soak`: the daemon for a day, in a guest that skips the time in which nothing
//! happens; what it takes of memory, descriptors and threads, as pictures.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::artifacts::{self, Build};
use crate::chart::{Chart, Series};
use crate::guest::{Guest, Source};
use crate::process::workspace_root;
use crate::{kernels, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernel version
    #[arg(long, value_name = "VERSION", default_value = "6.12")]
    kernel: String,
    /// Minutes of the guest's time; docs/soak.md is written where it is a day
    #[arg(long, value_name = "N", default_value_t = DAY, value_parser = clap::value_parser!(u32).range(60..))]
    minutes: u32,
    /// Time for it on this machine
    #[arg(long, value_name = "SECS", default_value_t = 7200)]
    timeout: u64,
    /// Do not build first
    #[arg(long)]
    no_build: bool,
}

const DAY: u32 = 24 * 60;

/// The scenario, which says what happens meanwhile and what is held against what.
const SCENARIO: &str = "daemon_soak";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::run()?;
    let guest = Guest {
        files: artifacts::collect(Build::all_unless(args.no_build))?,
        icount: true,
        timeout: Duration::from_secs(args.timeout),
        ..Guest::new(kernels::find(&args.kernel, false)?)
    };
    let minutes = args.minutes;
    let scenario = format!(
        "export SOCKPICK_SOAK_MINUTES={minutes} SOCKPICK_SOAK_SAMPLES=/tmp/samples\n\
         sockpick-scenarios --backend fentry {SCENARIO}\n\
         status=$?\n\
         [ ! -r /tmp/samples ] || cat /tmp/samples\n\
         exit $status"
    );
    let command = ["sh", "-c", &scenario].map(ToOwned::to_owned);
    let mut samples = Samples::default();
    let finished = guest.run(&command, |source, line| {
        let line = String::from_utf8_lossy(line);
        if source == Source::Command && !samples.add(&line) {
            print!("{line}");
        }
    })?;
    println!("{}", samples.text());
    if finished.exit_code != 0 {
        return Ok(ExitCode::FAILURE);
    }
    if minutes == DAY {
        publish(&samples, &args.kernel)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn publish(samples: &Samples, kernel: &str) -> Result<()> {
    let docs = workspace_root()?.join("docs");
    let [memory, counts] = samples.pictures();
    let page = format!(
        "# A day of the daemon\n\nWritten by `cargo xtask soak`; do not edit.\n\n\
         A guest with Linux {kernel} skips the time in which nothing happens. Each minute of its \
         day a service restarts and is given connections, another beside it too, some are refused, \
         a network namespace comes and goes, and metrics are scraped; every ten minutes the service \
         is down for one, which is an alert; every fifteen the configuration is read again, every \
         other time a broken one; every thirty there are two thousand connections at once. One of \
         two receivers of alerts is never there. In the end the counts are what the servers \
         accepted, there was one alert for each outage, and nothing was lost.\n\n{}\n\n\
         ![Resident memory](soak-memory.svg)\n\n![Descriptors and threads](soak-counts.svg)\n",
        samples.text()
    );
    for (name, text) in [
        ("soak.md", page),
        ("soak-memory.svg", memory),
        ("soak-counts.svg", counts),
    ] {
        fs::write(docs.join(name), text).with_context(|| format!("cannot write docs/{name}"))?;
    }
    println!("written to docs/soak.md");
    Ok(())
}

/// What was measured each minute.
#[derive(Default)]
struct Samples(Vec<[u32; 4]>);

impl Samples {
    /// Whether the line is one of them.
    fn add(&mut self, line: &str) -> bool {
        let Some(numbers) = line.strip_prefix("SOAK ") else {
            return false;
        };
        let numbers: Vec<u32> = numbers.split_whitespace().flat_map(str::parse).collect();
        let sample = <[u32; 4]>::try_from(numbers);
        self.0.extend(sample);
        true
    }

    fn text(&self) -> String {
        let of = |half: &[[u32; 4]]| {
            let most = |at: usize| half.iter().map(|sample| sample[at]).max().unwrap_or(0);
            format!(
                "{} MiB, {} descriptors and {} threads",
                most(1).div_ceil(1024),
                most(2),
                most(3)
            )
        };
        let (first, last) = self.0.split_at(self.0.len() / 2);
        format!(
            "In {} minutes it took at most {} in the first half, and {} in the last.",
            self.0.len(),
            of(first),
            of(last)
        )
    }

    /// Of memory; of descriptors and threads.
    fn pictures(&self) -> [String; 2] {
        let series = |legend: &str, value: fn(&[u32; 4]) -> f64| Series {
            legend: legend.to_owned(),
            points: self
                .0
                .iter()
                .map(|sample| (f64::from(sample[0]) * 60.0, value(sample)))
                .collect(),
        };
        let length = self.0.last().map_or(0.0, |last| f64::from(last[0]) * 60.0);
        let draw = |title: &str, unit: &str, series: &[Series]| {
            let chart = Chart {
                title,
                description: "sockpick daemon, a sample each minute",
                unit,
                length,
                step: 60.0,
                series,
            };
            chart.to_string()
        };
        [
            draw(
                "Resident memory",
                "mbytes",
                &[series("VmRSS", |sample| f64::from(sample[1]) / 1024.0)],
            ),
            draw(
                "Descriptors and threads",
                "short",
                &[
                    series("descriptors", |sample| f64::from(sample[2])),
                    series("threads", |sample| f64::from(sample[3])),
                ],
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_half_is_told_by_its_most() {
        let mut samples = Samples::default();
        for line in [
            "SOAK 1 2048 30 5\n",
            "SOAK 2 1024 31 4\n",
            "SOAK 3 1 32 6\n",
        ] {
            assert!(samples.add(line));
        }
        assert!(!samples.add("PASS it\n"));
        assert_eq!(
            samples.text(),
            "In 3 minutes it took at most 2 MiB, 30 descriptors and 5 threads in the first half, \
             and 1 MiB, 32 descriptors and 6 threads in the last."
        );
        let [memory, counts] = samples.pictures();
        assert!(memory.contains("VmRSS") && counts.contains("threads"));
    }
}
