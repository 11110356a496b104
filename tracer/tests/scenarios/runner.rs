//! Runs scenarios, each in a process of its own with a time limit, and reports.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::alerts::Alerts;
use crate::cases::{self, Part, Scenario};
use crate::context::{AUTO, Context, LEGACY, Skip};
use crate::kernel;
use crate::options::{All, One};

const SKIPPED: u8 = 77;

/// Tells a scenario what events of [`AUTO`] call their backend.
const AUTO_VARIABLE: &str = "SOCKPICK_AUTO";

enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn note(&mut self, backend: &str, name: &str, outcome: &Outcome, took: Duration) {
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                println!("PASS {backend} {name} ({:.1}s)", took.as_secs_f64());
            }
            Outcome::Skipped(why) => {
                self.skipped += 1;
                println!("SKIP {backend} {name}: {why}");
            }
            Outcome::Failed(why) => {
                self.failed += 1;
                println!(
                    "FAIL {backend} {name}: {}",
                    why.trim_end().replace('\n', "\n    ")
                );
            }
        }
        // Progress is all there is to see of a guest; a closed pipe shows at the next line.
        let _ = std::io::stdout().flush();
    }
}

/// Runs all scenarios asked for, with every backend that this kernel allows.
pub(crate) fn all(asked: &All) -> Result<ExitCode> {
    let mut scenarios = cases::all();
    scenarios.retain(|scenario| {
        if scenario.only_asked {
            return asked.filters.iter().any(|name| name == scenario.name);
        }
        let mut parts = asked.filters.iter();
        asked.filters.is_empty() || parts.any(|part| scenario.name.contains(part.as_str()))
    });
    // Whatever a scenario leaves running becomes our child, so that we can end it.
    prctl::set_child_subreaper(true)?;
    if asked.hide_btf {
        kernel::hide_btf()?;
    }
    let mut tally = Tally::default();
    let mut alerts = Alerts::default();
    let doctor = if asked.ground_truth {
        None
    } else {
        Some(doctor()?)
    };
    let backends = match &doctor {
        None => vec!["none".to_owned()],
        Some(doctor) => backends(doctor, asked, &mut tally)?,
    };
    let offers_kprobe = doctor
        .as_ref()
        .is_some_and(|doctor| offers(doctor, "kprobe"));
    let auto = if offers_kprobe { "kprobe" } else { LEGACY };
    for (at, backend) in backends.iter().enumerate() {
        let part = asked.parts.iter().find(|(of, _)| of == backend);
        let part = part.map_or(Part::Whole, |(_, part)| *part);
        let runs = |one: &&Scenario| one.runs(at, backend) && one.part <= part;
        for scenario in scenarios.iter().filter(runs) {
            let start = Instant::now();
            let (outcome, counted) = run_one(scenario, backend, auto, asked)?;
            alerts.add(counted);
            tally.note(backend, scenario.name, &outcome, start.elapsed());
        }
    }
    if let Some(doctor) = &doctor {
        let report = json!({"kernel": kernel::release()?, "hooks": doctor["hooks"]});
        println!("REPORT {report}");
    }
    println!("{alerts}");
    let Tally {
        passed,
        failed,
        skipped,
    } = tally;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    let wrong = alerts.missed + alerts.wrong > 0;
    Ok(ExitCode::from(u8::from(failed > 0 || passed == 0 || wrong)))
}

/// What sockpick says about this kernel.
fn doctor() -> Result<Value> {
    // Has the kernel load the modules that answer it, whose type information would be taken for
    // something left behind. A failure is told by the doctor.
    let _ = Command::new(sockpick()).arg("listeners").output();
    let output = Command::new(sockpick())
        .args(["doctor", "-o", "json"])
        .stdin(Stdio::null())
        .output()
        .context("cannot start `sockpick doctor`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("`sockpick doctor -o json` gave no JSON but `{text}`, {errors}")
    })
}

fn offers(doctor: &Value, backend: &str) -> bool {
    let offered = doctor["backends"].as_array();
    offered.is_some_and(|all| all.iter().any(|one| one == backend))
}

fn sockpick() -> PathBuf {
    std::env::var_os("SOCKPICK").map_or_else(|| "sockpick".into(), PathBuf::from)
}

