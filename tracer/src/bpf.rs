//! `bpf(2)` as it is, for what no library asks of it.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya_obj::generated::{bpf_link_info, bpf_prog_info};

/// Commands, `include/uapi/linux/bpf.h`.
pub(crate) mod command {
    pub(crate) const MAP_CREATE: libc::c_long = 0;
    pub(crate) const LOOKUP: libc::c_long = 1;
    pub(crate) const UPDATE: libc::c_long = 2;
    pub(crate) const DELETE: libc::c_long = 3;
    pub(crate) const NEXT_KEY: libc::c_long = 4;
    pub(crate) const MAP_NEXT_ID: libc::c_long = 12;
    pub(crate) const MAP_FD_BY_ID: libc::c_long = 14;
    pub(super) const INFO_BY_FD: libc::c_long = 15;
    pub(super) const PROG_QUERY: libc::c_long = 16;
    pub(super) const LINK_CREATE: libc::c_long = 28;
    pub(crate) const LINK_FD_BY_ID: libc::c_long = 30;
    pub(super) const ITER_CREATE: libc::c_long = 33;
}

// The parts of `union bpf_attr` that the commands use.

#[repr(C)]
pub(crate) struct Create {
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) map_flags: u32,
    /// `inner_map_fd` and `numa_node`
    pub(crate) unused: [u32; 2],
    pub(crate) name: [u8; 16],
}

#[repr(C)]
pub(crate) struct Element {
    pub(crate) fd: u32,
    pub(crate) reserved: u32,
    pub(crate) key: u64,
    pub(crate) value: u64,
    pub(crate) flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    flags: u32,
}

#[repr(C)]
struct Question {
    fd: u32,
    length: u32,
    info: u64,
}

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

#[repr(C)]
struct Link {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    reserved: u32,
}

/// `union bpf_iter_link_info` where it is about a task (6.1), in its whole size.
#[repr(C)]
#[derive(Default)]
struct OverTask {
    tid: u32,
    /// Of the process (tgid), in the caller's pid namespace.
    pid: u32,
    pid_fd: u32,
    reserved: u32,
}

#[repr(C)]
struct Iterate {
    link_fd: u32,
    flags: u32,
}

/// What the kernel tells of a thing that it has a descriptor for.
///
/// # Safety
/// All bytes of such a type may be zero, or anything else.
pub(crate) unsafe trait Info {}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct MapInfo {
    pub(crate) map_type: u32,
    id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) map_flags: u32,
}

// SAFETY: integers only.
unsafe impl Info for MapInfo {}
// SAFETY: integers only.
unsafe impl Info for bpf_prog_info {}
// SAFETY: integers only, and unions of them.
unsafe impl Info for bpf_link_info {}

/// What the kernel knows of the thing; zero where it is too old to know.
pub(crate) fn info<T: Info>(fd: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: as the trait says.
    let mut info: T = unsafe { std::mem::zeroed() };
    let mut question = Question {
        fd: fd.as_raw_fd().cast_unsigned(),
        length: size_of::<T>() as u32,
        info: address(&raw mut info),
    };
    call(command::INFO_BY_FD, &mut question)?;
    Ok(info)
}

/// The next higher number of such a thing; an error with `ENOENT` after the last.
pub(crate) fn next_id(what: libc::c_long, id: u32) -> io::Result<u32> {
    let mut next = ById {
        id,
        ..ById::default()
    };
    call(what, &mut next)?;
    Ok(next.next_id)
}

/// A descriptor of the thing with this number.
pub(crate) fn by_id(what: libc::c_long, id: u32) -> io::Result<OwnedFd> {
    let mut open = ById {
        id,
        ..ById::default()
    };
    call(what, &mut open).and_then(owned)
}

/// A new map.
pub(crate) fn create(mut map: Create) -> io::Result<OwnedFd> {
    call(command::MAP_CREATE, &mut map).and_then(owned)
}

/// Ids of the programs that are attached to the target in this way, in the order they run;
/// `ids` bounds them.
pub(crate) fn attached(target: RawFd, attach_type: u32, mut ids: Vec<u32>) -> io::Result<Vec<u32>> {
    let mut query = Query {
        target_fd: target.cast_unsigned(),
        attach_type,
        prog_ids: address(ids.as_mut_ptr()),
        prog_cnt: ids.len() as u32,
        ..Query::default()
    };
    call(command::PROG_QUERY, &mut query)?;
    ids.truncate(query.prog_cnt as usize);
    Ok(ids)
}

/// `BPF_TRACE_ITER`
const TRACE_ITER: u32 = 28;

/// A link of an iterator's program (5.8); `pid`: over the tasks of that process only (6.1, an error
/// before).
pub(crate) fn link_iterator(program: BorrowedFd<'_>, pid: Option<u32>) -> io::Result<OwnedFd> {
    let over = pid.map(|pid| OverTask {
        pid,
        ..OverTask::default()
    });
    let mut link = Link {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_fd: 0,
        attach_type: TRACE_ITER,
        flags: 0,
        iter_info: over.as_ref().map_or(0, address_of),
        iter_info_len: over.as_ref().map_or(0, |_| size_of::<OverTask>() as u32),
        reserved: 0,
    };
    call(command::LINK_CREATE, &mut link).and_then(owned)
}

/// What such a link iterates over, from its beginning, to be read.
pub(crate) fn iterate(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut iterate = Iterate {
        link_fd: link.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    call(command::ITER_CREATE, &mut iterate).and_then(owned)
}

pub(crate) fn address<T>(value: *mut T) -> u64 {
    value.expose_provenance() as u64
}

/// Of what the kernel only reads.
pub(crate) fn address_of<T>(value: &T) -> u64 {
    (&raw const *value).expose_provenance() as u64
}

/// Calls it with the part of `union bpf_attr` that the command reads and writes.
pub(crate) fn call<T>(what: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the structure is the part of `union bpf_attr` that this command reads and writes,
    // of the size given; what it points to lives in the callers, and is as long as a key, a
    // value of the map or the length given.
    let result = unsafe { libc::syscall(libc::SYS_bpf, what, &raw mut *attr, size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
