//! A look at kernel memory, from which user space finds out where a structure keeps what on a
//! kernel without type information.

use super::ArgLoc;

/// Bytes of one look.
pub const PEEK_BYTES: usize = 1024;

/// What to look at, and after the next call of the hooked function what was there.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Peek {
    /// Process (tgid) whose call it has to be; 0 for any.
    pub process: u32,
    /// 1: look at the next call. The program clears it.
    pub armed: u32,
    /// Argument that the structure's address is in.
    pub from: ArgLoc,
    /// Argument whose lower 16 bits have to be `value`, or `ArgLoc::NONE`.
    pub only: ArgLoc,
    /// See `only`.
    pub value: u32,
    /// Look here instead of at the argument, unless 0.
    pub address: u64,
    /// Address that was looked at.
    pub seen: u64,
    /// What was there; zeros if it could not be read.
    pub bytes: [u64; PEEK_BYTES / 8],
}
