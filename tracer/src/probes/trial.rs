//! What the self-check and measuring have in common, which both make sockets to learn from.

use std::{io, os::fd::AsRawFd as _, time::Duration};

use socket2::Socket;

/// How often, and how long apart, the kernel is looked at for what it does a little later.
pub(super) const LOOKS: u32 = 100;
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How often it is tried: the kernel may skip a kprobe's program while another tool's runs.
pub(super) const TRIES: u32 = 3;

/// `SO_ATTACH_REUSEPORT_CBPF` with a filter that returns `member`.
pub(super) fn attach_filter(socket: &Socket, member: u32) -> io::Result<()> {
    let mut code = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: member,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut code,
    };
    // SAFETY: the option takes a `sock_fprog`, whose one instruction outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
