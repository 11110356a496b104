//! The small programs some scenarios steer connections with, and bpf(2) itself: enough to
//! load them without a library, so that they stay readable instruction by instruction.

pub(crate) mod asm;
pub(crate) mod objects;
pub(crate) mod programs;
mod sys;

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Result};

use sys::{Attribute, Command};

pub(crate) use sys::{Command as BpfCommand, retransmitted};

/// `BPF_MAP_TYPE_SOCKMAP`
pub(crate) const SOCKMAP: u32 = 15;
/// `BPF_MAP_TYPE_REUSEPORT_SOCKARRAY`
pub(crate) const REUSEPORT_SOCKARRAY: u32 = 20;

/// Where a program belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `BPF_PROG_TYPE_SCHED_CLS`, for tc.
    SchedCls,
    /// `BPF_PROG_TYPE_KPROBE`
    Kprobe,
    /// `BPF_PROG_TYPE_SK_REUSEPORT`
    SkReuseport,
    /// `BPF_PROG_TYPE_SK_LOOKUP`
    SkLookup,
}

impl Kind {
    /// Program type and expected attach type.
    fn numbers(self) -> (u32, u32) {
        match self {
            Self::SchedCls => (3, 0),
            Self::Kprobe => (2, 0),
            Self::SkReuseport => (21, 0),
            Self::SkLookup => (30, 36),
        }
    }
}

/// `BPF_SK_LOOKUP`
const ATTACH_SK_LOOKUP: u32 = 36;
/// `BPF_TCX_INGRESS`
const ATTACH_TCX_INGRESS: u32 = 46;

/// A map that holds sockets; they stay only as long as they are open.
pub(crate) struct SocketMap(OwnedFd);

impl SocketMap {
    /// A map of the given type, filled in order.
    pub(crate) fn new(kind: u32, sockets: &[RawFd]) -> Result<Self> {
        let value_size = 8;
        let mut attribute = Attribute::new();
        attribute.u32(0, kind).u32(4, 4).u32(8, value_size);
        attribute.u32(12, u32::try_from(sockets.len())?);
        let map = sys::descriptor(Command::MapCreate, &attribute).context("cannot make a map")?;
        for (key, socket) in sockets.iter().enumerate() {
            let (key, value) = (u32::try_from(key)?, u64::try_from(*socket)?);
            let mut attribute = Attribute::new();
            attribute.u32(0, map.as_raw_fd().cast_unsigned());
            attribute.pointer(8, &raw const key);
            attribute.pointer(16, &raw const value);
            sys::call(Command::MapUpdate, &attribute)
                .with_context(|| format!("cannot put socket {key} into a map"))?;
        }
        Ok(Self(map))
    }

    /// For [`asm::Asm::load_map`].
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A loaded program.
pub(crate) struct Program(OwnedFd);

impl Program {
    /// Loads it; the verifier's words become the error.
    pub(crate) fn load(kind: Kind, code: &[u64]) -> Result<Self> {
        let license = c"GPL";
        let mut log = vec![0_u8; 64 << 10];
        let (program_type, attach_type) = kind.numbers();
        let mut attribute = Attribute::new();
        attribute.u32(0, program_type);
        attribute.u32(4, u32::try_from(code.len())?);
        attribute.pointer(8, code.as_ptr());
        attribute.pointer(16, license.as_ptr());
        attribute.u32(68, attach_type);
        if let Ok(program) = sys::descriptor(Command::ProgLoad, &attribute) {
            return Ok(Self(program));
        }
        // A log that has no room for all that is to be said would be a failure of its own.
        attribute.u32(24, 1).u32(28, u32::try_from(log.len())?);
        attribute.pointer(32, log.as_mut_ptr());
        let program = sys::descriptor(Command::ProgLoad, &attribute);
        let program = program.with_context(|| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
            let log = String::from_utf8_lossy(&log[..end]);
            format!("the kernel refused a {kind:?} program: {log}")
        })?;
        Ok(Self(program))
    }

    /// Its id, as `reuseport.program_id` has it.
    pub(crate) fn id(&self) -> Result<u32> {
        // struct bpf_prog_info: type, id, ...
        let mut info = [0_u32; 64];
        let mut attribute = Attribute::new();
        attribute.u32(0, self.0.as_raw_fd().cast_unsigned());
        attribute.u32(4, u32::try_from(size_of_val(&info))?);
        attribute.pointer(8, info.as_mut_ptr());
        sys::call(Command::ObjGetInfo, &attribute).context("no information on a program")?;
        Ok(info[1])
    }

    /// Attaches it to a namespace's socket lookup until the result is dropped.
    pub(crate) fn attach_lookup(&self, netns: impl AsFd) -> Result<OwnedFd> {
        let netns = netns.as_fd().as_raw_fd().cast_unsigned();
        self.link(netns, ATTACH_SK_LOOKUP)
            .context("cannot attach an sk_lookup program")
    }

    /// Attaches it to an interface's ingress without tc (6.6 and later).
    pub(crate) fn attach_tcx(&self, ifindex: u32) -> Result<OwnedFd> {
        self.link(ifindex, ATTACH_TCX_INGRESS)
            .context("cannot attach a program to ingress")
    }

    /// Has it run at each call of a kernel function until the result is dropped (4.17).
    pub(crate) fn attach_kprobe(&self, function: &CStr) -> Result<OwnedFd> {
        let unit = std::fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")
            .context("no perf unit for kprobes")?;
        sys::attach_kprobe(unit.trim().parse()?, function, self.0.as_fd())
            .with_context(|| format!("cannot attach a program to {function:?}"))
    }

    fn link(&self, target: u32, attach_type: u32) -> Result<OwnedFd> {
        let mut attribute = Attribute::new();
        attribute.u32(0, self.0.as_raw_fd().cast_unsigned());
        attribute.u32(4, target).u32(8, attach_type);
        sys::descriptor(Command::LinkCreate, &attribute)
    }

    /// Gives it a name below /sys/fs/bpf, for tc.
    pub(crate) fn pin(&self, path: &Path) -> Result<()> {
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
        let mut attribute = Attribute::new();
        attribute.pointer(0, name.as_ptr());
        attribute.u32(8, self.0.as_raw_fd().cast_unsigned());
        sys::call(Command::ObjPin, &attribute)
            .with_context(|| format!("cannot pin a program at {}", path.display()))?;
        Ok(())
    }

    /// Lets it choose among a reuseport group's members.
    pub(crate) fn attach_group(&self, member: impl AsFd) -> Result<()> {
        let program = self.0.as_raw_fd();
        sys::set_socket_option(member.as_fd(), libc::SO_ATTACH_REUSEPORT_EBPF, &program)
            .context("SO_ATTACH_REUSEPORT_EBPF")
    }
}

/// Lets a classic filter choose among a reuseport group's members.
pub(crate) fn attach_classic(
    member: BorrowedFd<'_>,
    filter: &mut [libc::sock_filter],
) -> Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len())?,
        filter: filter.as_mut_ptr(),
    };
    sys::set_socket_option(member, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
        .context("SO_ATTACH_REUSEPORT_CBPF")
}
