//! Keeps alerts in a file, so that they outlive a restart: not more often than need be, and
//! without anybody waiting for the disk.

use std::{io, path::PathBuf, time::Duration};

use log::{info, warn};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout},
};

use super::memory;
use crate::alerts::{Alerts, state::State};

/// It is written at most this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// And so long after it could not be.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// It waits for spools so long, and looks so often whether they have all.
const HELD: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);
/// How long the end waits for it.
const LAST: Duration = Duration::from_secs(3);

/// Writes the file when alerts changed.
pub(super) struct Keeper {
    path: Option<PathBuf>,
    /// What was written last, by [`Alerts::generation`].
    written: Option<u64>,
    /// There is something newer to be written.
    waits: bool,
    /// Not before then.
    not_before: Instant,
    /// Since when it waits for spools.
    held_since: Option<Instant>,
    under_way: Option<JoinHandle<io::Result<()>>>,
    failed: bool,
}

impl Keeper {
    /// In this file, or in none.
    #[must_use]
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            written: None,
            waits: false,
            not_before: Instant::now(),
            held_since: None,
            under_way: None,
            failed: false,
        }
    }

    /// From now on in another file.
    pub(super) fn move_to(&mut self, path: Option<PathBuf>) {
        if self.path != path {
            self.path = path;
            self.written = None;
            self.not_before = Instant::now();
        }
    }

    /// What another run left. A file that cannot be read, or makes no sense, is told of and as if
    /// it was not there.
    #[must_use]
    pub(super) fn restored(&self) -> Option<State> {
        let path = self.path.as_deref()?;
        let shown = path.display();
        let text = match memory::read(path) {
            Ok(text) => text?,
            Err(error) => {
                warn!("cannot read the alerts of the last run in {shown}: {error}");
                return None;
            }
        };
        match State::from_text(&text) {
            Ok(state) => {
                info!("{} alerts of the last run in {shown}", state.len());
                Some(state)
            }
            Err(error) => {
                warn!("the alerts of the last run in {shown} are lost: {error}");
                None
            }
        }
    }

    /// Begins to write, if anything changed and nothing stands against it. An alert of which it is
    /// written that somebody was told has to be in the spools first (`are_spooled`): if the process
    /// is killed in between, nobody would ever be told.
    pub(super) fn keep(&mut self, alerts: &Alerts, are_spooled: impl FnOnce() -> bool) {
        let Some(path) = &self.path else { return };
        let generation = alerts.generation();
        self.waits = self.written != Some(generation);
        let now = Instant::now();
        if !self.waits || self.under_way.is_some() || now < self.not_before {
            return;
        }
        let held_since = *self.held_since.get_or_insert(now);
        if now < held_since + HELD && !are_spooled() {
            self.not_before = now + LOOK;
            return;
        }
        self.held_since = None;
        let (path, state) = (path.clone(), alerts.save());
        self.written = Some(generation);
        self.waits = false;
        self.under_way = Some(spawn_blocking(move || {
            memory::write(&path, &state.to_text())
        }));
    }

    /// Waits until [`Keeper::keep`] is worth being called again. Cancelling it loses nothing.
    pub(super) async fn turn(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            let written = under_way.await.unwrap_or_else(|error| Err(error.into()));
            self.under_way = None;
            self.ended(&written);
        } else if self.waits {
            sleep_until(self.not_before).await;
            // Until it is looked at again.
            self.waits = false;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Writes what is to outlive the end, and waits for it, but not for a disk that hangs: others
    /// have something to say before the end, too.
    pub(super) async fn last(&mut self, alerts: &Alerts) {
        let Some(path) = self.path.clone() else {
            return;
        };
        // Also if only counts changed.
        let state = alerts.save();
        let written = timeout(LAST, async {
            while self.under_way.is_some() {
                self.turn().await;
            }
            let write = spawn_blocking(move || memory::write(&path, &state.to_text()));
            write.await.unwrap_or_else(|error| Err(error.into()))
        });
        let hangs = || Err(io::Error::other("the disk did not answer"));
        let written = written.await.unwrap_or_else(|_| hangs());
        self.ended(&written);
    }

    /// Says so when it begins to fail, and when that is over.
    fn ended(&mut self, written: &io::Result<()>) {
        let shown = self.path.as_deref().unwrap_or("".as_ref()).display();
        match written {
            Ok(()) if self.failed => info!("alerts are kept in {shown} again"),
            Err(error) if !self.failed => warn!(
                "alerts cannot be kept in {shown}: {error}; after a restart they would be told \
                 anew"
            ),
            _ => {}
        }
        self.failed = written.is_err();
        let pause = if self.failed { AFTER_FAILURE } else { INTERVAL };
        self.not_before = Instant::now() + pause;
        if self.failed {
            self.written = None;
            self.waits = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::AlertSettings;

    /// Where nothing can be written it is tried every ten seconds, however often it is turned to.
    #[tokio::test(start_paused = true)]
    async fn a_failing_disk_is_left_alone_for_a_while() {
        let alerts = Alerts::new(&AlertSettings::default());
        let mut keeper = Keeper::new(Some("/proc/nowhere/alerts.json".into()));
        keeper.keep(&alerts, || true);
        assert!(keeper.under_way.is_some());
        keeper.turn().await;
        assert!(keeper.failed && keeper.under_way.is_none());
        let failed = Instant::now();
        keeper.keep(&alerts, || true);
        assert!(keeper.under_way.is_none(), "not at once");
        keeper.turn().await;
        keeper.keep(&alerts, || true);
        assert!(keeper.under_way.is_some(), "but then");
        assert!(failed.elapsed() >= AFTER_FAILURE);
    }

    #[tokio::test(start_paused = true)]
    async fn spools_are_waited_for_but_not_for_ever() {
        let alerts = Alerts::new(&AlertSettings::default());
        let mut keeper = Keeper::new(Some("/proc/nowhere/alerts.json".into()));
        let began = Instant::now();
        keeper.keep(&alerts, || false);
        assert!(keeper.under_way.is_none());
        while keeper.under_way.is_none() {
            keeper.turn().await;
            keeper.keep(&alerts, || false);
        }
        assert!(began.elapsed() >= HELD);

        let mut keeper = Keeper::new(Some("/proc/nowhere/alerts.json".into()));
        keeper.keep(&alerts, || false);
        keeper.turn().await;
        keeper.keep(&alerts, || true);
        assert!(keeper.under_way.is_some(), "as soon as they have all");
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_not_change_is_not_written_again() {
        let path = std::env::temp_dir().join(format!("sockpick-keeper-{}", std::process::id()));
        let alerts = Alerts::new(&AlertSettings::default());
        let mut keeper = Keeper::new(Some(path.clone()));
        keeper.keep(&alerts, || true);
        keeper.turn().await;
        assert!(!keeper.failed);
        keeper.keep(&alerts, || true);
        assert!(keeper.under_way.is_none());
        assert_eq!(keeper.restored().map(|state| state.len()), Some(0));
        std::fs::remove_file(path).expect("it was written");
    }
}
