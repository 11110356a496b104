//! What no program saw. The kernel skips a kprobe while another's handler runs on the CPU
//! (`kprobe_ftrace_handler`, `arch/x86/kernel/kprobes/ftrace.c`), every kprobe program while
//! another BPF program of a kprobe or tracepoint does (`trace_call_bpf`,
//! `kernel/trace/bpf_trace.c`), and while a process there reads or writes a map by system call
//! (`bpf_disable_instrumentation`, `include/linux/bpf.h`), where it may be preempted. A softirq
//! may interrupt any of them, and bring a SYN.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use aya::{Ebpf, programs::loaded_links};
use aya_obj::generated::{bpf_link_info, bpf_prog_info};
use rustc_hash::FxHashMap;

use super::{
    channel::Missing,
    plan::{HOOKS, Hook, Mechanism, Plan},
    tracefs::Event,
};
use crate::bpf::{self, command};

/// Hooks whose programs run once for each SYN that gets a listener, and for each listener that
/// comes or goes.
const COUNTED: [Hook; 3] = [Hook::Request, Hook::Listen, Hook::ListenStop];

/// What is asked how often the kernel skipped programs of kprobes.
#[derive(Default)]
pub(super) struct Counted {
    /// Links, by the program's name: those that the kernel has as links (5.15).
    links: FxHashMap<&'static str, OwnedFd>,
}

impl Counted {
    /// Those of the programs that are attached now. They hold their probes until they are
    /// dropped.
    pub(super) fn of(ebpf: &Ebpf, plan: &Plan) -> Self {
        // Of an fentry no probe is skipped.
        let by_kprobe = |hook: &Hook| plan.mechanism(*hook) == Some(Mechanism::Kprobe);
        let hooks = HOOKS.into_iter().filter(by_kprobe);
        let programs: FxHashMap<u32, &'static str> = hooks
            .flat_map(|hook| names(plan, hook))
            .filter_map(|name| Some((ebpf.program(name)?.info().ok()?.id(), name)))
            .collect();
        if programs.is_empty() {
            return Self::default();
        }
        // One that goes meanwhile is none of these.
        let links = loaded_links()
            .flatten()
            .filter_map(|link| {
                let name = programs.get(&link.program_id())?;
                let link = bpf::by_id(command::LINK_FD_BY_ID, link.id());
                Some((*name, link.ok()?))
            })
            .collect();
        Self { links }
    }

    /// Holds the probe of that program no longer.
    pub(super) fn release(&mut self, program: &str) {
        self.links.remove(program);
    }

    /// SYNs for a listener, and listeners that came or went, that no program saw, as far as the
    /// kernel counts them: from 6.7 (dd8657894c11, 3acf8ace6823). The filters have not been
    /// asked. Through tracefs (`events`, by the program's name), which is used before 4.17, only
    /// skipped kprobes are counted.
    pub(super) fn missed(&self, ebpf: &Ebpf, plan: &Plan, events: &[(String, Event)]) -> Missing {
        let profile = profile(events);
        // How often the kernel skipped a program of the hook: the one that it skipped most.
        let [request, listen, stop] = COUNTED.map(|hook| {
            let skipped = names(plan, hook).map(|name| self.skipped(ebpf, name, events, &profile));
            skipped.max().unwrap_or(0)
        });
        Missing {
            syns: request,
            listeners: listen + stop,
        }
    }

    /// What the kernel counts of a hook's programs, all told.
    pub(super) fn use_of(
        &self,
        ebpf: &Ebpf,
        plan: &Plan,
        hook: Hook,
        events: &[(String, Event)],
    ) -> Use {
        let profile = profile(events);
        let names: Vec<&str> = names(plan, hook).collect();
        let skipped = |name: &&str| self.skipped(ebpf, name, events, &profile);
        let run_ns = |name: &&str| Some(program_info(ebpf, name)?.run_time_ns);
        Use {
            missed: names.iter().map(skipped).sum(),
            run: Duration::from_nanos(names.iter().filter_map(run_ns).sum()),
        }
    }

    /// How often the kernel skipped the program, and its probe.
    fn skipped(&self, ebpf: &Ebpf, name: &str, events: &[(String, Event)], profile: &str) -> u64 {
        let event = events.iter().find(|(program, _)| program == name);
        let probe = match self.links.get(name) {
            Some(link) => probe_skipped(link.as_fd()),
            None => event.and_then(|(_, event)| event.missed(profile)),
        };
        let program = program_info(ebpf, name).map(|info| info.recursion_misses);
        program.unwrap_or(0) + probe.unwrap_or(0)
    }
}

/// What became of a hook's programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// How often the kernel skipped them, as far as it counts that: their runs from 5.12, their
    /// kprobes from 6.7.
    pub missed: u64,
    /// How long they ran, while `kernel.bpf_stats_enabled` is set (5.1).
    pub run: Duration,
}

/// What tracefs counts, where probes are made through it.
fn profile(events: &[(String, Event)]) -> String {
    let first = events.first();
    first.map_or_else(String::new, |(_, event)| event.profile())
}

/// The hook's programs, if it is attached; the one for its beginning alone is among them.
pub(super) fn names(plan: &Plan, hook: Hook) -> impl Iterator<Item = &'static str> + use<> {
    let mechanism = plan.mechanism(hook);
    let programs = mechanism.map_or(&[] as &[_], |mechanism| hook.programs(mechanism));
    let beginning = mechanism.and_then(|mechanism| hook.beginning(mechanism));
    programs.iter().map(|&(name, _)| name).chain(beginning)
}

/// What the kernel tells of the program.
fn program_info(ebpf: &Ebpf, name: &str) -> Option<bpf_prog_info> {
    let program = ebpf.program(name)?.fd().ok()?;
    bpf::info(program.as_fd()).ok()
}

/// How often it skipped the kprobe that the link stands for.
fn probe_skipped(link: BorrowedFd<'_>) -> Option<u64> {
    let info: bpf_link_info = bpf::info(link).ok()?;
    // SAFETY: every part of the union is integers, and all of it is written to.
    let event = unsafe { info.__bindgen_anon_1.perf_event };
    // SAFETY: as above; the link is a kprobe's. A kernel that does not count leaves zeros.
    Some(unsafe { event.__bindgen_anon_1.kprobe.missed })
}
