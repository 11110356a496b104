//! Brings notices of alerts, and events, to others: each sink with a queue, a pace and failures
//! of its own. None can delay another, nor whoever gives out the messages.
//!
//! All of it runs on a thread of its own; [`Delivery::send`] adds to queues and goes on.
//! `docs/alerts.md` says what each sink is told, and what is lost when.
#![forbid(unsafe_code)]

mod alertmanager;
mod attempt;
mod backoff;
mod file;
mod http;
pub mod journald;
mod json;
mod otlp;
mod outbox;
pub mod queue;
mod route;
mod stdout;
mod supervisor;
mod told;
mod webhook;
mod worker;

use std::{
    fmt, io,
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc},
    thread,
    time::Duration,
};

use crate::{failure::Failure, privileges, settings::feed::SinkSettings};

pub use attempt::Sends;
pub use outbox::SinkStats;
pub use queue::{Losses, Message};

use route::{Ready, Route, one_place_each};
use supervisor::{Abandoned, Command, Commands};
use told::Teller;

/// How long a sink that new settings do not name any more has to send what waits for it.
const GRACE: Duration = Duration::from_secs(2);

/// How much later than its deadline the thread may end before it is left alone.
const SLACK: Duration = Duration::from_secs(1);

/// The sinks at work.
pub struct Delivery {
    teller: Teller,
    routes: RwLock<Vec<Route>>,
    commands: Commands,
    abandoned: Abandoned,
    ended: Mutex<mpsc::Receiver<()>>,
}

/// Messages that a sink did not get rid of in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The sink.
    pub name: String,
    /// How many.
    pub messages: u64,
    /// What was wrong with its last attempt.
    pub last_error: Option<String>,
}

impl Delivery {
    /// Starts the thread and the sinks. Nobody is asked yet: a server that is down is no error.
    ///
    /// # Errors
    /// If a URL is none (a usage error), or there can be no thread.
    pub fn start(sinks: &[SinkSettings]) -> Result<Self, Failure> {
        Self::start_as(Teller::here(), sinks)
    }

    fn start_as(teller: Teller, sinks: &[SinkSettings]) -> Result<Self, Failure> {
        let no_thread = |error: io::Error| {
            Failure::runtime(format!(
                "cannot start the thread that sends alerts: {error}"
            ))
        };
        let (routes, ready) = routes(&teller, &[], sinks)?;
        let runtime = supervisor::runtime().map_err(no_thread)?;
        let (commands, orders) = supervisor::commands();
        let abandoned = Abandoned::default();
        let (ends, ended) = mpsc::channel();
        let counted = abandoned.clone();
        thread::Builder::new()
            .name("delivery".to_owned())
            .spawn(move || {
                if let Err(why) = privileges::give_up() {
                    log::warn!("who sends alerts keeps privileges that it does not need: {why:#}");
                }
                runtime.block_on(supervisor::supervise(orders, counted));
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
            abandoned,
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

    /// Whether any sink takes events: if not, none has to be written as a line.
    #[must_use]
    pub fn takes_lines(&self) -> bool {
        self.routes().iter().any(Route::takes_lines)
    }

    /// What each sink has done, and what waits for it.
    #[must_use]
    pub fn stats(&self) -> Vec<SinkStats> {
        let routes = self.routes();
        routes.iter().map(|route| route.outbox.stats()).collect()
    }

    /// Messages that sinks had which were removed, and that could not be sent within two seconds.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.abandoned.sum()
    }

    /// Goes on with other settings. A sink whose settings are the same keeps its queue; one that
    /// is not named any more has two seconds for what waits. Does not wait for it.
    ///
    /// # Errors
    /// If a URL is none; then nothing is changed.
    pub fn replace(&self, sinks: &[SinkSettings]) -> Result<(), Failure> {
        let mut present = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let (routes, added) = routes(&self.teller, &present, sinks)?;
        let is_kept = |old: &Route| routes.iter().any(|new| new.settings == old.settings);
        let removed = present.iter().filter(|old| !is_kept(old));
        let removed = removed.map(|old| old.outbox.clone()).collect();
        *present = routes;
        if !self.commands.give(Command::Replace { removed, added }) {
            log::error!("the thread that sends alerts has ended; restart sockpick");
        }
        Ok(())
    }

    /// Has every sink send what waits, within the deadline, and ends. Gives what was left. What
    /// is sent to them later is dropped, and counted.
    #[must_use]
    pub fn stop(&self, deadline: Duration) -> Vec<Left> {
        let outboxes: Vec<_> = self
            .routes()
            .iter()
            .map(|route| route.outbox.clone())
            .collect();
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
            Left {
                name: outbox.name().to_owned(),
                messages: outbox.left(),
                last_error: outbox.stats().last_error,
            }
        });
        left.filter(|left| left.messages > 0).collect()
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
    present: &[Route],
    sinks: &[SinkSettings],
) -> Result<(Vec<Route>, Vec<supervisor::Added>), Failure> {
    let mut routes = Vec::new();
    let mut added = Vec::new();
    for settings in one_place_each(sinks).map_err(Failure::usage)? {
        if let Some(same) = present.iter().find(|route| route.settings == settings) {
            routes.push(same.clone());
            continue;
        }
        let ready = Ready::new(&settings, teller).map_err(Failure::usage)?;
        let route = Route::new(settings);
        added.push((route.outbox.clone(), ready));
        routes.push(route);
    }
    Ok((routes, added))
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
