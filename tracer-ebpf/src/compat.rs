//! What old verifiers do not take, in a form that they do.

/// `repeat!(i in members => block)`: a loop over the places of a group's members, which the
/// verifier allows from 5.3 on; written out for those before.
#[cfg(not(feature = "legacy"))]
macro_rules! repeat {
    ($index:ident in members => $body:block) => {
        for $index in 0..sockpick_ebpf::abi::MAX_MEMBERS_SEARCHED $body
    };
}

#[cfg(feature = "legacy")]
macro_rules! repeat {
    ($index:ident in members => $body:block) => {
        const { assert!(sockpick_ebpf::abi::MAX_MEMBERS_SEARCHED == 64) };
        $crate::compat::repeat!(@rows $index, 0, 8, 16, 24, 32, 40, 48, 56 => $body);
    };
    (@rows $index:ident, $($from:literal),* => $body:block) => {$(
        $crate::compat::repeat!(@row $index, $from, 0, 1, 2, 3, 4, 5, 6, 7 => $body);
    )*};
    (@row $index:ident, $from:literal, $a:literal, $b:literal, $c:literal, $d:literal,
     $e:literal, $f:literal, $g:literal, $h:literal => $body:block) => {
        { let $index: usize = $from + $a; $body }
        { let $index: usize = $from + $b; $body }
        { let $index: usize = $from + $c; $body }
        { let $index: usize = $from + $d; $body }
        { let $index: usize = $from + $e; $body }
        { let $index: usize = $from + $f; $body }
        { let $index: usize = $from + $g; $body }
        { let $index: usize = $from + $h; $body }
    };
}
pub(crate) use repeat;

/// A line for `--debug-programs`; the log of the programs needs globals and calls, so old
/// kernels have none.
#[cfg(not(feature = "legacy"))]
pub(crate) use aya_log_ebpf::debug;

#[cfg(feature = "legacy")]
macro_rules! debug {
    ($($argument:expr),* $(,)?) => {{ $(let _ = &$argument;)* }};
}
#[cfg(feature = "legacy")]
pub(crate) use debug;
