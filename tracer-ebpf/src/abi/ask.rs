//! A question to the kernel's lookup, and its answer.

use super::Listener;

/// What became of a question.
pub mod asked {
    /// The program did not get to an answer.
    pub const UNANSWERED: u32 = 0;
    /// There is no listener.
    pub const NOTHING: u32 = 1;
    /// `Ask::listener` and what follows it is filled in.
    pub const LISTENER: u32 = 2;
    /// The kernel found a connection with the very tuple, not a listener.
    pub const CONNECTION: u32 = 3;
}

/// A question to the kernel's own lookup and, after a test run of the program `ask`, its
/// answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Ask {
    /// `struct bpf_sock_tuple`: addresses of client and destination, then their ports, all
    /// in network order; 12 bytes for IPv4, 36 for IPv6.
    pub tuple: [u32; 9],
    /// `AF_INET` or `AF_INET6`.
    pub family: u32,
    /// Address of the `struct sock` that was found.
    pub sock: u64,
    /// One of [`asked`].
    pub status: u32,
    /// `skc_state` of what was found.
    pub state: u32,
    /// Program of the reuseport group; 0 without one, and for a classic filter.
    pub prog_id: u32,
    /// Members in the reuseport group; 0 without a group.
    pub group_size: u16,
    /// Index in the group's `socks[]`; `u16::MAX` if not found.
    pub member: u16,
    /// One of [`super::group_prog`]: [`super::group_prog::NONE`], [`super::group_prog::CLASSIC`] or
    /// [`super::group_prog::EBPF`].
    pub group_prog: u32,
    /// Connections waiting in its accept queue.
    pub queue_len: u32,
    /// Limit of the accept queue.
    pub queue_limit: u32,
    /// Keeps `listener` eight-byte aligned.
    pub reserved: u32,
    /// The listener that was found.
    pub listener: Listener,
}

const _: () = {
    assert!(size_of::<Ask>() == 200);
    assert!(core::mem::offset_of!(Ask, listener) == 80);
};
