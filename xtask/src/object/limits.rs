//! What Linux 4.14 knows: helpers, maps, licenses.

use super::elf::Map;
use super::{Rule, Violation};

/// `BPF_MAXINSNS`, `include/uapi/linux/bpf_common.h`; larger from 5.2 on.
pub(super) const MOST_INSTRUCTIONS: usize = 4096;
/// `MAX_BPF_STACK`, `include/linux/filter.h`
pub(super) const STACK: i64 = 512;

/// Helpers of kprobe programs (`kprobe_prog_func_proto` and `tracing_func_proto`,
/// `kernel/trace/bpf_trace.c`), without `probe_write_user` (36), which writes to processes.
pub(super) const HELPERS: [i32; 19] = [
    1,  // map_lookup_elem
    2,  // map_update_elem
    3,  // map_delete_elem
    4,  // probe_read
    5,  // ktime_get_ns
    6,  // trace_printk
    7,  // get_prandom_u32
    8,  // get_smp_processor_id
    12, // tail_call
    14, // get_current_pid_tgid
    15, // get_current_uid_gid
    16, // get_current_comm
    22, // perf_event_read
    25, // perf_event_output
    27, // get_stackid
    35, // get_current_task
    37, // current_task_under_cgroup
    42, // get_numa_node_id
    45, // probe_read_str
];

/// Kinds of programs that 4.14 loads with the helpers above.
const PROGRAMS: [&str; 4] = ["kprobe", "kretprobe", "tracepoint", "tp"];

const NO_PREALLOC: u32 = 1;
const NO_COMMON_LRU: u32 = 2;

/// Licenses that `license_is_gpl_compatible` knows (`include/linux/license.h`).
const LICENSES: [&[u8]; 6] = [
    b"GPL",
    b"GPL v2",
    b"GPL and additional rights",
    b"Dual BSD/GPL",
    b"Dual MIT/GPL",
    b"Dual MPL/GPL",
];

/// Tells the loader to fill in the running kernel's (`KERNEL_VERSION_ANY` in `aya-obj`).
const ANY_VERSION: u32 = 0xffff_fffe;

pub(super) fn knows_program(section: &str) -> bool {
    let kind = section.split('/').next().unwrap_or(section);
    PROGRAMS.contains(&kind)
}

pub(super) fn license(section: Option<&[u8]>) -> Option<Violation> {
    let what = match section {
        None => "no license is named".to_owned(),
        Some(bytes) => match bytes.split_last() {
            Some((0, name)) if LICENSES.contains(&name) => return None,
            Some((0, name)) => format!("the license is `{}`", name.escape_ascii()),
            _ => "the license does not end in a zero byte".to_owned(),
        },
    };
    Some(Violation::of_object(Rule::License, what))
}

/// 4.14 loads a kprobe program only if it names the very version of the kernel
/// (`bpf_prog_load`, `kernel/bpf/syscall.c`; until 5.0). Aya fills it in from `uname` where
/// the section is absent or holds [`ANY_VERSION`].
pub(super) fn version(section: Option<&[u8]>) -> Option<Violation> {
    let what = match section.map(<[u8; 4]>::try_from) {
        None => return None,
        Some(Ok(bytes)) if u32::from_le_bytes(bytes) == ANY_VERSION => return None,
        Some(Ok(bytes)) => {
            format!("kernel version {:#x} only", u32::from_le_bytes(bytes))
        }
        Some(Err(_)) => "the section `version` is not 4 bytes long".to_owned(),
    };
    Some(Violation::of_object(Rule::Version, what))
}

/// A map, against the types and flags of 4.14 (`kernel/bpf/{hashtab,arraymap,lpm_trie}.c`).
/// `BPF_F_NUMA_NODE`, the third flag of 4.14, needs a node that `maps` cannot name.
pub(super) fn map(map: &Map<'_>) -> Option<Violation> {
    let name = map.name;
    let Some([kind, _, _, _, flags]) = map.fields else {
        let what = format!("map `{name}` is not within its section");
        return Some(Violation::of_object(Rule::MapType, what));
    };
    let (needed, allowed) = match kind {
        // hash, per-CPU hash, hash of maps
        1 | 5 | 13 => (0, NO_PREALLOC),
        // LRU hash, the same per CPU
        9 | 10 => (0, NO_COMMON_LRU),
        // LPM trie
        11 => (NO_PREALLOC, NO_PREALLOC),
        // arrays of values, programs, perf events, stacks, cgroups, maps, devices, sockets
        2..=4 | 6..=8 | 12 | 14 | 15 => (0, 0),
        _ => {
            let what = format!("map `{name}` is of type {kind}");
            return Some(Violation::of_object(Rule::MapType, what));
        }
    };
    if flags & !allowed != 0 || flags & needed != needed {
        let what = format!("map `{name}` of type {kind} has the flags {flags:#x}");
        return Some(Violation::of_object(Rule::MapFlags, what));
    }
    None
}
