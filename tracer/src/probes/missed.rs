//! What no program saw. The kernel skips every kprobe program while another BPF program of that
//! kind runs on the CPU (`trace_call_bpf`, `kernel/trace/bpf_trace.c`), and while a process there
//! reads or writes a map by system call (`bpf_disable_instrumentation`, `include/linux/bpf.h`),
//! where it may be preempted. A softirq may interrupt either, and bring a SYN.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use aya_obj::generated::bpf_prog_info;

use super::{
    channel::Missing,
    loader::Programs,
    plan::{Decision, Hook},
};

/// `BPF_OBJ_GET_INFO_BY_FD`, `include/uapi/linux/bpf.h`
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// The part of `union bpf_attr` for it.
#[repr(C)]
struct Question {
    fd: u32,
    length: u32,
    info: u64,
}

impl Programs {
    /// SYNs for a listener, and listeners that came or went, that no program saw, as far as the
    /// kernel counts them: from 6.7 (dd8657894c11). The filters have not been asked.
    pub(super) fn missed(&self) -> Missing {
        self.missed_until_detached.unwrap_or_else(|| Missing {
            // Its program runs once for each.
            syns: self.skipped(Hook::Request),
            listeners: self.skipped(Hook::Listen) + self.skipped(Hook::Unhash),
        })
    }

    /// How often the kernel skipped a program of the hook: the one that it skipped most.
    fn skipped(&self, hook: Hook) -> u64 {
        let Some(Decision::Attach { mechanism, .. }) = self.plan.decision(hook) else {
            return 0;
        };
        let names = hook.programs(*mechanism).iter();
        let programs = names.filter_map(|(name, _)| self.ebpf.program(name)?.fd().ok());
        let skipped = programs.filter_map(|fd| skipped(fd.as_fd()));
        skipped.max().unwrap_or(0)
    }
}

/// How often the kernel skipped the program.
fn skipped(program: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: the structure is integers, for which all zeros are values.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let question = Question {
        fd: program.as_raw_fd().cast_unsigned(),
        length: size_of::<bpf_prog_info>() as u32,
        info: (&raw mut info).expose_provenance() as u64,
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
    (result == 0).then_some(info.recursion_misses)
}
