//! The only place that reads kernel memory: typed pointers, fields at offsets
//! given at load time, and the arguments of the traced function.

use core::mem::MaybeUninit;

#[cfg(feature = "legacy")]
use aya_ebpf::helpers::generated::bpf_probe_read as probe_read;
#[cfg(not(feature = "legacy"))]
use aya_ebpf::helpers::generated::bpf_probe_read_kernel as probe_read;
use aya_ebpf::{EbpfContext, helpers::generated::bpf_get_current_comm};
use sockpick_ebpf::abi::{ABSENT, ArgLoc};

#[cfg(feature = "legacy")]
#[path = "config/map.rs"]
pub(crate) mod place;
#[cfg(not(feature = "legacy"))]
#[path = "config/global.rs"]
pub(crate) mod place;

pub(crate) use place::{config, control};

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
#[cfg(not(feature = "legacy"))]
macro_rules! field_if_there {
    ($ptr:expr, $off:ident => $ty:ty) => {
        if $crate::fields::config!(off.$off) == sockpick_ebpf::abi::ABSENT {
            <$ty>::default()
        } else {
            $crate::fields::field!($ptr, $off => $ty)
        }
    };
}
#[cfg(not(feature = "legacy"))]
pub(crate) use field_if_there;

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

/// An argument or the result of the traced function, by its place in `abi::Args`:
/// `arg!(ctx, request_sk)`.
macro_rules! arg {
    ($ctx:expr, $($place:ident).+) => {
        $crate::fields::arg_of::<{ core::mem::offset_of!(sockpick_ebpf::abi::Args, $($place).+) }, _>(
            $ctx,
            #[inline(always)]
            || $crate::fields::config!(args.$($place).+),
        )
    };
}
pub(crate) use arg;

/// What a program is attached to, by its context.
pub(crate) trait Traced: EbpfContext {
    /// Whether arguments may lie on the stack, as a kprobe finds those past the sixth.
    const MAY_BE_ON_STACK: bool;
}

macro_rules! traced {
    ($($context:ident => $may_be_on_stack:literal,)*) => {$(
        impl Traced for aya_ebpf::programs::$context {
            const MAY_BE_ON_STACK: bool = $may_be_on_stack;
        }
    )*};
}

traced! {
    ProbeContext => true,
    RetProbeContext => true,
}
#[cfg(not(feature = "legacy"))]
traced! {
    FEntryContext => false,
    FExitContext => false,
    RawTracePointContext => false,
}

/// `AT`: where the place stands in `abi::Args`.
#[inline(always)]
pub(crate) fn arg_of<const AT: usize, C: Traced>(ctx: &C, place: impl FnOnce() -> ArgLoc) -> u64 {
    let word = context_word::<AT>(ctx.as_ptr().cast());
    if !C::MAY_BE_ON_STACK {
        return word;
    }
    let place = place();
    if place.0 & ArgLoc::STACK == 0 {
        return word;
    }
    // The word is the stack pointer then.
    KernelPtr(word)
        .at(u64::from(place.0 & !ArgLoc::STACK))
        .load()
}

/// Two arguments that are numbers, and may stand one behind the other on the stack: by one read
/// then.
macro_rules! args {
    ($ctx:expr, $($first:ident).+, $($second:ident).+) => {
        $crate::fields::args_of::<
            { core::mem::offset_of!(sockpick_ebpf::abi::Args, $($first).+) },
            { core::mem::offset_of!(sockpick_ebpf::abi::Args, $($second).+) },
            _,
        >(
            $ctx,
            #[inline(always)]
            || ($crate::fields::config!(args.$($first).+), $crate::fields::config!(args.$($second).+)),
        )
    };
}
pub(crate) use args;

