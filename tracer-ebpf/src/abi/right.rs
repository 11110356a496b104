//! What user space says of listeners, so that a SYN that cannot be an alert needs no record.

/// Most listeners whose SYNs are known to be right.
pub const MAX_RIGHT: u32 = 16_384;

/// Rows of the map [`super::maps::PORTS`]: one for each port that there is.
pub const PORTS: u32 = 1 << 16;

/// A listener whose SYNs are right, but for some. User space writes it, the programs read it;
/// it is believed while [`Right::generation`] is one more than that of the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Right {
    /// [`super::Listener::stamp`]; 0: the row is free.
    pub stamp: u64,
    /// One more than [`Port::generation`] when it was found out; 0: not to be believed.
    pub generation: u64,
    /// Which SYNs are right: one of [`rights`].
    pub syns: u64,
    /// Destinations that are not, by [`Right::bit`]: others may have the same bit.
    pub but: [u64; 4],
    /// Keeps a row in one cache line.
    pub reserved: u64,
}

/// Values of [`Right::syns`].
pub mod rights {
    /// Those for the address that the listener is bound to.
    pub const EXACT: u64 = 1;
    /// Those for any address, but for [`super::Right::but`].
    pub const ANY: u64 = 2;
}

impl Right {
    /// Where the row of a listener with this stamp is; or else it is in the one beside it, whose
    /// number differs in the lowest bit.
    #[must_use]
    #[inline]
    pub const fn row(stamp: u64) -> u32 {
        (mixed(stamp) >> 50) as u32
    }

    /// The bit that stands for a destination in [`Right::but`], IPv4 in v4-mapped form.
    #[must_use]
    #[inline]
    pub const fn bit(destination: [u64; 2]) -> u32 {
        (mixed(mixed(destination[0]) ^ destination[1]) >> 56) as u32
    }
}

/// Fibonacci hashing: the upper bits depend on all.
#[inline]
const fn mixed(value: u64) -> u64 {
    value.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What the programs saw at a port, in whichever namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Port {
    /// Goes up before and after the record of each opening and closing of a listener.
    pub generation: u64,
    /// Not 0: a SYN was steered there, which later ones are judged by.
    pub steered: u64,
}

const _: () = assert!(MAX_RIGHT == 1 << (64 - 50));
