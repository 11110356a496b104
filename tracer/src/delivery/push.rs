//! Metrics to an OpenTelemetry collector: pushed at an interval. Each push is tried once, as the
//! next has newer numbers, and of cumulative ones nothing is lost.
#![forbid(unsafe_code)]

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use log::Level;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    attempt::{Attempt, Failure, Sends},
    http::Client,
    sink::otlp::post,
};
use crate::{otlp::metrics::ExportMetricsServiceRequest, settings::feed::PushSettings};

const PATH: &str = "/v1/metrics";

/// What is pushed.
pub(crate) trait Source {
    /// The metrics as of now, or why there are none. Is given up after the time of a push.
    fn message(&self) -> impl Future<Output = Result<ExportMetricsServiceRequest, String>> + Send;
}

/// What came of pushes: one account for all that push one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pushes(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    sends: Sends,
    /// The last push failed.
    fails: bool,
}

impl Pushes {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many until now.
    pub(crate) fn until_now(&self) -> Sends {
        self.account().sends
    }
}

/// Pushes to one collector.
pub(crate) struct Pusher {
    client: Client,
    interval: Duration,
    timeout: Duration,
    pushes: Pushes,
}

impl Pusher {
    /// One for this collector. Nothing is asked of it yet.
    pub(crate) fn new(settings: &PushSettings, pushes: Pushes) -> Self {
        Self {
            client: Client::new(&settings.target, Some(PATH)),
            interval: settings.interval,
            timeout: settings.target.timeout,
            pushes,
        }
    }

    /// Pushes now and at each interval. What takes longer than that has the next ones left out.
    pub(crate) async fn run(mut self, source: &impl Source) {
        // That another collector failed says nothing of this one.
        self.pushes.account().fails = false;
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let attempt = match timeout(self.timeout, source.message()).await {
                Ok(Ok(message)) => self.send(&message).await,
                Ok(Err(why)) => Attempt::failed(Failure::new(why)),
                Err(_) => Attempt::failed(Failure::new(late(self.timeout))),
            };
            self.tell(&attempt);
        }
    }

    /// Pushes this, and no more.
    pub(crate) async fn last(mut self, message: &ExportMetricsServiceRequest) {
        let attempt = self.send(message).await;
        self.tell(&attempt);
    }

    async fn send(&mut self, message: &ExportMetricsServiceRequest) -> Attempt {
        post(&mut self.client, message, message.points(), "data points").await
    }

    /// Counts what came of it, and says in the log what is not as before.
    fn tell(&self, attempt: &Attempt) {
        if let Some((level, words)) = self.settle(attempt) {
            log::log!(level, "{words}");
        }
    }

    fn settle(&self, attempt: &Attempt) -> Option<(Level, String)> {
        let mut account = self.pushes.account();
        account.sends.add(attempt.sends);
        let failure = attempt.failure.as_ref().map(|failure| &failure.text);
        let wrong = failure.or(attempt.complaint.as_ref());
        let failed_before = std::mem::replace(&mut account.fails, wrong.is_some());
        match wrong {
            Some(wrong) if !failed_before => {
                Some((Level::Warn, format!("metrics cannot be pushed: {wrong}")))
            }
            None if failed_before => Some((Level::Info, "metrics are pushed again".to_owned())),
            _ => None,
        }
    }
}

fn late(limit: Duration) -> String {
    format!(
        "they were not there within {limit:?}: sockpick is overloaded, or its pipeline stands still"
    )
}

#[cfg(test)]
mod tests;