/// `FIRST`, `SECOND`: where the places stand in `abi::Args`.
#[inline(always)]
pub(crate) fn args_of<const FIRST: usize, const SECOND: usize, C: Traced>(
    ctx: &C,
    places: impl FnOnce() -> (ArgLoc, ArgLoc),
) -> (u64, u64) {
    let context = ctx.as_ptr().cast();
    if !C::MAY_BE_ON_STACK {
        return (
            context_number::<FIRST>(context),
            context_number::<SECOND>(context),
        );
    }
    let (first, second) = places();
    if first.0 & ArgLoc::STACK == 0 || second.0 != first.0.wrapping_add(size_of::<u64>() as u16) {
        return (
            arg_of::<FIRST, C>(ctx, || first),
            arg_of::<SECOND, C>(ctx, || second),
        );
    }
    let stack = KernelPtr(context_word::<FIRST>(context));
    let [first, second] = stack
        .at(u64::from(first.0 & !ArgLoc::STACK))
        .load::<[u64; 2]>();
    (first, second)
}

/// The word of the context at the place's offset, which user space writes into the instruction
/// itself before the programs are loaded (`abi::MARK`): the verifier takes none but a constant
/// there, and a read through a helper costs a hundred instructions.
///
/// Negated twice, which has the verifier forget that it is a typed pointer: nothing is
/// dereferenced here, and it would not allow the arithmetic.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn context_word<const AT: usize>(ctx: *const u8) -> u64 {
    let value: u64;
    // SAFETY: reads the context, which the verifier checks.
    unsafe {
        core::arch::asm!(
            "{value} = *(u64 *)({ctx} + {mark})",
            "{value} = -{value}",
            "{value} = -{value}",
            value = out(reg) value,
            ctx = in(reg) ctx,
            mark = const sockpick_ebpf::abi::MARK as usize + AT,
            options(readonly, nostack),
        );
    }
    value
}

#[cfg(not(target_arch = "bpf"))]
fn context_word<const AT: usize>(_: *const u8) -> u64 {
    unreachable!("the programs run in the kernel only")
}

/// The same, of an argument that is a number.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn context_number<const AT: usize>(ctx: *const u8) -> u64 {
    let value: u64;
    // SAFETY: reads the context, which the verifier checks.
    unsafe {
        core::arch::asm!(
            "{value} = *(u64 *)({ctx} + {mark})",
            value = out(reg) value,
            ctx = in(reg) ctx,
            mark = const sockpick_ebpf::abi::MARK as usize + AT,
            options(readonly, nostack),
        );
    }
    value
}

#[cfg(not(target_arch = "bpf"))]
fn context_number<const AT: usize>(_: *const u8) -> u64 {
    unreachable!("the programs run in the kernel only")
}

/// An argument, or the result, of a function traced by fentry or fexit, whose fields are loaded:
/// `typed!(ctx, request_sk)`.
#[cfg(not(feature = "legacy"))]
macro_rules! typed {
    ($ctx:expr, $($place:ident).+) => {
        $crate::fields::Typed::<
            { core::mem::offset_of!(sockpick_ebpf::abi::Args, $($place).+) },
        >::of($ctx)
    };
}
#[cfg(not(feature = "legacy"))]
pub(crate) use typed;

/// What has fields that can be read, whichever way.
pub(crate) trait Fields: Copy {
    /// See [`field!`]; `FIELD`: where its offset stands in `abi::Offsets`.
    fn field<T: Word, const FIELD: usize>(self, offset: impl FnOnce() -> u16) -> T;

    /// See [`two_fields!`]; `FIRST`, `SECOND`: where their offsets stand in `abi::Offsets`.
    fn two_fields<T: Word, const FIRST: usize, const SECOND: usize>(
        self,
        offsets: impl FnOnce() -> (u16, u16),
    ) -> (T, T);

    /// The value at `offset`.
    fn read<T: Word>(self, offset: u16) -> T;

    /// The values at two offsets that stand close together.
    fn read_two<T: Word>(self, first: u16, second: u16) -> (T, T);

    /// The value at `offset`, or zero where the kernel has no such field.
    #[inline(always)]
    fn read_if_there<T: Word>(self, offset: u16) -> T {
        if offset == ABSENT {
            return T::default();
        }
        self.read(offset)
    }

    /// The value of a pointer field, or null where the kernel has no such field.
    fn follow_if_there(self, offset: u16) -> KernelPtr;

    /// As [`Fields::read_two`], with zeros for what the kernel does not have.
    #[inline(always)]
    fn read_two_if_there<T: Word>(self, first: u16, second: u16) -> (T, T) {
        if first == ABSENT || second == ABSENT {
            return (self.read_if_there(first), self.read_if_there(second));
        }
        self.read_two(first, second)
    }
}

