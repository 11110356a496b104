//! `sockpick doctor`: what this kernel offers, which probes would attach by which
//! mechanism, what is missing and what to do about it.

use std::io::{self, Write as _};

use anyhow::Result;
use serde::Serialize;

use crate::{
    cli::{DoctorArgs, Output},
    failure::Failure,
    kernel::preflight::{self, Finding},
    probes::{
        attach::{self, Options},
        examine::Kernel,
        filters::Filters,
        plan::{Choice, Decision, HOOKS, Hook, Mechanism, Plan, plan},
        rights::Level,
        selfcheck,
    },
    processes::{self, Processes},
    sinks::stdout::stdout,
};

/// Everything that was found.
#[derive(Serialize)]
struct Report {
    kernel: String,
    findings: Vec<Finding>,
    /// Mechanisms by which the lookups can be hooked here, the best first.
    backends: Vec<Choice>,
    hooks: Vec<HookReport>,
    /// Whether tracing would work, and why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// What becomes of one hook.
#[derive(Serialize)]
struct HookReport {
    hook: Hook,
    function: &'static str,
    /// As the session would use it.
    used: String,
    /// With fentry alone.
    fentry: String,
    /// With kprobes alone.
    kprobe: String,
    /// The session would go without it.
    #[serde(skip)]
    is_missing: bool,
}

pub(super) fn run(args: &DoctorArgs) -> Result<()> {
    env_logger::init();
    let report = examine(args);
    let mut out = stdout();
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        Output::Table => table(&mut out, &report)?,
    }
    out.flush()?;
    match report.problem {
        Some(problem) => Err(Failure::environment(problem).into()),
        None => Ok(()),
    }
}

fn examine(args: &DoctorArgs) -> Report {
    let mut findings = preflight::findings(args.btf.is_some());
    findings.push(owners());
    let mut report = Report {
        kernel: preflight::release().0,
        backends: Vec::new(),
        hooks: Vec::new(),
        problem: findings
            .iter()
            .find(|finding| !finding.ok)
            .map(|finding| format!("tracing is not possible: {}", finding.message())),
        findings,
    };
    let mut kernel = match examined(args, args.backend) {
        Ok(kernel) => kernel,
        Err(error) => {
            report
                .problem
                .get_or_insert(format!("tracing is not possible: {error:#}"));
            return report;
        }
    };
    if report.problem.is_none() {
        let used = attach(&mut kernel, args, args.backend);
        for (choice, subject) in [
            (Choice::Fentry, "all fentry"),
            (Choice::Kprobe, "all kprobe"),
            (Choice::Legacy, "legacy"),
        ] {
            let tried = match &used {
                Ok(_) if is_used(&kernel, args, choice) => Ok(()),
                _ => attach(&mut kernel, args, Some(choice)).map(drop),
            };
            match tried {
                Ok(()) => report.backends.push(choice),
                Err(error) => report
                    .findings
                    .push(Finding::absent(subject, format!("not possible: {error:#}"))),
            }
        }
        match used {
            Ok(findings) => report.findings.extend(findings),
            Err(error) => {
                let why = format!("{error:#}");
                report.findings.push(Finding {
                    subject: "attaching",
                    ok: false,
                    absent: false,
                    found: why.clone(),
                    remedy: None,
                });
                report.problem = Some(format!("tracing is not possible: {why}"));
            }
        }
    }
    let used = kernel.plan(args.backend);
    let fentry = plan(&kernel.features, Some(Mechanism::Fentry));
    let kprobe = plan(&kernel.features, Some(Mechanism::Kprobe));
    report.hooks = HOOKS
        .into_iter()
        .map(|hook| HookReport {
            hook,
            function: hook.function(),
            used: word(&used, hook),
            fentry: if kernel.features.ring_buffer {
                word(&fentry, hook)
            } else {
                "missing: these programs need a BPF ring buffer (5.8)".to_owned()
            },
            kprobe: word(&kprobe, hook),
            is_missing: is_missing(&used, hook),
        })
        .collect();
    report
}

/// The kernel, with all that `trace` would find out only where it has to.
fn examined(args: &DoctorArgs, backend: Option<Choice>) -> Result<Kernel> {
    let mut kernel = Kernel::examine(args.btf.as_ref(), backend)?;
    if kernel.features.symbols_assumed {
        kernel.features.read_symbols()?;
    }
    Ok(kernel)
}

/// Whether a session restricted to that is the one that is used anyway.
fn is_used(kernel: &Kernel, args: &DoctorArgs, choice: Choice) -> bool {
    if kernel.legacy || choice == Choice::Legacy {
        return kernel.legacy && choice == Choice::Legacy;
    }
    kernel.plan(Some(choice)) == kernel.plan(args.backend)
}

/// Whether who holds a listener can be seen.
fn owners() -> Finding {
    let mut processes = Processes::default();
    processes.look();
    match processes::blindness(processes.hidden()) {
        None => Finding::ok("owners", "every process can be looked into"),
        Some(why) => Finding::absent("owners", format!("not all can be seen (?): {why}")),
    }
}

