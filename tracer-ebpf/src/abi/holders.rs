//! Who holds listening sockets, as the iterator over processes tells.

/// Offsets of what leads from a process to its sockets: read-only data to the verifier.
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
    /// `task_struct.group_leader`
    pub task_group_leader: u16,
    /// `task_struct.files`: shared by the threads of a process, unless one unshared it
    pub task_files: u16,
    /// `files_struct.fdt`
    pub files_fdt: u16,
    /// `fdtable.max_fds`
    pub fdt_max_fds: u16,
    /// `fdtable.fd`: the files, by descriptor
    pub fdt_fd: u16,
    /// `fdtable.open_fds`: a bit for each descriptor in use
    pub fdt_open_fds: u16,
}

/// A descriptor of a listening socket, TCP or other; or, where `inode` is 0, that the process has
/// more descriptors than one pass looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Holder {
    /// The socket's inode number, or 0.
    pub inode: u64,
    /// Process (tgid) in the initial pid namespace.
    pub pid: u32,
    /// The descriptor; the first that was not looked at where `inode` is 0.
    pub fd: u32,
}

/// What one pass of the iterator looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Pass {
    /// Of this process (tgid) only; 0: of all.
    pub pid: u32,
    /// From this descriptor on.
    pub fd: u32,
}
