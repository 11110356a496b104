//! A sink's queue between the threads: who has something for it never waits, and who sends is
//! woken when the queue was empty.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use super::{
    attempt::{Attempt, Sends},
    queue::{Leftover, Losses, Message, Queue},
};
use crate::alerts::Notice;

/// What one sink has done so far, and what waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkStats {
    /// As configured; of several servers each with its address behind it.
    pub name: String,
    /// Messages that are not settled: those that wait, and those that are being sent.
    pub queued: usize,
    /// Most of them.
    pub limit: usize,
    /// Attempts, by result.
    pub sends: Sends,
    /// Messages that the receiver took.
    pub accepted: u64,
    /// Messages that it will never take.
    pub rejected: u64,
    /// Messages that were thrown away: at the bound, or because the sink has ended.
    pub dropped: Losses,
    /// Times that it began to wait for another attempt.
    pub retries: u64,
    /// What was wrong with the last attempt; `None`: nothing. Without secrets.
    pub last_error: Option<String>,
    /// It takes no more: the reader of stdout has gone, or the sink was removed.
    pub ended: bool,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// How many.
    pub(crate) messages: usize,
    /// No notice is among them.
    pub(crate) only_lines: bool,
}

/// What an attempt tells that the one before did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It went as the one before.
    Nothing,
    /// Something is wrong, or something else than before.
    Wrong,
    /// Nothing is wrong any more.
    Well,
}

/// Messages of all sinks, also of those that were removed, that no receiver will ever have. Only
/// rises.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost(Arc<AtomicU64>);

