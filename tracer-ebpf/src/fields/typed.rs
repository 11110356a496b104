//! Fields that are loaded: what a function traced by fentry or fexit is given, the verifier knows
//! the type of.

use aya_ebpf::EbpfContext;

use super::{Fields, KernelPtr, Word, arguments::untyped};

/// An argument, or the result, of a function traced by fentry or fexit, whose fields are loaded:
/// `typed!(ctx, request_sk)`.
macro_rules! typed {
    ($ctx:expr, $($place:ident).+) => {
        $crate::fields::Typed::<
            { core::mem::offset_of!(sockpick_ebpf::abi::Args, $($place).+) },
        >::of($ctx)
    };
}
pub(crate) use typed;

/// An argument, or the result, of a function traced by fentry or fexit. The verifier knows its
/// type, and takes loads of its fields, whose place and size it holds against that type (5.5,
/// `btf_struct_access`, kernel/bpf/btf.c); what cannot be read is zero. A helper costs a hundred
/// instructions.
///
/// `AT`: where its place stands in `abi::Args`.
#[derive(Clone, Copy)]
pub(crate) struct Typed<const AT: usize>(*const u8);

impl<const AT: usize> Typed<AT> {
    #[inline(always)]
    pub(crate) fn of<C: EbpfContext>(ctx: &C) -> Self {
        Self(ctx.as_ptr().cast())
    }
}

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
    fn pointer<const FIELD: usize>(self, _: impl FnOnce() -> u16) -> KernelPtr {
        KernelPtr(untyped(u64::field_of::<AT, FIELD>(self.0)))
    }
}

macro_rules! word {
    ($type:ident) => {
        impl Word for $type {
            #[cfg(target_arch = "bpf")]
            #[inline(always)]
            fn field_of<const AT: usize, const FIELD: usize>(ctx: *const u8) -> Self {
                let value: u64;
                // In one go, as the compiler would calculate with the pointer as it likes.
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

            #[cfg(not(target_arch = "bpf"))]
            fn field_of<const AT: usize, const FIELD: usize>(_: *const u8) -> Self {
                unreachable!("the programs run in the kernel only")
            }
        }
    };
}

word!(u16);
word!(u32);
word!(u64);
