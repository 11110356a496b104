//! What the pipeline takes.

use serde::{Deserialize, Serialize};
use sockpick_ebpf::abi::{Listener, Stats};

use crate::decode::Record;

/// What the pipeline takes, in this order: batches of a beginning, what happened and an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// A batch begins; the wall clock minus `CLOCK_MONOTONIC`, in nanoseconds.
    Begin(i64),
    /// What the kernel wrote.
    Record(Record),
    /// Bytes that are no record: lost on the way.
    Malformed,
    /// A listener closed a while ago, and no SYN can reach it any more: its last account.
    Gone(Listener),
    /// What was counted since the session began, as of a batch's end.
    Counted(Counted),
}

/// What was counted since the session began.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// By the programs.
    pub stats: Stats,
    /// Records that were written and did not arrive: of SYNs, of listeners.
    pub missing: (u64, u64),
}

/// How a session ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct End {
    /// What was counted, all told.
    pub stats: Stats,
    /// Listeners as the kernel has them.
    pub listeners: Vec<Listener>,
    /// How long it took.
    pub seconds: f64,
}
