//! `cargo xtask demo --daemon`: the story from the first wrong SYN to the alert in Alertmanager and
//! its end, and the dashboard's pictures from what Prometheus answers.
//!
//! Everything that is shown is what a server in the guest answered, and is checked before it counts.

mod dashboard;
mod hear;
mod judge;
mod time;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{SERVERS, ended_well};
use crate::artifacts::{self, Build};
use crate::guest::{Guest, Source};
use crate::process::workspace_root;
use crate::rootfs::GuestFile;
use crate::{kernels, peers, setup};
use dashboard::Dashboard;
use hear::Heard;

/// Runs in the guest after [`SERVERS`].
const STORY: &str = include_str!("story.sh");
const CONFIGURATION: &str = include_str!("sockpick.toml");

const CAST: &str = "\
Real servers on one host:
    A, an nginx, listens on 6.6.6.6:80 reuseport, and answers 200
    B, an nginx, listens on *:80       reuseport, and answers 403
    Alertmanager is told by sockpick, Prometheus asks it for its metrics
The daemon's configuration:";

/// Programs of others that run in the guest.
const PROGRAMS: [&str; 3] = ["prometheus", "prometheus-alertmanager", "amtool"];
/// Without it Alertmanager does not start, where its package keeps it beside the program.
const TEMPLATES: [&str; 2] = ["default.tmpl", "email.tmpl"];
const TEMPLATE_FOLDER: &str = "usr/share/prometheus/alertmanager";

/// Where the guest finds the dashboard's queries.
const QUERIES: &str = "/etc/prometheus/queries";
/// The story takes three minutes, most of which is waiting; machines differ.
const LONGEST: Duration = Duration::from_mins(9);

pub(super) fn run(kernel: &str) -> Result<ExitCode> {
    setup::run()?;
    let root = workspace_root()?;
    let dashboard = Dashboard::read(&root.join("monitoring/grafana-dashboard.json"))?;
    let work = tempfile::tempdir().context("cannot create a temporary folder")?;
    let queries = work.path().join("queries");
    fs::write(&queries, dashboard.questions()).context("cannot write the queries")?;
    let peers = peers::folder()?;
    eprintln!("building sockpick ...");
    let mut files = artifacts::collect(Build::Tracer)?;
    files.extend(peer_files(&peers));
    files.extend(configurations(&root));
    files.push(GuestFile::new(queries, QUERIES));
    let guest = Guest {
        files,
        // Programs and their files are in it several times while it boots.
        memory_mb: 2048,
        timeout: LONGEST,
        ..Guest::new(kernels::find(kernel, false)?)
    };
    say(CAST);
    for line in CONFIGURATION.lines() {
        say(&format!("    {line}"));
    }
    let heard = told(&guest)?;
    let mut problems = judge::problems(&heard);
    let folder = artifacts::target()?.join("demo");
    problems.extend(pictures(&dashboard, &heard, &folder)?);
    if problems.is_empty() {
        say("The alert came, and was resolved; every query was answered.");
        return Ok(ExitCode::SUCCESS);
    }
    for problem in problems {
        eprintln!("WRONG: {problem}");
    }
    Ok(ExitCode::FAILURE)
}

fn peer_files(peers: &Path) -> Vec<GuestFile> {
    let programs = PROGRAMS.map(|program| format!("usr/bin/{program}"));
    let templates = TEMPLATES.map(|name| format!("{TEMPLATE_FOLDER}/{name}"));
    let templates = templates
        .into_iter()
        .filter(|path| peers.join(path).exists());
    let paths = programs.into_iter().chain(templates);
    paths
        .map(|path| GuestFile::new(peers.join(&path), format!("/{path}")))
        .collect()
}

fn configurations(root: &Path) -> [GuestFile; 4] {
    let own = root.join("xtask/src/demo/daemon");
    [
        (own.join("sockpick.toml"), "/etc/sockpick/sockpick.toml"),
        (own.join("prometheus.yml"), "/etc/prometheus/prometheus.yml"),
        (
            own.join("alertmanager.yml"),
            "/etc/prometheus/alertmanager.yml",
        ),
        (
            root.join("monitoring/prometheus-rules.yml"),
            "/etc/prometheus/sockpick-rules.yml",
        ),
    ]
    .map(|(host, guest)| GuestFile::new(host, guest))
}

/// Runs the story in the guest and prints it as it happens.
fn told(guest: &Guest) -> Result<Heard> {
    eprintln!("booting Linux {} ...", guest.kernel.name);
    let script = format!("{SERVERS}\nQUERIES={QUERIES}\n{STORY}");
    let command = ["sh", "-c", &script].map(ToOwned::to_owned);
    let began = Instant::now();
    let mut heard = Heard::default();
    let mut others = Vec::new();
    let mut failure = None;
    let finished = guest.run(&command, |source, line| {
        if source != Source::Command {
            return;
        }
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        let Some(marked) = line.strip_prefix('@') else {
            others.push(line);
            return;
        };
        match heard.add(marked) {
            Ok(told) => told.iter().for_each(|line| match line {
                hear::Line::Step(text) => {
                    say(&format!("[{:3} s] {text}", began.elapsed().as_secs()));
                }
                hear::Line::Detail(text) => say(&format!("        {text}")),
            }),
            // The first is the cause of what follows.
            Err(error) => {
                failure.get_or_insert(error.context(format!("the guest reported `{line}`")));
            }
        }
    });
    ended_well(finished, &others)?;
    failure.map_or(Ok(heard), Err)
}

/// Draws the dashboard; returns what is wrong with the answers.
fn pictures(dashboard: &Dashboard, heard: &Heard, folder: &Path) -> Result<Vec<String>> {
    let (drawn, problems) = dashboard.drawn(heard);
    // What an earlier run left would be taken for this one's.
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let write = |path: PathBuf, text: &str| {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for (name, picture) in &drawn {
        write(folder.join(name), picture)?;
    }
    let page = folder.join("dashboard.html");
    write(page.clone(), &dashboard::page(&drawn))?;
    say(&format!("{} pictures: {}", drawn.len(), page.display()));
    Ok(problems)
}

/// Prints a line at once: the story takes its time. Nobody may read it any more, and what is
/// checked is checked all the same.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::CONFIGURATION;

    /// docs/operations.md has somebody do on a host what the demo does.
    #[test]
    fn the_documented_files_are_those_of_the_demo() {
        let docs = include_str!("../../../../docs/operations.md");
        let docs: Vec<_> = docs.lines().map(str::trim_end).collect();
        for file in [CONFIGURATION, include_str!("alertmanager.yml")] {
            let indented: Vec<_> = file
                .lines()
                .map(|line| format!("   {line}").trim_end().to_owned())
                .collect();
            let is_there = docs.windows(indented.len()).any(|lines| lines == indented);
            assert!(is_there, "docs/operations.md lacks\n{file}");
        }
    }
}
