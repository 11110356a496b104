//! What this kernel offers, which probes would attach by which mechanism, what is missing and what
//! to do about it.
#![forbid(unsafe_code)]

mod hooks;
mod report;
pub(crate) mod table;
mod trial;

use crate::{
    kernel::preflight::{self, Finding},
    probes::plan::Choice,
    processes::{self, Processes},
};
pub(crate) use report::{Asked, Report};
use trial::{attach, examined, is_used};

/// Looks.
pub(crate) fn examine(asked: &Asked) -> Report {
    let mut findings = preflight::findings(asked.btf.is_some());
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
    let mut kernel = match examined(asked, asked.backend) {
        Ok(kernel) => kernel,
        Err(error) => {
            report
                .problem
                .get_or_insert(format!("tracing is not possible: {error:#}"));
            return report;
        }
    };
    if report.problem.is_none() {
        let used = attach(&mut kernel, asked, asked.backend);
        for (choice, subject) in [
            (Choice::Fentry, "all fentry"),
            (Choice::Kprobe, "all kprobe"),
            (Choice::Legacy, "legacy"),
        ] {
            let tried = match &used {
                Ok(_) if is_used(&kernel, asked, choice) => Ok(()),
                _ => attach(&mut kernel, asked, Some(choice)).map(drop),
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
    report.hooks = hooks::all(&kernel, asked.backend);
    report
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