/// The backends to run. One that sockpick does not offer although this kernel allows it is
/// a failure.
fn backends(doctor: &Value, asked: &All, tally: &mut Tally) -> Result<Vec<String>> {
    let offered: Vec<&str> = doctor["backends"]
        .as_array()
        .context("`sockpick doctor -o json` has no list `backends`")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    // The lookup has more arguments than a trampoline took before.
    let fentry = kernel::version()? >= (6, 6);
    // Before 5.8 there is no ring buffer, which the usual programs need.
    let kprobe = kernel::version()? >= (5, 8);
    let mut run = Vec::new();
    for (backend, allowed) in [("fentry", fentry), ("kprobe", kprobe), (LEGACY, true)] {
        if asked.backend.as_deref().is_some_and(|only| only != backend) {
            continue;
        }
        // Where everything takes fentry, nobody has the programs for old kernels.
        if backend == LEGACY && fentry && asked.backend.is_none() {
            continue;
        }
        if offered.contains(&backend) {
            run.push(backend.to_owned());
        } else if allowed {
            let why = format!("sockpick does not offer it on {}", kernel::release()?);
            tally.note(backend, "backend", &Outcome::Failed(why), Duration::ZERO);
        }
    }
    // Where not every hook takes fentry, what users get is a mixture of its own. Without a ring
    // buffer it is the programs for old kernels, by type information where there is some.
    let wanted = asked.backend.as_deref().is_none_or(|only| only == AUTO);
    let by_btf = offered.contains(&LEGACY) && Path::new(kernel::BTF).exists();
    if wanted && !offered.contains(&"fentry") && (offered.contains(&"kprobe") || by_btf) {
        run.push(AUTO.to_owned());
    }
    Ok(run)
}

/// Runs one scenario in a process of its own.
fn run_one(
    scenario: &Scenario,
    backend: &str,
    auto: &str,
    asked: &All,
) -> Result<(Outcome, Alerts)> {
    let said = std::env::temp_dir().join(format!("scenario-{}", std::process::id()));
    let file = File::create(&said).context("cannot write a temporary file")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--run-one", scenario.name]);
    if asked.suspects {
        command.arg("--suspects");
    }
    if asked.ground_truth {
        command.arg("--ground-truth");
    } else {
        command.args(["--backend", backend]);
    }
    command.env(AUTO_VARIABLE, auto);
    command.stdin(Stdio::null());
    command
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0);
    let mut child = command.spawn().context("cannot start a scenario")?;
    let status = crate::trace::wait(&mut child, scenario.limit);
    if status.is_err() {
        child.kill()?;
        child.wait()?;
    }
    end_leftovers()?;
    let text = std::fs::read(&said)?;
    std::fs::remove_file(&said)?;
    let text = String::from_utf8_lossy(&text);
    let counted = text.lines().find_map(Alerts::parse).unwrap_or_default();
    for figure in text.lines().filter(|line| line.starts_with("FIGURE")) {
        println!("{figure} ({backend} {})", scenario.name);
    }
    let said = text.lines().filter(|line| Alerts::parse(line).is_none());
    let text = said.collect::<Vec<_>>().join("\n");
    let outcome = match status {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) if status.code() == Some(SKIPPED.into()) => {
            Outcome::Skipped(text.lines().last().unwrap_or_default().to_owned())
        }
        Ok(status) if status.code() == Some(1) => Outcome::Failed(text),
        Ok(status) => Outcome::Failed(format!("{status}\n{text}")),
        Err(_) => Outcome::Failed(format!(
            "not done within {} s\n{text}",
            scenario.limit.as_secs()
        )),
    };
    Ok((outcome, counted))
}

/// Ends what a scenario left behind: our children now, because their parents are gone.
fn end_leftovers() -> Result<()> {
    // Children of those we end become ours, so look again until there are none.
    for _ in 0..100 {
        let children = kernel::children_of(std::process::id())?;
        if children.is_empty() {
            return Ok(());
        }
        for child in children {
            // It may have ended meanwhile.
            let child = Pid::from_raw(child.cast_signed());
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
        }
    }
    bail!("a scenario's processes cannot be ended")
}

/// Runs one scenario in this process. What it prints is shown only if it fails.
pub(crate) fn one(asked: &One) -> ExitCode {
    let Some(scenario) = cases::all().into_iter().find(|s| s.name == asked.scenario) else {
        eprintln!("no scenario is named `{}`", asked.scenario);
        return ExitCode::FAILURE;
    };
    let cx = Context {
        backend: asked.backend.clone(),
        auto: std::env::var(AUTO_VARIABLE).unwrap_or_else(|_| "kprobe".into()),
        sockpick: sockpick(),
        ground_truth: asked.ground_truth,
        suspects: asked.suspects,
    };
    // Before 5.11 maps and programs count as locked memory, everybody's together. Later
    // kernels do not care, so neither does a failure.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    let result = (scenario.run)(&cx);
    println!("{}", Alerts::counted());
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if let Some(skip) = error.downcast_ref::<Skip>() {
        println!("{skip}");
        return ExitCode::from(SKIPPED);
    }
    println!("{error:#}");
    ExitCode::FAILURE
}