impl Fields for KernelPtr {
    #[inline(always)]
    fn field<T: Word, const FIELD: usize>(self, offset: impl FnOnce() -> u16) -> T {
        self.read(offset())
    }

    #[inline(always)]
    fn two_fields<T: Word, const FIRST: usize, const SECOND: usize>(
        self,
        offsets: impl FnOnce() -> (u16, u16),
    ) -> (T, T) {
        let (first, second) = offsets();
        self.read_two(first, second)
    }

    #[inline(always)]
    fn read<T: Word>(self, offset: u16) -> T {
        Self::read(self, offset)
    }

    #[inline(always)]
    fn follow_if_there(self, offset: u16) -> KernelPtr {
        Self::follow_if_there(self, offset)
    }

    /// By one read where the second stands right behind the first.
    #[inline(always)]
    fn read_two<T: Word>(self, first: u16, second: u16) -> (T, T) {
        if second == first + size_of::<T>() as u16 {
            let [first, second] = Self::read::<[T; 2]>(self, first);
            (first, second)
        } else {
            (Self::read(self, first), Self::read(self, second))
        }
    }
}

/// An argument, or the result, of a function traced by fentry or fexit. The verifier knows its
/// type, and takes loads of its fields, whose place and size it holds against that type (5.5,
/// `btf_struct_access`, kernel/bpf/btf.c); what cannot be read is zero. A helper costs a hundred
/// instructions.
///
/// `AT`: where its place stands in `abi::Args`.
#[cfg(not(feature = "legacy"))]
#[derive(Clone, Copy)]
pub(crate) struct Typed<const AT: usize>(*const u8);

#[cfg(not(feature = "legacy"))]
impl<const AT: usize> Typed<AT> {
    #[inline(always)]
    pub(crate) fn of<C: EbpfContext>(ctx: &C) -> Self {
        Self(ctx.as_ptr().cast())
    }
}

#[cfg(not(feature = "legacy"))]
impl<const AT: usize> Fields for Typed<AT> {
    #[inline(always)]
    fn field<T: Word, const FIELD: usize>(self, _: impl FnOnce() -> u16) -> T {
        T::field_of::<AT, FIELD>(self.0)
    }

    #[inline(always)]
    fn two_fields<T: Word, const FIRST: usize, const SECOND: usize>(
        self,
        _: impl FnOnce() -> (u16, u16),
    ) -> (T, T) {
        (
            T::field_of::<AT, FIRST>(self.0),
            T::field_of::<AT, SECOND>(self.0),
        )
    }

    #[inline(always)]
    fn read<T: Word>(self, offset: u16) -> T {
        T::at::<AT>(self.0, offset)
    }

    #[inline(always)]
    fn read_two<T: Word>(self, first: u16, second: u16) -> (T, T) {
        (self.read(first), self.read(second))
    }

    #[inline(always)]
    fn follow_if_there(self, offset: u16) -> KernelPtr {
        if offset == ABSENT {
            return KernelPtr(0);
        }
        KernelPtr(pointer_of::<AT>(self.0, offset))
    }
}

/// The pointer at `offset` of what the argument points to, as a number (see [`context_word`]).
#[cfg(all(target_arch = "bpf", not(feature = "legacy")))]
#[inline(always)]
fn pointer_of<const AT: usize>(ctx: *const u8, offset: u16) -> u64 {
    let value: u64;
    // SAFETY: reads the context and a field, which the verifier checks.
    unsafe {
        core::arch::asm!(
            "{value} = *(u64 *)({ctx} + {mark})",
            "{value} += {offset}",
            "{value} = *(u64 *)({value} + 0)",
            "{value} = -{value}",
            "{value} = -{value}",
            value = out(reg) value,
            ctx = in(reg) ctx,
            offset = in(reg) u64::from(offset),
            mark = const sockpick_ebpf::abi::MARK as usize + AT,
            options(readonly, nostack),
        );
    }
    value
}

#[cfg(all(not(target_arch = "bpf"), not(feature = "legacy")))]
fn pointer_of<const AT: usize>(_: *const u8, _: u16) -> u64 {
    unreachable!("the programs run in the kernel only")
}

