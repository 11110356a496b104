//! Brings notices of alerts, and events, to others: each sink with a queue, a pace and failures
//! of its own. None can delay another, nor whoever gives out the messages.
//!
//! All of it runs on a thread of its own; [`Delivery::send`] adds to queues and goes on. `push`
//! is apart from that: it brings metrics to a collector, on the thread of who has them.
//! `docs/alerts.md` says what each sink is told, and what is lost when.
#![forbid(unsafe_code)]

mod attempt;
mod backoff;
#[cfg(test)]
mod bad_input;
mod http;
mod json;
mod outbox;
pub(crate) mod push;
pub mod queue;
mod route;
mod sink;
mod spool;
mod supervisor;
mod told;
mod worker;

use std::{
    fmt, io,
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc},
    thread,
    time::Duration,
};

use crate::{failure::Failure, privileges, settings::sink::SinkSettings};

pub use attempt::Sends;
use outbox::Lost;
pub use outbox::SinkStats;
pub use queue::{Losses, Message};

use route::{Ready, Route, one_place_each};
use supervisor::{Command, Commands, Retired};
pub(crate) use told::Teller;

/// How much later than its deadline the thread may end before it is left alone.
const SLACK: Duration = Duration::from_secs(1);

/// The sinks at work.
pub struct Delivery {
    teller: Teller,
    routes: RwLock<Vec<Route>>,
    commands: Commands,
    lost: Lost,
    retired: Retired,
    ended: Mutex<mpsc::Receiver<()>>,
}

/// Messages that a sink did not get rid of in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The sink.
    pub name: String,
    /// How many are lost.
    pub messages: u64,
    /// How many others wait in its spool, to be sent by another run.
    pub kept: u64,
    /// What was wrong with its last attempt.
    pub last_error: Option<String>,
}

impl Delivery {
    /// Starts the thread and the sinks, which are told that they are of `host`; `None`: of its
    /// host name. Nobody is asked yet: a server that is down is no error.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(host: Option<&str>, sinks: &[SinkSettings]) -> Result<Self, Failure> {
        Self::start_as(Teller::here(host), sinks)
    }

    fn start_as(teller: Teller, sinks: &[SinkSettings]) -> Result<Self, Failure> {
        let no_thread = |error: io::Error| {
            Failure::runtime(format!(
                "cannot start the thread that sends alerts: {error}"
            ))
        };
        let lost = Lost::default();
        let (routes, ready) = routes(&teller, &lost, &[], sinks);
        let runtime = supervisor::runtime().map_err(no_thread)?;
        let (commands, orders) = supervisor::commands();
        let retired = Retired::default();
        let told = retired.clone();
        let (ends, ended) = mpsc::channel();
        thread::Builder::new()
            .name("delivery".to_owned())
            .spawn(move || {
                if let Err(why) = privileges::give_up() {
                    log::warn!("who sends alerts keeps privileges that it does not need: {why:#}");
                }
                runtime.block_on(supervisor::supervise(orders, told));
                // A write that hangs is left to its thread.
                runtime.shutdown_background();
                // Nobody waits for it if nobody stops it.
                let _ = ends.send(());
            })
            .map_err(no_thread)?;
        commands.give(Command::Replace {
            removed: Vec::new(),
            added: ready,
        });
        Ok(Self {
            teller,
            routes: RwLock::new(routes),
            commands,
            lost,
            retired,
            ended: Mutex::new(ended),
        })
    }

    fn routes(&self) -> RwLockReadGuard<'_, Vec<Route>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a message to every sink that takes such ones. Never waits for any; where a queue is
    /// full something is thrown away, and counted.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "who sends has no more use for it"
    )]
    pub fn send(&self, message: Message) {
        for route in self.routes().iter() {
            route.push(&message);
        }
    }

    /// What each sink has done, and what waits for it.
    #[must_use]
    pub fn stats(&self) -> Vec<SinkStats> {
        let routes = self.routes();
        routes.iter().map(|route| route.outbox.stats()).collect()
    }

    /// Whether a crash would cost no sink that has a spool a notice that waits for it.
    #[must_use]
    pub fn are_spooled(&self) -> bool {
        let routes = self.routes();
        let mut with_spool = routes.iter().filter(|route| route.settings.spool.is_some());
        with_spool.all(|route| route.outbox.are_kept())
    }

    /// Messages that no receiver will have: thrown away at a bound, refused for good, or left by
    /// a sink that ended or was removed. Only rises.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.sum()
    }

    /// Goes on with other settings. A sink whose settings are the same keeps its queue; one that
    /// is not named any more has two seconds for what waits; its spool keeps the rest. Does not
    /// wait for it.
    pub fn replace(&self, sinks: &[SinkSettings]) {
        let mut present = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let (routes, added) = routes(&self.teller, &self.lost, &present, sinks);
        let is_kept = |old: &Route| routes.iter().any(|new| new.settings == old.settings);
        let removed = present.iter().filter(|old| !is_kept(old));
        let removed: Vec<_> = removed.map(|old| old.outbox.clone()).collect();
        self.retired.add(&removed);
        *present = routes;
        if !self.commands.give(Command::Replace { removed, added }) {
            log::error!("the thread that sends alerts has ended; restart sockpick");
        }
    }

    /// Has every sink send what waits, within the deadline, and ends; one that was removed just
    /// before, within its two seconds. Gives what was left and was not told in the log, what is
    /// kept in spools included. What is sent to them later is dropped, and counted.
    #[must_use]
    pub fn stop(&self, deadline: Duration) -> Vec<Left> {
        let mut outboxes: Vec<_> = {
            let routes = self.routes();
            routes.iter().map(|route| route.outbox.clone()).collect()
        };
        outboxes.append(&mut self.retired.take());
        self.commands.give(Command::Stop {
            outboxes: outboxes.clone(),
            deadline,
        });
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(deadline + SLACK) == Err(mpsc::RecvTimeoutError::Timeout) {
            log::warn!("the thread that sends alerts does not end; it is left alone");
        }
        let left = outboxes.iter().map(|outbox| {
            outbox.end();
            let left = outbox.left();
            Left {
                name: outbox.name().to_owned(),
                messages: left.lost,
                kept: left.kept,
                last_error: outbox.stats().last_error,
            }
        });
        left.filter(|left| left.messages + left.kept > 0).collect()
    }
}

impl fmt::Debug for Delivery {
    // Not the settings: a URL may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stats()).finish()
    }
}

/// Routes for these settings, those of `present` that are the same among them, and the sinks of
/// those that are new.
fn routes(
    teller: &Teller,
    lost: &Lost,
    present: &[Route],
    sinks: &[SinkSettings],
) -> (Vec<Route>, Vec<supervisor::Added>) {
    let mut routes = Vec::new();
    let mut added = Vec::new();
    for settings in one_place_each(sinks) {
        if let Some(same) = present.iter().find(|route| route.settings == settings) {
            routes.push(same.clone());
            continue;
        }
        let Some(ready) = Ready::new(&settings, teller) else {
            continue;
        };
        let route = Route::new(settings, lost.clone());
        added.push((route.outbox.clone(), ready));
        routes.push(route);
    }
    (routes, added)
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
