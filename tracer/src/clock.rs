//! The kernel's clocks, and a timer of the kernel's.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    time::Duration,
};

use nix::{
    sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    time::{ClockId, clock_gettime},
};
use tokio::io::{Interest, unix::AsyncFd};

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

/// Wakes once for each wait. tokio's own timers wake up to three times more on the way to a time,
/// as they go from a coarse wheel to a finer one: too often for what goes on for weeks on a host
/// where nothing happens.
pub(crate) struct Timer(Option<AsyncFd<Descriptor>>);

impl Timer {
    /// Must be called inside a tokio runtime. Where the kernel has no descriptor left, tokio's
    /// timers do.
    pub(crate) fn new() -> Self {
        let monotonic = timerfd::ClockId::CLOCK_MONOTONIC;
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let made = TimerFd::new(monotonic, flags).ok().map(Descriptor);
        Self(made.and_then(|descriptor| {
            // SAFETY: an owned descriptor, which stays the same while it is registered.
            unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.ok()
        }))
    }

    /// Waits so long. Cancelling it loses nothing, and then nothing wakes up for it.
    pub(crate) async fn sleep(&self, time: Duration) {
        let Some(descriptor) = &self.0 else {
            return tokio::time::sleep(time).await;
        };
        // Nothing at all would be no time to wake at.
        let time = Expiration::OneShot(time.max(Duration::from_nanos(1)).into());
        let fd = &descriptor.get_ref().0;
        // Neither fails for a descriptor and a time like these.
        let _ = fd.set(time, TimerSetTimeFlags::empty());
        let mut running = Running(Some(fd));
        let expired = |timer: &Descriptor| timer.0.wait().map_err(io::Error::from);
        let _ = descriptor.async_io(Interest::READABLE, expired).await;
        running.0 = None;
    }
}

/// Nobody waits any more for a timer that is running: it is stopped.
struct Running<'a>(Option<&'a TimerFd>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.0 {
            // It does not fail for a timer.
            let _ = timer.unset();
        }
    }
}

struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_timer_waits_each_time_and_is_stopped_when_nobody_waits() {
        let timer = Timer::new();
        for _ in 0..3 {
            let began = monotonic_ns();
            timer.sleep(SHORT).await;
            let waited = Duration::from_nanos(monotonic_ns() - began);
            assert!(waited >= SHORT, "{waited:?}");
        }
        timer.sleep(Duration::ZERO).await;
        let cancelled = tokio::time::timeout(SHORT, timer.sleep(Duration::from_hours(1)));
        assert!(cancelled.await.is_err());
        let fd = &timer.0.as_ref().expect("a descriptor").get_ref().0;
        assert!(fd.get().expect("a timer").is_none());
        // One that expired while nobody looked is not taken for the next.
        let once = Expiration::OneShot(SHORT.into());
        fd.set(once, TimerSetTimeFlags::empty()).expect("a timer");
        std::thread::sleep(2 * SHORT);
        let began = monotonic_ns();
        timer.sleep(SHORT).await;
        assert!(Duration::from_nanos(monotonic_ns() - began) >= SHORT);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_descriptor_it_waits_all_the_same() {
        let began = tokio::time::Instant::now();
        Timer(None).sleep(SHORT).await;
        assert!(began.elapsed() >= SHORT);
    }
}