impl Lost {
    pub(crate) fn sum(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One sink's queue and what is counted of it.
#[derive(Debug)]
pub(crate) struct Outbox {
    name: String,
    lost: Lost,
    state: Mutex<State>,
    filled: Notify,
    /// For who keeps a copy of what waits.
    changed: Notify,
    /// By when it has to be empty, once it is closed.
    closing: watch::Sender<Option<Instant>>,
    ended: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    counts: SinkStats,
    /// Losses that the sink's reader was told of.
    told: u64,
    /// Messages that were left when it ended.
    left: Leftover,
    /// Places of notices that are kept elsewhere, too.
    kept: BTreeSet<u64>,
    /// What of it is in [`Lost`].
    counted: u64,
}

impl Outbox {
    /// Without messages; most of them is `limit`. What is lost of them is added to `lost`.
    pub(crate) fn new(name: String, limit: usize, lost: Lost) -> Self {
        Self {
            name,
            lost,
            state: Mutex::new(State {
                queue: Queue::new(limit),
                counts: SinkStats::default(),
                told: 0,
                left: Leftover::default(),
                kept: BTreeSet::new(),
                counted: 0,
            }),
            filled: Notify::new(),
            changed: Notify::new(),
            closing: watch::Sender::new(None),
            ended: watch::Sender::new(false),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    // Nothing that holds the lock can panic in the middle of a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message; never waits for the sink.
    pub(crate) fn push(&self, message: Message) {
        let was_empty = {
            let mut state = self.state();
            if state.counts.ended {
                state.queue.refuse(&message);
                self.count(&mut state);
                return;
            }
            let was_empty = state.queue.waiting() == 0;
            state.queue.push(message);
            self.count(&mut state);
            was_empty
        };
        if was_empty {
            self.filled.notify_one();
        }
        self.changed.notify_one();
    }

    /// Adds to the sum what was lost since the last time.
    fn count(&self, state: &mut State) {
        let lost = state.queue.losses().sum() + state.counts.rejected;
        let more = lost - state.counted;
        self.lost.0.fetch_add(more, Ordering::Relaxed);
        state.counted = lost;
    }

    /// Waits until there is something to send, and says what; `None` if the queue is empty and
    /// closed.
    pub(crate) async fn filled(&self) -> Option<Waiting> {
        let mut closing = self.closing.subscribe();
        loop {
            {
                let state = self.state();
                let messages = state.queue.waiting();
                if messages > 0 {
                    return Some(Waiting {
                        messages,
                        only_lines: state.queue.has_only_lines(),
                    });
                }
            }
            if closing.borrow_and_update().is_some() {
                return None;
            }
            tokio::select! {
                () = self.filled.notified() => {}
                _ = closing.changed() => {}
            }
        }
    }

    /// The oldest messages, and how many were thrown away that nobody was told of yet.
    pub(crate) fn take(&self, most: usize) -> (Vec<Message>, u64) {
        let mut state = self.state();
        let untold = state.queue.losses().sum() - state.told;
        (state.queue.take(most), untold)
    }

    /// Counts what came of the batch that was taken; what of it is still to be sent waits again.
    /// Says what of it is new.
    pub(crate) fn settle(&self, attempt: &Attempt, untold: u64) -> News {
        let mut state = self.state();
        state.queue.settle(attempt.done());
        if attempt.told_losses {
            state.told += untold;
        }
        state.counts.rejected += attempt.rejected as u64;
        self.count(&mut state);
        self.changed.notify_one();
        let counts = &mut state.counts;
        counts.sends.add(attempt.sends);
        counts.accepted += attempt.accepted as u64;
        let failure = attempt.failure.as_ref();
        counts.retries += u64::from(failure.is_some_and(|failure| !failure.is_final));
        let error = failure.map(|failure| &failure.text);
        let error = error.or(attempt.complaint.as_ref()).cloned();
        let before = std::mem::replace(&mut counts.last_error, error);
        match &counts.last_error {
            now if *now == before => News::Nothing,
            Some(_) => News::Wrong,
            None => News::Well,
        }
    }

    /// Nothing is to be waited for any more: what is there is sent at once, and then it ends; at
    /// the deadline in any case. Of two deadlines the earlier one counts.
    pub(crate) fn close(&self, deadline: Instant) {
        let earlier = |at: &mut Option<Instant>| {
            *at = Some(at.map_or(deadline, |at| at.min(deadline)));
        };
        self.closing.send_modify(earlier);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.borrow().is_some()
    }

    // The senders live as long as this, so that waiting for them cannot fail.

    /// Waits for [`Outbox::close`].
    pub(crate) async fn closed(&self) {
        let _ = self.closing.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until it is closed and its deadline is over.
    pub(crate) async fn overdue(&self) {
        let mut closing = self.closing.subscribe();
        loop {
            let deadline = *closing.borrow_and_update();
            let deadline = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = deadline => return,
                _ = closing.changed() => {}
            }
        }
    }

    /// Waits for [`Outbox::end`].
    pub(crate) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Takes no more, and throws away what is left.
    pub(crate) fn end(&self) {
        {
            let mut state = self.state();
            state.counts.ended = true;
            let kept = std::mem::take(&mut state.kept);
            let left = state.queue.abandon(&kept);
            state.left.lost += left.lost;
            state.left.kept += left.kept;
            self.count(&mut state);
        }
        self.ended.send_replace(true);
    }

    /// Messages that were left when it ended.
    pub(crate) fn left(&self) -> Leftover {
        self.state().left
    }

    pub(crate) fn stats(&self) -> SinkStats {
        let state = self.state();
        SinkStats {
            name: self.name.clone(),
            queued: state.queue.unsettled(),
            limit: state.queue.limit(),
            dropped: state.queue.losses(),
            ..state.counts.clone()
        }
    }

    // For who keeps a copy of what waits: what it asks for is not there any more once the outbox
    // has ended, and must not be taken to be sent.

    /// Waits until something came or was settled since the last time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Puts what an earlier run left before everything else, and says at which places; `lost`:
    /// what of it is lost. `None`: it has ended.
    pub(crate) fn restore(&self, notices: Vec<Arc<Notice>>, lost: u64) -> Option<Vec<u64>> {
        let numbers = {
            let mut state = self.state();
            if state.counts.ended {
                return None;
            }
            state.queue.lose(lost);
            let numbers = state.queue.restore(notices);
            self.count(&mut state);
            numbers
        };
        self.filled.notify_one();
        Some(numbers)
    }

    /// Notices that alerts began or ended, those that are being sent included, in order, with
    /// their places. `None`: it has ended.
    pub(crate) fn changes(&self) -> Option<Vec<(u64, Arc<Notice>)>> {
        let state = self.state();
        if state.counts.ended {
            return None;
        }
        let changes = state.queue.changes();
        let changes = changes.map(|(number, notice)| (number, Arc::clone(notice)));
        Some(changes.collect())
    }

    /// Whether all of these are kept elsewhere, too.
    pub(crate) fn are_kept(&self) -> bool {
        let state = self.state();
        let mut changes = state.queue.changes();
        state.counts.ended || changes.all(|(number, _)| state.kept.contains(&number))
    }

    /// Throws away these notices, if they wait and are not being sent.
    pub(crate) fn give_up(&self, numbers: &[u64]) {
        let mut state = self.state();
        for number in numbers {
            state.queue.give_up(*number);
        }
        self.count(&mut state);
    }

    /// The notices at these places are kept elsewhere, and no others.
    pub(crate) fn kept(&self, numbers: BTreeSet<u64>) {
        self.state().kept = numbers;
    }
}
