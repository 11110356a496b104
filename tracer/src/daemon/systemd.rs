//! What a service manager is told, and how often it wants to hear that all is well. Without one
//! nothing happens.

use std::time::{Duration, Instant};

use log::warn;
use sd_notify::NotifyState;

use crate::clock::monotonic_ns;

/// It watches; or a reload ended, however it went.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What is going on, in a line: what `systemctl status` shows.
#[derive(Default)]
pub(super) struct Status {
    shown: String,
}

impl Status {
    /// Told only where it changed.
    pub(super) fn show(&mut self, status: String) {
        if status != self.shown {
            tell(&[NotifyState::Status(&status)]);
            self.shown = status;
        }
    }
}

/// A reload begins; [`ready`] ends it.
pub(super) fn reloading() {
    let now_us = i128::from(monotonic_ns() / 1000);
    tell(&[NotifyState::Reloading, NotifyState::MonotonicUsec(now_us)]);
}

/// It ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("systemd cannot be told: {error}");
    }
}

/// Whoever restarts this process if it does not hear from it.
pub(super) struct Watchdog {
    /// How often it is told, with time to spare.
    interval: Option<Duration>,
    told: Option<Instant>,
}

impl Watchdog {
    /// As the environment has it.
    pub(super) fn new() -> Self {
        Self {
            interval: sd_notify::watchdog_enabled().map(|longest| longest / 4),
            told: None,
        }
    }

    /// How often [`Watchdog::alive`] is to be called.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// A token came through source, pipeline and alerts. Told no oftener than it is wanted.
    pub(super) fn alive(&mut self) {
        let Some(interval) = self.interval else {
            return;
        };
        // A timer may be a little early.
        let due = |told: Instant| told.elapsed() >= interval * 7 / 8;
        if self.told.is_none_or(due) {
            self.told = Some(Instant::now());
            tell(&[NotifyState::Watchdog]);
        }
    }
}
