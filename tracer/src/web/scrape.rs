//! One scrape at a time: while metrics are being written, later requests for them wait and get
//! the same bytes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::body::Bytes;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use super::source::Source;
use crate::metrics::Format;

/// What a scrape may take, waiting for another included.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

type Answer = Result<Bytes, String>;

/// Those who wait for what is being written, by format.
type Waiting = Mutex<[Option<watch::Receiver<Option<Answer>>>; 2]>;

/// What is being written for whom.
pub(super) struct Scrapes<S> {
    source: Arc<S>,
    waiting: Arc<Waiting>,
    /// Of both formats only one is written at a time.
    turn: Arc<Semaphore>,
}

impl<S: Source> Scrapes<S> {
    pub(super) fn new(source: Arc<S>) -> Self {
        Self {
            source,
            waiting: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// The metrics, or why there are none.
    pub(super) async fn get(&self, format: Format) -> Answer {
        let mut answer = self.join(format);
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(|| Err(given_up())),
            Err(_) => Err(given_up()),
        }
    }

    /// Waits with the others, or begins.
    fn join(&self, format: Format) -> watch::Receiver<Option<Answer>> {
        let mut waiting = lock(&self.waiting);
        let slot = &mut waiting[slot(format)];
        if let Some(answer) = slot {
            return answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        *slot = Some(answer.clone());
        // A task of its own: whoever asked first may hang up, and the others wait all the same.
        tokio::spawn(write(
            self.source.clone(),
            self.turn.clone(),
            self.waiting.clone(),
            format,
            tell,
        ));
        answer
    }
}

/// Has the source write, and tells all who wait.
async fn write<S: Source>(
    source: Arc<S>,
    turn: Arc<Semaphore>,
    waiting: Arc<Waiting>,
    format: Format,
    tell: watch::Sender<Option<Answer>>,
) {
    // Also if the source panics or the runtime ends: nobody is to wait for ever.
    let cleared = Cleared(&waiting, format);
    let written = timeout(DEADLINE, async {
        let _turn = turn.acquire().await;
        source.metrics(format).await
    });
    let answer = written.await.unwrap_or_else(|_| Err(given_up()));
    // Who comes from here on begins anew, before those who wait are told.
    drop(cleared);
    tell.send_replace(Some(answer));
}

struct Cleared<'a>(&'a Waiting, Format);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        lock(self.0)[slot(self.1)] = None;
    }
}

/// Nothing is left half done under the lock, so a panic elsewhere is no reason to refuse it.
fn lock(
    waiting: &Waiting,
) -> std::sync::MutexGuard<'_, [Option<watch::Receiver<Option<Answer>>>; 2]> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slot(format: Format) -> usize {
    match format {
        Format::Prometheus => 0,
        Format::OpenMetrics => 1,
    }
}

fn given_up() -> String {
    format!(
        "the metrics were not there within {} s: sockpick is overloaded, or its pipeline stands \
         still (/healthz tells)",
        DEADLINE.as_secs()
    )
}
