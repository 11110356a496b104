//! What can be told of listeners without tracing: who stands in whose way, and what shows
//! that it happened. Pure; `docs/audit.md` describes every kind of finding.
#![forbid(unsafe_code)]

mod evidence;
mod finding;
mod mixed;
mod overlap;
mod pairs;
mod programs;
mod queues;
mod scene;
mod split;
#[cfg(test)]
mod tests;
pub(crate) mod told;
mod view;

pub use evidence::contested;
pub use finding::{Finding, Kind, SCHEMA, Severity};
pub use scene::{Chooser, Group, Held, Member, Party, Scene};
pub use view::Index;
use view::View;

/// Everything found, the worst first.
#[must_use]
pub fn findings(scene: &Scene) -> Vec<Finding> {
    let view = View::of(scene);
    let mut findings = overlap::findings(&view);
    findings.extend(split::findings(&view));
    findings.extend(mixed::findings(&view));
    findings.extend(programs::findings(&view));
    findings.extend(queues::findings(&view));
    findings.extend(evidence::findings(&view));
    findings.sort_by(|one, other| {
        let key = |finding: &Finding| (finding.netns.inode, finding.listeners[0].port);
        let severity = other.severity.cmp(&one.severity);
        severity.then_with(|| key(one).cmp(&key(other)))
    });
    findings
}
