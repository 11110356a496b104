//! What the web server serves: it asks the daemon's thread, which answers between two batches.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::metrics::{Format, Series, View};

/// A question, and where the answer goes.
pub enum Question {
    /// All counters, and what else is known.
    Metrics(oneshot::Sender<(Series, View)>),
    /// Whether the pipeline works, if an answer comes; and whether it sees, and if not, why.
    Ready(oneshot::Sender<Result<(), String>>),
}
