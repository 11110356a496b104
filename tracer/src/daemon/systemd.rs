//! What a service manager is told, and how often it wants to hear that all is well. Without one
//! nothing happens.

use std::time::{Duration, Instant};

use log::warn;
use sd_notify::NotifyState;

use crate::clock::{Timer, monotonic_ns};

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
    /// It acts when it hears nothing for so long.
    patience: Option<Duration>,
    told: Option<Instant>,
    timer: Timer,
}

impl Watchdog {
    /// As the environment has it.
    pub(super) fn new() -> Self {
        Self {
            patience: sd_notify::watchdog_enabled(),
            told: None,
            timer: Timer::new(),
        }
    }

    /// Waits until [`Watchdog::alive`] has to be called, if nothing else called it until then: the
    /// self-check does, at the intervals as they are packaged, so that this wakes nobody.
    /// Cancelling it loses nothing.
    pub(super) async fn due(&self) {
        let Some(patience) = self.patience else {
            return std::future::pending().await;
        };
        let told = self.told.map_or(Duration::MAX, |told| told.elapsed());
        self.timer
            .sleep((patience * 2 / 3).saturating_sub(told))
            .await;
    }

    /// A token came through source, pipeline and alerts. Told no oftener than is worth it.
    pub(super) fn alive(&mut self) {
        let Some(patience) = self.patience else {
            return;
        };
        if self.told.is_none_or(|told| told.elapsed() >= patience / 4) {
            self.told = Some(Instant::now());
            tell(&[NotifyState::Watchdog]);
        }
    }
}
