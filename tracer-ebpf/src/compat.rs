//! What old verifiers do not take, in a form that they do.

/// `each!(member of members => block)`: a loop over the members searched of a group, which the
/// verifier allows from 5.3 on; written out for those before.
#[cfg(not(feature = "legacy"))]
macro_rules! each {
    ($member:ident of $members:expr => $body:block) => {
        for &$member in $members.iter() $body
    };
}

#[cfg(feature = "legacy")]
macro_rules! each {
    ($member:ident of $members:expr => $body:block) => {
        const { assert!(sockpick_ebpf::abi::MAX_MEMBERS_SEARCHED == 64) };
        $crate::compat::each!(@rows $member, $members, 0, 8, 16, 24, 32, 40, 48, 56 => $body);
    };
    (@rows $member:ident, $members:expr, $($from:literal),* => $body:block) => {$(
        $crate::compat::each!(@row $member, $members, $from, 0, 1, 2, 3, 4, 5, 6, 7 => $body);
    )*};
    (@row $member:ident, $members:expr, $from:literal, $a:literal, $b:literal, $c:literal,
     $d:literal, $e:literal, $f:literal, $g:literal, $h:literal => $body:block) => {
        { let $member = $members[$from + $a]; $body }
        { let $member = $members[$from + $b]; $body }
        { let $member = $members[$from + $c]; $body }
        { let $member = $members[$from + $d]; $body }
        { let $member = $members[$from + $e]; $body }
        { let $member = $members[$from + $f]; $body }
        { let $member = $members[$from + $g]; $body }
        { let $member = $members[$from + $h]; $body }
    };
}
pub(crate) use each;

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
