//! Keeps alerts in a file, so that they outlive a restart: not more often than need be, and
//! without anybody waiting for the disk.

use std::{io, path::PathBuf, time::Duration};

use log::{info, warn};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

use super::memory;
use crate::alerts::{Alerts, state::State};

/// It is written at most this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes the file when alerts changed.
pub(super) struct Keeper {
    path: Option<PathBuf>,
    /// What was written last, by [`Alerts::generation`].
    written: Option<u64>,
    /// There is something newer to be written at that time.
    due: Option<Instant>,
    last: Option<Instant>,
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
            due: None,
            last: None,
            under_way: None,
            failed: false,
        }
    }

    /// From now on in another file.
    pub(super) fn move_to(&mut self, path: Option<PathBuf>) {
        if self.path != path {
            self.path = path;
            self.written = None;
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

    /// Begins to write, if anything changed and nothing stands against it.
    pub(super) fn keep(&mut self, alerts: &Alerts) {
        let Some(path) = &self.path else { return };
        let generation = alerts.generation();
        if self.written == Some(generation) || self.under_way.is_some() {
            return;
        }
        let due = self.last.map(|last| last + INTERVAL);
        if due.is_some_and(|due| due > Instant::now()) {
            self.due = due;
            return;
        }
        let (path, text) = (path.clone(), alerts.save().to_text());
        self.written = Some(generation);
        self.last = Some(Instant::now());
        self.due = None;
        self.under_way = Some(spawn_blocking(move || memory::write(&path, &text)));
    }

    /// Waits until [`Keeper::keep`] is worth being called again. Cancelling it loses nothing.
    pub(super) async fn turn(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            let written = under_way.await.unwrap_or_else(|error| Err(error.into()));
            self.under_way = None;
            self.ended(&written);
        } else if let Some(due) = self.due {
            sleep_until(due).await;
            self.due = None;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Writes what is to outlive the end, and waits for it.
    pub(super) async fn last(&mut self, alerts: &Alerts) {
        while self.under_way.is_some() {
            self.turn().await;
        }
        // Also if only counts changed.
        if let Some(path) = &self.path {
            let written = memory::write(path, &alerts.save().to_text());
            self.ended(&written);
        }
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
        if self.failed {
            // Once more, in a while.
            self.written = None;
            self.due = Some(Instant::now() + 10 * INTERVAL);
        }
    }
}
