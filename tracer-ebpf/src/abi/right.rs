//! What user space says of listeners, so that a SYN that cannot be an alert needs no record, and
//! how many such SYNs there were.

/// Most listeners whose SYNs are known to be right.
pub const MAX_RIGHT: u32 = 16_384;

/// Rows of the map [`super::maps::PORTS`]: one for each port that there is.
pub const PORTS: u32 = 1 << 16;

/// A listener whose SYNs are right, but for some. User space says so, the programs believe it
/// while nobody came or went at the port, and count. One cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Right {
    /// [`super::Listener::stamp`]; 0: the row is free.
    pub stamp: u64,
    /// [`rights::as_of`] the generation when it was found out; 0: not to be believed.
    pub as_of: u64,
    /// Destinations that are not right, by [`Right::bit`]: others may have the same bit.
    pub but: [u64; 3],
    /// Not 0: of the next SYN there is a record all the same. User space sets it, the programs
    /// clear it.
    pub record: u64,
    /// SYNs without a record, since the row was taken: over IPv4, over IPv6. The programs write
    /// it.
    pub counted: [u64; 2],
}

/// Which SYNs are right, and as of when, in one word, so that both change at once.
pub mod rights {
    /// Those for the address that the listener is bound to.
    pub const EXACT: u64 = 1;
    /// Those for any address, but for [`super::Right::but`].
    pub const ANY: u64 = 2;

    /// [`super::Right::as_of`]: `syns` ([`EXACT`] or [`ANY`]) are right while this is
    /// [`super::Port::generation`].
    #[must_use]
    #[inline]
    pub const fn as_of(generation: u64, syns: u64) -> u64 {
        generation.wrapping_shl(2) | syns
    }
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
        let upper = mixed(mixed(destination[0]) ^ destination[1]) >> 32;
        ((upper * 192) >> 32) as u32
    }
}

/// Fibonacci hashing: the upper bits depend on all.
#[inline]
const fn mixed(value: u64) -> u64 {
    value.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Rows of the map [`super::maps::MET`].
pub const MAX_MET: u32 = 1024;

/// A listener that a CPU met. The programs write it, for themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Met {
    /// Address of its `struct sock`; 0: the row is free.
    pub sock: u64,
    /// Its [`super::Listener::stamp`].
    pub stamp: u64,
    /// Number of its [`Right`].
    pub row: u32,
    /// Its namespace (inode number).
    pub netns: u32,
    /// Its port.
    pub port: u16,
    /// Not 0: it is bound to no address.
    pub is_any: u16,
    /// Nothing.
    pub reserved: u32,
}

impl Met {
    /// Where the listener with this socket is, if it is.
    #[must_use]
    #[inline]
    pub const fn place(sock: u64) -> u32 {
        (mixed(sock) >> 54) as u32
    }
}

/// What is known of a port, in whichever namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Port {
    /// Goes up before and after the record of each opening and closing of a listener, and when
    /// user space takes back what it said.
    pub generation: u64,
    /// Not 0: a SYN was steered there, which later ones are judged by.
    pub steered: u32,
    /// The namespace (inode number) whose refused SYNs there are counted and not recorded;
    /// 0: none's. User space writes it.
    pub refused_in: u32,
    /// How many were counted so, whichever the namespace was.
    pub refused: u64,
}

const _: () = assert!(MAX_RIGHT == 1 << (64 - 50));
const _: () = assert!(MAX_MET == 1 << (64 - 54));
const _: () = assert!(size_of::<Right>() == 64);
