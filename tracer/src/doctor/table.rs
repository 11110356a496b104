//! The report for people.

use std::io;

use super::report::Report;
use crate::kernel::preflight::Finding;

/// The report as text.
///
/// # Errors
/// What the output says.
pub(crate) fn write(out: &mut impl io::Write, report: &Report) -> io::Result<()> {
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
    use super::{super::report::HookReport, *};
    use crate::probes::plan::HOOKS;

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
            write(&mut out, &report).expect("memory takes it");
            let text = String::from_utf8(out).expect("text");
            let loss = hook.loss().unwrap_or_default();
            assert_eq!(text.contains(loss), is_missing, "{text}");
        }
    }
}
