//! The only place that reads kernel memory: typed pointers, fields at offsets
//! given at load time, and the arguments of the traced function.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_get_current_comm;
#[cfg(feature = "legacy")]
use aya_ebpf::helpers::generated::bpf_probe_read as probe_read;
#[cfg(not(feature = "legacy"))]
use aya_ebpf::helpers::generated::bpf_probe_read_kernel as probe_read;
use sockpick_ebpf::abi::ABSENT;

#[cfg(feature = "legacy")]
#[path = "config/map.rs"]
pub(crate) mod place;
#[cfg(not(feature = "legacy"))]
#[path = "config/global.rs"]
pub(crate) mod place;

mod arguments;
#[cfg(not(feature = "legacy"))]
mod typed;

#[cfg(feature = "legacy")]
pub(crate) use arguments::arg_at;
pub(crate) use arguments::{Traced, arg, arg_of, args, args_of};
pub(crate) use place::{config, control};
#[cfg(not(feature = "legacy"))]
pub(crate) use typed::{Typed, typed};

/// Reads a field of a kernel structure: `field!(pointer, offset name => type)`.
macro_rules! field {
    ($ptr:expr, $off:ident => $ty:ty) => {
        $ptr.field::<$ty, { core::mem::offset_of!(sockpick_ebpf::abi::Offsets, $off) }>(
            #[inline(always)]
            || $crate::fields::config!(off.$off),
        )
    };
}
pub(crate) use field;

/// The same, or zero where the kernel has no such field.
macro_rules! field_if_there {
    ($ptr:expr, $off:ident => $ty:ty) => {
        if $crate::fields::config!(off.$off) == sockpick_ebpf::abi::ABSENT {
            <$ty>::default()
        } else {
            $crate::fields::field!($ptr, $off => $ty)
        }
    };
}
pub(crate) use field_if_there;

/// Reads a field that is a pointer; null where the kernel has no such field.
macro_rules! pointer_if_there {
    ($ptr:expr, $off:ident) => {
        if $crate::fields::config!(off.$off) == sockpick_ebpf::abi::ABSENT {
            $crate::fields::KernelPtr(0)
        } else {
            $ptr.pointer::<{ core::mem::offset_of!(sockpick_ebpf::abi::Offsets, $off) }>(
                #[inline(always)]
                || $crate::fields::config!(off.$off),
            )
        }
    };
}
pub(crate) use pointer_if_there;

/// Reads two fields of one type that stand close together.
macro_rules! two_fields {
    ($ptr:expr, $first:ident, $second:ident => $ty:ty) => {
        $ptr.two_fields::<
                    $ty,
                    { core::mem::offset_of!(sockpick_ebpf::abi::Offsets, $first) },
                    { core::mem::offset_of!(sockpick_ebpf::abi::Offsets, $second) },
                >(
                    #[inline(always)]
                    || ($crate::fields::config!(off.$first), $crate::fields::config!(off.$second)),
                )
    };
}
pub(crate) use two_fields;

/// An address in kernel memory. It may be anything: reads go through
/// `bpf_probe_read_kernel` (5.5; `bpf_probe_read` before), which checks it and fills in zeros
/// on a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelPtr(pub(crate) u64);

impl KernelPtr {
    #[cfg(feature = "legacy")]
    pub(crate) const NULL: Self = Self(0);

    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Null, or one of the kernel's `ERR_PTR` values.
    pub(crate) fn is_err_or_null(self) -> bool {
        self.0 == 0 || self.0 >= (-4095_i64).cast_unsigned()
    }

    #[inline(always)]
    pub(crate) fn at(self, offset: u64) -> Self {
        Self(self.0.wrapping_add(offset))
    }

    /// The value at `offset`.
    #[inline(always)]
    pub(crate) fn read<T: Copy>(self, offset: u16) -> T {
        self.at(offset.into()).load()
    }

    /// See [`field!`].
    #[inline(always)]
    pub(crate) fn field<T: Copy, const FIELD: usize>(self, offset: impl FnOnce() -> u16) -> T {
        self.read(offset())
    }

    /// The value at `offset`, or zeros where the kernel has no such field.
    #[inline(always)]
    pub(crate) fn read_if_there<T: Copy + Default>(self, offset: u16) -> T {
        if offset == ABSENT {
            return T::default();
        }
        self.read(offset)
    }

    /// The value of a pointer field, or null where the kernel has no such field.
    #[inline(always)]
    pub(crate) fn follow_if_there(self, offset: u16) -> Self {
        Self(self.read_if_there::<u64>(offset))
    }