/// An integer that one load takes.
pub(crate) trait Word: Copy + Default {
    /// A field of what the argument points to, whose offset user space writes into the instruction
    /// (`abi::FIELD_MARK`); it stands at `FIELD` in `abi::Offsets`.
    #[cfg(not(feature = "legacy"))]
    fn field_of<const AT: usize, const FIELD: usize>(ctx: *const u8) -> Self;

    /// The one at `offset` of what the argument points to.
    #[cfg(not(feature = "legacy"))]
    fn at<const AT: usize>(ctx: *const u8, offset: u16) -> Self;
}

macro_rules! word {
    ($type:ident) => {
        impl Word for $type {
            #[cfg(all(target_arch = "bpf", not(feature = "legacy")))]
            #[inline(always)]
            fn field_of<const AT: usize, const FIELD: usize>(ctx: *const u8) -> Self {
                let value: u64;
                // SAFETY: reads the context and a field, which the verifier checks.
                unsafe {
                    core::arch::asm!(
                        "{value} = *(u64 *)({ctx} + {mark})",
                        concat!("{value} = *(", stringify!($type), " *)({value} + {field})"),
                        value = out(reg) value,
                        ctx = in(reg) ctx,
                        mark = const sockpick_ebpf::abi::MARK as usize + AT,
                        field = const sockpick_ebpf::abi::FIELD_MARK as usize + FIELD,
                        options(readonly, nostack),
                    );
                }
                // So that it is not cut off once more.
                // SAFETY: a load clears the rest of its register.
                unsafe { core::hint::assert_unchecked(value <= u64::from(Self::MAX)) };
                value as Self
            }

            #[cfg(all(not(target_arch = "bpf"), not(feature = "legacy")))]
            fn field_of<const AT: usize, const FIELD: usize>(_: *const u8) -> Self {
                unreachable!("the programs run in the kernel only")
            }

            #[cfg(all(target_arch = "bpf", not(feature = "legacy")))]
            #[inline(always)]
            fn at<const AT: usize>(ctx: *const u8, offset: u16) -> Self {
                let value: u64;
                // In one go, as the compiler would calculate with the pointer as it likes.
                // SAFETY: reads the context and a field, which the verifier checks.
                unsafe {
                    core::arch::asm!(
                        "{value} = *(u64 *)({ctx} + {mark})",
                        "{value} += {offset}",
                        concat!("{value} = *(", stringify!($type), " *)({value} + 0)"),
                        value = out(reg) value,
                        ctx = in(reg) ctx,
                        offset = in(reg) u64::from(offset),
                        mark = const sockpick_ebpf::abi::MARK as usize + AT,
                        options(readonly, nostack),
                    );
                }
                value as Self
            }

            #[cfg(all(not(target_arch = "bpf"), not(feature = "legacy")))]
            fn at<const AT: usize>(_: *const u8, _: u16) -> Self {
                unreachable!("the programs run in the kernel only")
            }
        }
    };
}

word!(u16);
word!(u32);
word!(u64);

/// An argument at a place that is only known while the program runs.
#[cfg(feature = "legacy")]
#[inline(always)]
pub(crate) fn arg_at<C: EbpfContext>(ctx: &C, place: ArgLoc) -> u64 {
    if place.0 & ArgLoc::STACK == 0 {
        return any_word(ctx, place.0);
    }
    let stack = KernelPtr(any_word(ctx, config!(regs_sp)));
    stack.at(u64::from(place.0 & !ArgLoc::STACK)).load()
}

#[cfg(feature = "legacy")]
#[inline(always)]
fn any_word<C: EbpfContext>(ctx: &C, offset: u16) -> u64 {
    let mut value = 0_u64;
    // SAFETY: pointer arithmetic stays inside the context (at most 512 bytes, a
    // bound the verifier wants to see); the helper checks the read itself.
    let source = unsafe { ctx.as_ptr().cast::<u8>().add(usize::from(offset & 0x1ff)) };
    // SAFETY: `value` is eight writable bytes.
    unsafe { probe_read((&raw mut value).cast(), 8, source.cast()) };
    value
}
