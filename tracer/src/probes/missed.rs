//! What no program saw. The kernel skips a kprobe while another's handler runs on the CPU
//! (`kprobe_ftrace_handler`, `arch/x86/kernel/kprobes/ftrace.c`), every kprobe program while
//! another BPF program of a kprobe or tracepoint does (`trace_call_bpf`,
//! `kernel/trace/bpf_trace.c`), and while a process there reads or writes a map by system call
//! (`bpf_disable_instrumentation`, `include/linux/bpf.h`), where it may be preempted. A softirq
//! may interrupt any of them, and bring a SYN.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya::programs::loaded_links;
use aya_obj::generated::{bpf_link_info, bpf_prog_info};
use rustc_hash::FxHashMap;

use super::{
    channel::Missing,
    plan::{Hook, Mechanism},
    programs::Programs,
};

/// `BPF_OBJ_GET_INFO_BY_FD` and `BPF_LINK_GET_FD_BY_ID`, `include/uapi/linux/bpf.h`
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_GET_FD_BY_ID: libc::c_long = 30;

/// Hooks whose programs run once for each SYN that gets a listener, and for each listener that
/// comes or goes.
const COUNTED: [Hook; 3] = [Hook::Request, Hook::Listen, Hook::Unhash];

/// The links of the programs that are counted, by the program's name: those that the kernel has
/// as links (5.15).
pub(super) type Links = FxHashMap<&'static str, OwnedFd>;

/// The part of `union bpf_attr` for a question about something that a descriptor stands for.
#[repr(C)]
struct Question {
    fd: u32,
    length: u32,
    info: u64,
}

/// And for its descriptor.
#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

impl Programs {
    /// Links of the programs that are attached now. They hold their probes until they are
    /// dropped.
    pub(super) fn counted_links(&self) -> Links {
        // Of an fentry no probe is skipped.
        let by_kprobe = |hook: &Hook| self.plan.mechanism(*hook) == Some(Mechanism::Kprobe);
        let hooks = COUNTED.into_iter().filter(by_kprobe);
        let programs: FxHashMap<u32, &'static str> = hooks
            .flat_map(|hook| self.names(hook))
            .filter_map(|name| Some((self.ebpf.program(name)?.info().ok()?.id(), name)))
            .collect();
        if programs.is_empty() {
            return Links::default();
        }
        // One that goes meanwhile is none of these.
        loaded_links()
            .flatten()
            .filter_map(|link| {
                let name = programs.get(&link.program_id())?;
                Some((*name, by_id(link.id()).ok()?))
            })
            .collect()
    }

    /// SYNs for a listener, and listeners that came or went, that no program saw, as far as the
    /// kernel counts them: from 6.7 (dd8657894c11, 3acf8ace6823). The filters have not been
    /// asked. Through tracefs, which is used before 4.17, only skipped kprobes are counted.
    pub(super) fn missed(&self) -> Missing {
        self.missed_until_detached.unwrap_or_else(|| {
            let profile = self.kprobe_profile();
            let [request, listen, unhash] = COUNTED.map(|hook| self.skipped(hook, &profile));
            Missing {
                syns: request,
                listeners: listen + unhash,
            }
        })
    }

    /// How often the kernel skipped a program of the hook: the one that it skipped most.
    fn skipped(&self, hook: Hook, profile: &str) -> u64 {
        let skipped = self.names(hook).map(|name| {
            let program = self
                .ebpf
                .program(name)
                .and_then(|program| program.fd().ok());
            let program = program.and_then(|fd| program_skipped(fd.as_fd()));
            let link = self.links.get(name);
            let probe = match link {
                Some(link) => probe_skipped(link.as_fd()),
                None => self.event(name).and_then(|event| event.missed(profile)),
            };
            program.unwrap_or(0) + probe.unwrap_or(0)
        });
        skipped.max().unwrap_or(0)
    }

    fn names(&self, hook: Hook) -> impl Iterator<Item = &'static str> + use<> {
        let mechanism = self.plan.mechanism(hook);
        let programs = mechanism.map_or(&[] as &[_], |mechanism| hook.programs(mechanism));
        programs.iter().map(|&(name, _)| name)
    }
}

/// How often the kernel skipped the program.
fn program_skipped(program: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: the structure is integers, for which all zeros are values.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    ask(program, &mut info).ok()?;
    Some(info.recursion_misses)
}

/// How often it skipped the kprobe that the link stands for.
fn probe_skipped(link: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: the structure is integers, for which all zeros are values.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    ask(link, &mut info).ok()?;
    // SAFETY: every part of the union is integers, and all of it is written to.
    let event = unsafe { info.__bindgen_anon_1.perf_event };
    // SAFETY: as above; the link is a kprobe's. A kernel that does not count leaves zeros.
    Some(unsafe { event.__bindgen_anon_1.kprobe.missed })
}

/// Fills `info` with what the kernel knows of it.
fn ask<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let question = Question {
        fd: fd.as_raw_fd().cast_unsigned(),
        length: size_of::<T>() as u32,
        info: std::ptr::from_mut(info).expose_provenance() as u64,
    };
    // SAFETY: the question is of the size given, and `info` has room for as many bytes as it
    // says; the kernel writes what it knows of them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            OBJ_GET_INFO_BY_FD,
            &raw const question,
            size_of::<Question>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A descriptor of the link with this number.
fn by_id(id: u32) -> io::Result<OwnedFd> {
    let question = ById {
        id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: the question is of the size given, and the kernel only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LINK_GET_FD_BY_ID,
            &raw const question,
            size_of::<ById>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
