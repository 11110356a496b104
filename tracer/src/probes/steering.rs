//! Which `sk_lookup` programs a namespace has: for events that one of them decided, and
//! for questions that one of them may answer.

use std::{collections::HashMap, fs::File, io, os::fd::AsRawFd as _, path::Path};

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;

use crate::event::Program;

/// `BPF_PROG_QUERY`, `include/uapi/linux/bpf.h`
const PROG_QUERY: libc::c_long = 16;
/// `BPF_SK_LOOKUP`, the attach type.
const SK_LOOKUP: u32 = 36;
/// Most programs of one namespace (`netns_bpf_max_progs`, `kernel/bpf/net_namespace.c`).
const MOST: usize = 64;

/// The query part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    asked_flags: u32,
    told_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    reserved: u32,
}

/// Ids of the programs attached to the namespace that the file stands for, in the order
/// they run.
///
/// Linux 5.9 and later.
///
/// # Errors
/// If the kernel refuses the question, or has no such programs yet.
pub fn sk_lookup_ids(netns: &File) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MOST];
    let mut query = Query {
        target_fd: netns.as_raw_fd().cast_unsigned(),
        attach_type: SK_LOOKUP,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_cnt: MOST as u32,
        ..Query::default()
    };
    // SAFETY: the structure is the part of `union bpf_attr` that this command reads and
    // writes, of the size given; `ids` has room for `prog_cnt` numbers and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_QUERY,
            &raw mut query,
            size_of::<Query>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    ids.truncate(query.prog_cnt as usize);
    Ok(ids)
}

/// The programs attached to the namespace that the path stands for, in the order they run.
///
/// Linux 5.9 and later.
///
/// # Errors
/// If the namespace is gone or the kernel refuses the question.
pub fn sk_lookup_programs(netns: &Path) -> Result<Vec<Program>> {
    let file = File::open(netns).with_context(|| format!("cannot open {}", netns.display()))?;
    let ids = sk_lookup_ids(&file).context("cannot ask for the namespace's sk_lookup programs")?;
    let names: HashMap<u32, String> = loaded_programs()
        .flatten()
        .map(|info| {
            let name = info.name_as_str().unwrap_or_default();
            (info.id(), name.to_owned())
        })
        .collect();
    let program = |id| Program {
        id,
        name: names.get(&id).cloned().unwrap_or_default(),
    };
    Ok(ids.into_iter().map(program).collect())
}
