//! Arguments of the traced function, at places that user space knows.

use aya_ebpf::EbpfContext;
#[cfg(feature = "legacy")]
use aya_ebpf::helpers::generated::bpf_probe_read;
use sockpick_ebpf::abi::ArgLoc;

use super::KernelPtr;
#[cfg(feature = "legacy")]
use super::config;

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

/// An argument as a number, whatever it is.
#[inline(always)]
fn context_word<const AT: usize>(ctx: *const u8) -> u64 {
    untyped(context_number::<AT>(ctx))
}

/// The word of the context at the place's offset, which user space writes into the instruction
/// itself before the programs are loaded (`abi::MARK`): the verifier takes none but a constant
/// there, and a read through a helper costs a hundred instructions.
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

/// Negated twice, which has the verifier forget that it is a typed pointer: nothing is
/// dereferenced, and it would not allow the arithmetic.
#[inline(always)]
pub(super) fn untyped(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    let value = {
        let mut value = value;
        // SAFETY: two negations of a register.
        unsafe {
            core::arch::asm!(
                "{value} = -{value}",
                "{value} = -{value}",
                value = inout(reg) value,
                options(pure, nomem, nostack),
            );
        }
        value
    };
    value
}

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
    unsafe { bpf_probe_read((&raw mut value).cast(), 8, source.cast()) };
    value
}