/// Attaches, runs the self-check and detaches again.
fn attach(kernel: &mut Kernel, args: &DoctorArgs, backend: Option<Choice>) -> Result<Vec<Finding>> {
    let options = Options {
        backend,
        btf: args.btf.clone(),
        buffer_bytes: 1 << 16,
        filters: Filters::default(),
        level: Level::Suspects,
        debug_programs: false,
    };
    let mut other;
    // What attaching teaches is to be seen in the table of hooks. Only the programs for old
    // kernels beside the usual ones, or the other way round, need a look of their own.
    let usual = !kernel.legacy && backend != Some(Choice::Legacy);
    let kernel = if usual || backend == args.backend {
        kernel
    } else {
        other = examined(args, backend)?;
        &mut other
    };
    let mut programs = attach::programs(kernel, &options)?;
    let mut channel = programs.take_events()?;
    selfcheck::run(&mut programs, &mut channel)?;
    let counting = match programs.record_suspects()? {
        Some(_) => Finding::ok(
            "counting",
            "for the daemon and with --only-alerts, SYNs that cannot be an alert are counted in the kernel",
        ),
        None => Finding::absent(
            "counting",
            "for the daemon and with --only-alerts, every SYN costs a record: the programs for old kernels \
             cannot count in the kernel",
        ),
    };
    let drops = match &programs.drops_unseen {
        None => Finding::ok(
            "drops",
            "SYNs dropped after their lookup are seen (not_taken)",
        ),
        Some(why) => Finding::absent(
            "drops",
            format!("SYNs dropped after their lookup are told as taken (skb:kfree_skb: {why})"),
        ),
    };
    let exits = match &programs.exits_unseen {
        None if !processes::in_initial_namespace() => Finding::absent(
            "exits",
            "the end of a process that holds a listener is found out by looking, so its time is \
             not exact: the kernel tells numbers of processes that are others in this container",
        ),
        None => Finding::ok(
            "exits",
            "it is seen when a process that holds a listener ends",
        ),
        Some(why) => Finding::absent(
            "exits",
            format!(
                "the end of a process that holds a listener is found out by looking, so its time \
                 is not exact (sched:sched_process_exit: {why})"
            ),
        ),
    };
    let holders = match &programs.holders_unseen {
        None if !processes::in_initial_namespace() => Finding::absent(
            "holders",
            "who holds a listener is looked up in /proc: the kernel tells numbers of processes \
             that are others in this container",
        ),
        None => Finding::ok("holders", "who holds a listener is told by the kernel"),
        Some(why) => Finding::absent(
            "holders",
            format!("who holds a listener is looked up in /proc ({why})"),
        ),
    };
    let checked = Finding::ok(
        "self-check",
        "passed: the programs read this kernel's structures rightly",
    );
    Ok(vec![checked, counting, drops, exits, holders])
}

fn is_missing(plan: &Plan, hook: Hook) -> bool {
    matches!(plan.decision(hook), None | Some(Decision::Missing(_)))
}

fn word(plan: &Plan, hook: Hook) -> String {
    match plan.decision(hook) {
        Some(Decision::Attach { mechanism, symbol }) if symbol == hook.function() => {
            mechanism.to_string()
        }
        Some(Decision::Attach { mechanism, symbol }) => format!("{mechanism} on {symbol}"),
        Some(Decision::NotNeeded(why)) => format!("not needed: {why}"),
        Some(Decision::Missing(why)) => format!("missing: {why}"),
        None => "missing".into(),
    }
}

fn table(out: &mut impl io::Write, report: &Report) -> io::Result<()> {
    for finding in &report.findings {
        let mark = match finding {
            Finding { ok: false, .. } => "NO",
            Finding { absent: true, .. } => "--",
            _ => "ok",
        };
        writeln!(out, "{mark:3} {:12} {}", finding.subject, finding.found)?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "{:16} {remedy}", "")?;
        }
    }
    if !report.hooks.is_empty() {
        writeln!(out)?;
        let doubt = if report.problem.is_some() {
            " (if it were not for the above)"
        } else {
            ""
        };
        writeln!(out, "{:28} MECHANISM{doubt}", "HOOK")?;
    }
    for hook in &report.hooks {
        writeln!(out, "{:28} {}", hook.function, hook.used)?;
        if hook.is_missing
            && let Some(loss) = hook.hook.loss()
        {
            writeln!(out, "{:28} so {loss}", "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_of_what_is_missing_whatever_the_words() {
        let hook = HOOKS.into_iter().find(|hook| hook.loss().is_some());
        let hook = hook.expect("a hook that can be done without");
        for is_missing in [true, false] {
            let report = Report {
                kernel: String::new(),
                findings: Vec::new(),
                backends: Vec::new(),
                hooks: vec![HookReport {
                    hook,
                    function: hook.function(),
                    used: "missing here?".to_owned(),
                    fentry: String::new(),
                    kprobe: String::new(),
                    is_missing,
                }],
                problem: None,
            };
            let mut out = Vec::new();
            table(&mut out, &report).expect("memory takes it");
            let text = String::from_utf8(out).expect("text");
            let loss = hook.loss().unwrap_or_default();
            assert_eq!(text.contains(loss), is_missing, "{text}");
        }
    }

    #[test]
    fn a_plan_without_a_hook_misses_it() {
        let nothing = plan(&crate::kernel::features::Features::default(), None);
        assert!(is_missing(&nothing, Hook::Lookup4));
    }
}
