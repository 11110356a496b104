//! One sink's task: takes from its outbox, sends, waits after a failure.
#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    attempt::Attempt,
    backoff::Backoff,
    outbox::{News, Outbox},
    queue::Message,
    spool::Spool,
};

/// How long lines gather before they are written: one wake-up for all that come meanwhile.
const GATHER: Duration = Duration::from_millis(20);

/// Sends batches of messages somewhere.
pub(crate) trait Send {
    /// Most messages of a batch.
    const BATCH: usize;

    /// Sends a batch, from its front. `lost`: messages for this sink that were thrown away and
    /// that it has told nobody of.
    fn send(
        &mut self,
        batch: &[Message],
        lost: u64,
    ) -> impl Future<Output = Attempt> + std::marker::Send;
}

/// Runs until the outbox is closed and empty or overdue, or the sink takes no more; then ends the
/// outbox, whatever happens. What waits is kept in the spool meanwhile, if there is one.
pub(super) async fn run(
    outbox: Arc<Outbox>,
    sink: impl Send,
    backoff: Backoff,
    spool: Option<Spool>,
) {
    let ending = Ending(outbox);
    let work = async {
        // On the heap: moved on, it would be held more than once.
        let work = Box::pin(work(&ending.0, sink, backoff));
        match &spool {
            Some(spool) => spool.beside(&ending.0, work).await,
            None => work.await,
        }
    };
    tokio::select! {
        biased;
        () = work => {}
        () = ending.0.overdue() => {}
    }
}

struct Ending(Arc<Outbox>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn work<S: Send>(outbox: &Outbox, mut sink: S, mut backoff: Backoff) {
    while let Some(waiting) = outbox.filled().await {
        if waiting.only_lines && waiting.messages < S::BATCH && !outbox.is_closing() {
            wait(outbox, GATHER).await;
        }
        let attempt = once(outbox, &mut sink).await;
        match attempt.failure {
            None => backoff.reset(),
            Some(failure) if failure.is_final => break,
            Some(failure) => {
                if attempt.accepted > 0 {
                    backoff.reset();
                }
                let pause = backoff.after_failure(failure.retry_after);
                if wait(outbox, pause).await {
                    backoff.reset();
                }
            }
        }
    }
}

async fn once<S: Send>(outbox: &Outbox, sink: &mut S) -> Attempt {
    let (batch, lost) = outbox.take(S::BATCH);
    let attempt = sink.send(&batch, lost).await;
    match outbox.settle(&attempt, lost) {
        News::Nothing => {}
        News::Wrong => report(outbox.name(), &attempt),
        News::Well => log::info!("sink {}: works again", outbox.name()),
    }
    attempt
}

fn report(name: &str, attempt: &Attempt) {
    if let Some(complaint) = &attempt.complaint {
        let rejected = attempt.rejected;
        log::warn!("sink {name}: {rejected} are refused for good: {complaint}");
    }
    match &attempt.failure {
        Some(failure) if failure.is_final => log::warn!("sink {name} has ended: {}", failure.text),
        Some(failure) => log::warn!("sink {name}: {}; trying again", failure.text),
        None => {}
    }
}

/// Waits so long, or until the outbox is closed, and says whether that was it. One that was
/// closed before is waited for all the same: its deadline will cut that short.
async fn wait(outbox: &Outbox, time: Duration) -> bool {
    if outbox.is_closing() {
        sleep(time).await;
        return false;
    }
    tokio::select! {
        () = sleep(time) => false,
        () = outbox.closed() => true,
    }
}

#[cfg(test)]
mod tests;
