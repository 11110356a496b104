//! What a service manager is told, and how often it wants to hear that all is well.

use std::time::Duration;

use log::warn;
use sd_notify::NotifyState;

use crate::host::clock::monotonic_ns;

/// Tells systemd, if it started this process; else nothing happens.
pub(super) struct Manager {
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment has it.
    #[must_use]
    pub(super) fn new() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
        }
    }

    /// How often [`Manager::alive`] is to be called: twice as often as it has to be.
    #[must_use]
    pub(super) fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|longest| longest / 2)
    }

    /// It watches.
    pub(super) fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// What is going on, in a line.
    pub(super) fn status(&self, status: &str) {
        tell(&[NotifyState::Status(status)]);
    }

    /// A reload begins; [`Manager::ready`] ends it, however it went.
    pub(super) fn reloading(&self) {
        let now_us = i128::from(monotonic_ns() / 1000);
        tell(&[NotifyState::Reloading, NotifyState::MonotonicUsec(now_us)]);
    }

    /// A token came through source, pipeline and alerts.
    pub(super) fn alive(&self) {
        if self.watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// It ends.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("systemd cannot be told: {error}");
    }
}