    /// The value at the address itself; zeros if it cannot be read.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(self) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        self.copy_to(&mut value);
        // SAFETY: the helper wrote every byte, zeros on a fault; `T` is a plain integer
        // type or an array of one.
        unsafe { value.assume_init() }
    }

    /// Copies `size_of::<T>()` bytes from the address to `out`; zeros on a fault.
    #[inline(always)]
    pub(crate) fn copy_to<T: Copy>(self, out: &mut T) {
        // SAFETY: `out` is writable for its whole size, which the verifier checks;
        // the source is checked by the helper. On a fault it writes zeros, valid
        // for the plain integer types used here.
        unsafe {
            probe_read(
                core::ptr::from_mut(out).cast(),
                size_of::<T>() as u32,
                self.0 as *const _,
            );
        }
    }

    /// The value of a pointer field.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u16) -> Self {
        Self(self.read::<u64>(offset))
    }
}

/// An address of 16 bytes in a structure that keeps it eight-byte aligned, taken as two
/// words: bytes would be moved by `memmove` and `memset`, one at a time on this target.
#[inline(always)]
pub(crate) fn words(address: &mut [u8; 16]) -> &mut [u64; 2] {
    // SAFETY: same size, any value is valid, and the fields that this is used for are
    // aligned, which `abi.rs` and `inflight.rs` assert and the verifier checks.
    unsafe { &mut *core::ptr::from_mut(address).cast() }
}

/// Name of the current thread.
///
/// Not by aya's function, whose array of bytes is cleared by a call of `memset`.
#[inline(always)]
pub(crate) fn current_comm() -> Option<[u8; 16]> {
    let mut comm = MaybeUninit::<[u64; 2]>::uninit();
    // SAFETY: 16 writable bytes; the helper fills them all, with zeros if it fails.
    let failed = unsafe { bpf_get_current_comm(comm.as_mut_ptr().cast(), 16) } != 0;
    // SAFETY: filled by the helper.
    let [first, second] = unsafe { comm.assume_init() };
    if failed {
        return None;
    }
    // SAFETY: same size; any bytes are valid.
    Some(unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>([first, second]) })
}

/// `::ffff:a.b.c.d` as [`words`], on this little-endian target.
#[inline(always)]
pub(crate) fn mapped(ipv4: [u8; 4]) -> [u64; 2] {
    [0, u64::from(u32::from_le_bytes(ipv4)) << 32 | 0xffff_0000]
}

/// What has fields that can be read, whichever way.
pub(crate) trait Fields: Copy {
    /// See [`field!`]; `FIELD`: where its offset stands in `abi::Offsets`.
    fn field<T: Word, const FIELD: usize>(self, offset: impl FnOnce() -> u16) -> T;

    /// See [`two_fields!`]; `FIRST`, `SECOND`: where their offsets stand in `abi::Offsets`.
    fn two_fields<T: Word, const FIRST: usize, const SECOND: usize>(
        self,
        offsets: impl FnOnce() -> (u16, u16),
    ) -> (T, T);

    /// See [`pointer_if_there!`]; `FIELD`: where its offset stands in `abi::Offsets`.
    fn pointer<const FIELD: usize>(self, offset: impl FnOnce() -> u16) -> KernelPtr;
}

impl Fields for KernelPtr {
    #[inline(always)]
    fn field<T: Word, const FIELD: usize>(self, offset: impl FnOnce() -> u16) -> T {
        self.read(offset())
    }

    /// By one read where the second stands right behind the first.
    #[inline(always)]
    fn two_fields<T: Word, const FIRST: usize, const SECOND: usize>(
        self,
        offsets: impl FnOnce() -> (u16, u16),
    ) -> (T, T) {
        let (first, second) = offsets();
        if second == first + size_of::<T>() as u16 {
            let [first, second] = self.read::<[T; 2]>(first);
            (first, second)
        } else {
            (self.read(first), self.read(second))
        }
    }

    #[inline(always)]
    fn pointer<const FIELD: usize>(self, offset: impl FnOnce() -> u16) -> KernelPtr {
        self.follow(offset())
    }
}

/// An integer that one load takes.
pub(crate) trait Word: Copy + Default {
    /// A field of what the argument points to, whose offset user space writes into the instruction
    /// (`abi::FIELD_MARK`); it stands at `FIELD` in `abi::Offsets`.
    #[cfg(not(feature = "legacy"))]
    fn field_of<const AT: usize, const FIELD: usize>(ctx: *const u8) -> Self;
}

#[cfg(feature = "legacy")]
impl Word for u16 {}
#[cfg(feature = "legacy")]
impl Word for u32 {}
#[cfg(feature = "legacy")]
impl Word for u64 {}
