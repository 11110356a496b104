//! The kernel's clocks.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of a clock tick in /proc: `USER_HZ` is 100 on every architecture that Linux has
/// BPF trampolines or kprobes for.
pub(crate) const TICK_NS: u64 = 10_000_000;

/// `CLOCK_MONOTONIC` now, in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC).unsigned_abs()
}

/// `CLOCK_BOOTTIME` now, in nanoseconds.
pub(crate) fn boottime_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_BOOTTIME).unsigned_abs()
}

/// Time since boot in clock ticks, as `starttime` in `/proc/PID/stat` is.
pub(crate) fn boot_ticks() -> u64 {
    boottime_ns() / TICK_NS
}

/// Wall-clock time, in nanoseconds since 1970.
pub(crate) fn realtime_ns() -> i64 {
    nanoseconds(ClockId::CLOCK_REALTIME)
}

/// Wall-clock time minus `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn wall_offset_ns() -> i64 {
    nanoseconds(ClockId::CLOCK_REALTIME).saturating_sub(nanoseconds(ClockId::CLOCK_MONOTONIC))
}

fn nanoseconds(clock: ClockId) -> i64 {
    clock_gettime(clock)
        .map(Duration::from)
        .map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
