//! Configuration and control in array maps, for kernels without globals (before 5.2). The kernel
//! inlines the look-up of an array (81ed18ab3098, 4.12), so a field costs few instructions.

use aya_ebpf::{macros::map, maps::Array};
use sockpick_ebpf::abi::{Config, Control};

/// Filled by user space before anything is attached.
#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
/// Written by user space at any time.
#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// The configuration.
#[inline(always)]
pub(crate) fn get() -> &'static Config {
    only(&CONFIG)
}

/// What user space changes.
#[inline(always)]
pub(crate) fn changing() -> &'static Control {
    only(&CONTROL)
}

/// The one entry.
#[inline(always)]
fn only<T>(map: &'static Array<T>) -> &'static T {
    match map.get(0) {
        Some(value) => value,
        None => end(),
    }
}

/// Ends the program at once. An array has all its entries, which the verifier does not know:
/// a branch that went on would have it follow every path twice.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn end() -> ! {
    // SAFETY: leaves the program with its result in place; everything is inlined, so there
    // is no caller to return to.
    unsafe { core::arch::asm!("r0 = 0", "exit", options(noreturn)) }
}

#[cfg(not(target_arch = "bpf"))]
fn end() -> ! {
    unreachable!("the programs run in the kernel only")
}

/// Reads one field of the configuration.
macro_rules! config {
    ($($field:ident).+) => {
        $crate::fields::place::get().$($field).+
    };
}
pub(crate) use config;

/// Reads one field of what user space changes.
macro_rules! control {
    ($field:ident) => {
        $crate::fields::place::changing().$field
    };
}
pub(crate) use control;
