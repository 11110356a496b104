//! What no program saw. The kernel skips a kprobe while another's handler runs on the CPU
//! (`kprobe_ftrace_handler`, `arch/x86/kernel/kprobes/ftrace.c`), every kprobe program while
//! another BPF program of a kprobe or tracepoint does (`trace_call_bpf`,
//! `kernel/trace/bpf_trace.c`), and while a process there reads or writes a map by system call
//! (`bpf_disable_instrumentation`, `include/linux/bpf.h`), where it may be preempted. A softirq
//! may interrupt any of them, and bring a SYN.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::{Ebpf, programs::loaded_links};
use aya_obj::generated::{bpf_link_info, bpf_prog_info};
use rustc_hash::FxHashMap;

use super::{
    channel::Missing,
    plan::{Hook, Mechanism, Plan},
    tracefs::Event,
};
use crate::bpf::{self, command};

/// Hooks whose programs run once for each SYN that gets a listener, and for each listener that
/// comes or goes.
const COUNTED: [Hook; 3] = [Hook::Request, Hook::Listen, Hook::Unhash];

/// What is asked how often the kernel skipped the counted programs.
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
        let hooks = COUNTED.into_iter().filter(by_kprobe);
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

    /// SYNs for a listener, and listeners that came or went, that no program saw, as far as the
    /// kernel counts them: from 6.7 (dd8657894c11, 3acf8ace6823). The filters have not been
    /// asked. Through tracefs (`events`, by the program's name), which is used before 4.17, only
    /// skipped kprobes are counted.
    pub(super) fn missed(&self, ebpf: &Ebpf, plan: &Plan, events: &[(String, Event)]) -> Missing {
        let first = events.first();
        let profile = first.map_or_else(String::new, |(_, event)| event.profile());
        // How often the kernel skipped a program of the hook: the one that it skipped most.
        let [request, listen, unhash] = COUNTED.map(|hook| {
            let skipped = names(plan, hook).map(|name| {
                let event = events.iter().find(|(program, _)| program == name);
                let probe = match self.links.get(name) {
                    Some(link) => probe_skipped(link.as_fd()),
                    None => event.and_then(|(_, event)| event.missed(&profile)),
                };
                program_skipped(ebpf, name).unwrap_or(0) + probe.unwrap_or(0)
            });
            skipped.max().unwrap_or(0)
        });
        Missing {
            syns: request,
            listeners: listen + unhash,
        }
    }
}

fn names(plan: &Plan, hook: Hook) -> impl Iterator<Item = &'static str> + use<> {
    let mechanism = plan.mechanism(hook);
    let programs = mechanism.map_or(&[] as &[_], |mechanism| hook.programs(mechanism));
    programs.iter().map(|&(name, _)| name)
}

/// How often the kernel skipped the program.
fn program_skipped(ebpf: &Ebpf, name: &str) -> Option<u64> {
    let program = ebpf.program(name)?.fd().ok()?;
    let info: bpf_prog_info = bpf::info(program.as_fd()).ok()?;
    Some(info.recursion_misses)
}

/// How often it skipped the kprobe that the link stands for.
fn probe_skipped(link: BorrowedFd<'_>) -> Option<u64> {
    let info: bpf_link_info = bpf::info(link).ok()?;
    // SAFETY: every part of the union is integers, and all of it is written to.
    let event = unsafe { info.__bindgen_anon_1.perf_event };
    // SAFETY: as above; the link is a kprobe's. A kernel that does not count leaves zeros.
    Some(unsafe { event.__bindgen_anon_1.kprobe.missed })
}
