//! What becomes of each hook.

use super::report::HookReport;
use crate::probes::{
    examine::Kernel,
    plan::{Choice, Decision, HOOKS, Hook, Mechanism, Plan, plan},
};

/// Every hook, as a session with this choice would use it.
pub(super) fn all(kernel: &Kernel, backend: Option<Choice>) -> Vec<HookReport> {
    let used = kernel.plan(backend);
    let fentry = plan(&kernel.features, Some(Mechanism::Fentry));
    let kprobe = plan(&kernel.features, Some(Mechanism::Kprobe));
    HOOKS
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
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::features::Features;

    #[test]
    fn a_plan_without_a_hook_misses_it() {
        let nothing = plan(&Features::default(), None);
        assert!(is_missing(&nothing, Hook::Lookup4));
    }
}
