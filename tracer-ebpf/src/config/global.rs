//! Configuration and control as globals: the former a constant to the verifier from 5.2 on.

use core::mem::MaybeUninit;

use sockpick_ebpf::abi::{Config, Control};

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

/// Written by user space at any time. In a section of its own, so that the map that it lies in has
/// no other value. Never read directly, but through [`control!`].
#[unsafe(no_mangle)]
// SAFETY: the section has data, and this is data; the linker takes any name for it.
#[unsafe(link_section = ".data.control")]
pub(crate) static mut CONTROL: Control = Control {
    only_netns: 0,
    walk_known: 0,
    also_netns: 0,
    level: 0,
};

/// Reads one field of [`CONTROL`].
macro_rules! control {
    ($field:ident) => {
        // SAFETY: a valid, aligned static, which the programs only read; volatile because it
        // changes.
        unsafe { core::ptr::read_volatile(&raw const $crate::fields::place::CONTROL.$field) }
    };
}
pub(crate) use control;
