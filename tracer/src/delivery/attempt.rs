//! What came of one attempt to send.
#![forbid(unsafe_code)]

use std::time::Duration;

/// What became of a batch, from its front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Messages that the receiver took.
    pub(crate) accepted: usize,
    /// Messages that it will never take.
    pub(crate) rejected: usize,
    /// It was told how many messages were thrown away.
    pub(crate) told_losses: bool,
    /// Requests, or writes, by what came of them.
    pub(crate) sends: Sends,
    /// Why something was rejected.
    pub(crate) complaint: Option<String>,
    /// Why the rest of the batch is still to be sent.
    pub(crate) failure: Option<Failure>,
}

/// Why something could not be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In words for the user; without secrets.
    pub(crate) text: String,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// It will never work again: the reader of stdout has gone.
    pub(crate) is_final: bool,
}

impl Failure {
    /// To be tried again.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            retry_after: None,
            is_final: false,
        }
    }
}

/// Attempts by result: the label `result` of `sockpick_sink_sends_total` and
/// `sockpick_otlp_pushes_total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sends {
    /// Everything in it was accepted.
    pub ok: u64,
    /// Nothing in it will be: not tried again.
    pub rejected: u64,
    /// Nothing is known to be accepted: tried again.
    pub failed: u64,
    /// Some of it was accepted; the rest is rejected, or tried again.
    pub partial: u64,
}

impl Sends {
    pub(crate) fn add(&mut self, other: Self) {
        self.ok += other.ok;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.partial += other.partial;
    }
}

impl Attempt {
    /// All of so many messages were accepted.
    pub(crate) fn accepted(messages: usize) -> Self {
        Self {
            accepted: messages,
            sends: Sends {
                ok: 1,
                ..Sends::default()
            },
            ..Self::default()
        }
    }

    /// None of so many messages ever will be.
    pub(crate) fn rejected(messages: usize, why: impl Into<String>) -> Self {
        Self {
            rejected: messages,
            sends: Sends {
                rejected: 1,
                ..Sends::default()
            },
            complaint: Some(why.into()),
            ..Self::default()
        }
    }

    /// So many of a batch were accepted one by one, and then it failed.
    pub(crate) fn failed_after(accepted: usize, failure: Failure) -> Self {
        let failed = Self::failed(failure);
        if accepted == 0 {
            return failed;
        }
        Self {
            accepted,
            sends: Sends {
                partial: 1,
                ..Sends::default()
            },
            ..failed
        }
    }

    /// Nothing is known to be accepted.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self {
            sends: Sends {
                failed: 1,
                ..Sends::default()
            },
            failure: Some(failure),
            ..Self::default()
        }
    }

    /// Messages that are done with.
    pub(crate) fn done(&self) -> usize {
        self.accepted + self.rejected
    }

    /// This one and what came after it.
    pub(crate) fn then(&mut self, next: Self) {
        self.accepted += next.accepted;
        self.rejected += next.rejected;
        self.told_losses |= next.told_losses;
        self.sends.add(next.sends);
        self.complaint = next.complaint.or(self.complaint.take());
        self.failure = next.failure.or(self.failure.take());
    }
}
