//! Who holds listening sockets, as the iterator over descriptors tells.

/// Offsets of what leads from a descriptor to its socket: read-only data to the verifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Files {
    /// `file.f_inode`
    pub file_inode: u16,
    /// `file.private_data`: of a socket's its `struct socket`
    pub file_private_data: u16,
    /// `inode.i_mode`
    pub inode_mode: u16,
    /// `inode.i_ino`
    pub inode_ino: u16,
    /// `socket.sk`
    pub socket_sk: u16,
    /// `task_struct.tgid`
    pub task_tgid: u16,
}

/// A descriptor of a listening socket, TCP or other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Holder {
    /// The socket's inode number.
    pub inode: u64,
    /// Process (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Keeps the size a multiple of eight.
    pub reserved: u32,
}
