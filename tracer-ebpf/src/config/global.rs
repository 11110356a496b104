//! The configuration as a global: a constant to the verifier from 5.2 on.

use core::mem::MaybeUninit;

use sockpick_ebpf::abi::Config;

/// Patched by user space before the object is loaded. Never read directly, but
/// through [`config!`], so that the compiler cannot fold the zeros in.
#[unsafe(no_mangle)]
// SAFETY: `Config` holds integers only, for which zero is a valid value.
pub(crate) static CONFIG: Config = unsafe { MaybeUninit::zeroed().assume_init() };

/// Reads one field of [`CONFIG`].
macro_rules! config {
    ($($field:ident).+) => {
        // SAFETY: a valid, aligned, read-only static; volatile because the loader
        // writes it after compilation.
        unsafe { core::ptr::read_volatile(&raw const $crate::fields::place::CONFIG.$($field).+) }
    };
}
pub(crate) use config;
