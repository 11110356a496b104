//! What the crank waits for, with SYNs or without, and what time it is.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

use crate::{
    alerts::Now,
    clock::{monotonic_ns, wall_offset_ns},
    outlets::feed::now,
};

/// What a process is told from outside.
pub(super) struct Signals {
    pub(super) interrupt: Signal,
    pub(super) terminate: Signal,
    pub(super) hangup: Signal,
}

impl Signals {
    /// From now on these no longer end the process.
    ///
    /// # Errors
    /// If they cannot be caught.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// What time it is.
pub(super) fn time() -> Now {
    now(monotonic_ns(), wall_offset_ns())
}

/// Waits until a time on `CLOCK_MONOTONIC`.
pub(super) async fn until(ktime_ns: Option<u64>) {
    let Some(ktime_ns) = ktime_ns else {
        return std::future::pending().await;
    };
    let left = Duration::from_nanos(ktime_ns.saturating_sub(monotonic_ns()));
    match Instant::now().checked_add(left) {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
