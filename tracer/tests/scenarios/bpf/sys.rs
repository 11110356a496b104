//! bpf(2), for want of a library that does all that is needed here: the only unsafe calls
//! of these tests, and their reasons.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::Result;

/// Commands of bpf(2) that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Command {
    MapCreate = 0,
    MapUpdate = 2,
    ProgLoad = 5,
    ObjPin = 6,
    ProgNextId = 11,
    MapNextId = 12,
    ObjGetInfo = 15,
    BtfNextId = 23,
    LinkCreate = 28,
    LinkNextId = 31,
}

/// `union bpf_attr`, written field by field at the offsets of `linux/bpf.h`.
#[repr(C, align(8))]
pub(super) struct Attribute([u8; 128]);

impl Attribute {
    pub(super) fn new() -> Self {
        Self([0; 128])
    }

    /// A `__u32` field.
    pub(super) fn u32(&mut self, offset: usize, value: u32) -> &mut Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// A `__aligned_u64` field that holds a pointer. What it points to must live until the call.
    pub(super) fn pointer<T>(&mut self, offset: usize, to: *const T) -> &mut Self {
        let address = to.expose_provenance() as u64;
        self.0[offset..offset + 8].copy_from_slice(&address.to_ne_bytes());
        self
    }

    /// Reads a `__u32` field that the kernel wrote.
    fn read_u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[offset..offset + 4]);
        u32::from_ne_bytes(bytes)
    }
}

/// Calls bpf(2).
pub(super) fn call(command: Command, attribute: &Attribute) -> Result<RawFd> {
    // SAFETY: the attribute is as large as we say; the pointers in it are to values that our
    // callers keep alive and, where the kernel writes, exclusively borrowed across this call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as i32,
            &raw const *attribute,
            size_of::<Attribute>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(RawFd::try_from(result)?)
}

/// Calls bpf(2) for a command that makes a descriptor.
pub(super) fn descriptor(command: Command, attribute: &Attribute) -> Result<OwnedFd> {
    let descriptor = call(command, attribute)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The id after `id` of the kind that the command walks; `None` past the last one.
pub(super) fn next_id(command: Command, id: u32) -> Result<Option<u32>> {
    let mut attribute = Attribute::new();
    attribute.u32(0, id);
    // SAFETY: the attribute is as large as we say, and borrowed exclusively: the kernel writes
    // the next id into it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as i32,
            &raw mut attribute,
            size_of::<Attribute>(),
        )
    };
    if result == 0 {
        return Ok(Some(attribute.read_u32(4)));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // EINVAL: a kernel without that kind of object.
        Some(libc::ENOENT | libc::EINVAL) => Ok(None),
        _ => Err(error.into()),
    }
}

/// setsockopt(2) on `SOL_SOCKET`.
pub(super) fn set_socket_option<T>(socket: BorrowedFd<'_>, name: i32, value: &T) -> Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>())?;
    // SAFETY: `value` is a live T of the size we say; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw const *value).cast(),
            size,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

/// Attaches a program to a kernel function, through the perf unit with this number.
pub(super) fn attach_kprobe(
    unit: u32,
    function: &CStr,
    program: BorrowedFd<'_>,
) -> Result<OwnedFd> {
    // linux/perf_event.h: `PERF_EVENT_IOC_SET_BPF` and so on.
    const SET_BPF: libc::c_ulong = 0x4004_2408;
    const ENABLE: libc::c_ulong = 0x2400;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    // struct perf_event_attr: type, size, ..., sample_period, ..., kprobe_func
    let mut attribute = Attribute::new();
    let size = u32::try_from(size_of::<Attribute>())?;
    attribute.u32(0, unit).u32(4, size).u32(16, 1);
    attribute.pointer(56, function.as_ptr());
    // SAFETY: the attribute is as large as it says, and the name in it lives; the other
    // arguments are integers.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attribute,
            -1,
            0,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if event < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let event = unsafe { OwnedFd::from_raw_fd(RawFd::try_from(event)?) };
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: both requests take an integer.
        if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } != 0 {
            return Err(io::Error::last_os_error().into());
        }
    }
    Ok(event)
}

/// How many segments of the connection were sent again, SYNs included.
pub(crate) fn retransmitted(connection: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: integers only, for which zero is valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of_val(&info))?;
    // SAFETY: `info` is as large as `size` says, and borrowed exclusively.
    let result = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(info.tcpi_total_retrans)
}
