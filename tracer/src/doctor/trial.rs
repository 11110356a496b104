//! Whether the programs can be attached, and read rightly: by trying.

use anyhow::Result;

use super::report::Asked;
use crate::{
    kernel::preflight::Finding,
    probes::{
        attach::{self, Options},
        examine::Kernel,
        filters::Filters,
        plan::Choice,
        programs::Programs,
        rights::Level,
        selfcheck,
    },
    processes,
};

/// The kernel, with all that `trace` would find out only where it has to.
pub(super) fn examined(asked: &Asked, backend: Option<Choice>) -> Result<Kernel> {
    let mut kernel = Kernel::examine(asked.btf.as_ref(), backend)?;
    if kernel.features.symbols_assumed {
        kernel.features.read_symbols()?;
    }
    Ok(kernel)
}

/// Whether a session restricted to that is the one that is used anyway.
pub(super) fn is_used(kernel: &Kernel, asked: &Asked, choice: Choice) -> bool {
    if kernel.legacy || choice == Choice::Legacy {
        return kernel.legacy && choice == Choice::Legacy;
    }
    kernel.plan(Some(choice)) == kernel.plan(asked.backend)
}

/// Attaches, runs the self-check and detaches again.
pub(super) fn attach(
    kernel: &mut Kernel,
    asked: &Asked,
    backend: Option<Choice>,
) -> Result<Vec<Finding>> {
    let options = Options {
        backend,
        btf: asked.btf.clone(),
        buffer_bytes: 1 << 16,
        filters: Filters::default(),
        level: Level::Suspects,
        acceptors: true,
        debug_programs: false,
    };
    let mut other;
    // What attaching teaches is to be seen in the table of hooks. Only the programs for old
    // kernels beside the usual ones, or the other way round, need a look of their own.
    let usual = !kernel.legacy && backend != Some(Choice::Legacy);
    let kernel = if usual || backend == asked.backend {
        kernel
    } else {
        other = examined(asked, backend)?;
        &mut other
    };
    let mut programs = attach::programs(kernel, &options)?;
    let mut channel = programs.take_events()?;
    selfcheck::run(&mut programs, &mut channel)?;
    let checked = Finding::ok(
        "self-check",
        "passed: the programs read this kernel's structures rightly",
    );
    let counting = counting(programs.record_suspects()?.is_some());
    let [drops, exits, holders] = [drops(&programs), exits(&programs), holders(&programs)];
    Ok(vec![checked, counting, drops, exits, holders])
}

/// Whether SYNs that are right need no record.
fn counting(is_possible: bool) -> Finding {
    if is_possible {
        return Finding::ok(
            "counting",
            "for the daemon and with --only-alerts, SYNs that cannot be an alert are counted in the kernel",
        );
    }
    Finding::absent(
        "counting",
        "for the daemon and with --only-alerts, every SYN costs a record: the programs for old kernels \
         cannot count in the kernel",
    )
}

/// Whether it is seen what the kernel drops after the lookup.
fn drops(programs: &Programs) -> Finding {
    match &programs.drops_unseen {
        None => Finding::ok(
            "drops",
            "SYNs dropped after their lookup are seen (not_taken)",
        ),
        Some(why) => Finding::absent(
            "drops",
            format!("SYNs dropped after their lookup are told as taken (skb:kfree_skb: {why})"),
        ),
    }
}

/// Whether it is seen when holders end.
fn exits(programs: &Programs) -> Finding {
    match &programs.exits_unseen {
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
    }
}

/// Whether the kernel tells who holds what.
fn holders(programs: &Programs) -> Finding {
    match &programs.holders_unseen {
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
    }
}
