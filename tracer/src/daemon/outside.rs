//! Who tells others, sinks and metrics: by new settings, and at the end.

use std::time::Duration;

use anyhow::Result;
use log::{info, warn};

use super::exposition::{self, Exposition};
use crate::{
    delivery::Delivery,
    metrics::Families,
    settings::{Settings, change::Changes},
    words::count,
};

/// Sinks have so long at the end to send what waits, and the last push of metrics as long.
const FLUSH: Duration = Duration::from_secs(5);

/// What others are given by new settings: sinks are replaced, and where metrics will be had or
/// pushed is ready, if elsewhere. To be done last, as nothing may fail after it.
pub(super) fn outside(
    exposition: &Exposition,
    delivery: &Delivery,
    changes: &Changes,
    settings: &Settings,
) -> Result<exposition::Prepared> {
    let prepared = exposition.prepare(changes, &settings.metrics)?;
    // Sinks are asked nothing.
    if !changes.sinks.is_none() {
        delivery.replace(&settings.sinks);
    }
    Ok(prepared)
}

/// Ends who tells others. The last push, of these, and what waits for sinks are sent side by side.
pub(super) async fn take_leave(
    exposition: &mut Exposition,
    families: Option<Families>,
    delivery: &Delivery,
) {
    exposition.stop(families, FLUSH).await;
    flush(delivery);
    exposition.pushed().await;
}

/// Gives sinks some time to send what waits, and says what is left.
fn flush(delivery: &Delivery) {
    for left in delivery.stop(FLUSH) {
        let why = left
            .last_error
            .map_or_else(String::new, |error| format!(": {error}"));
        if left.messages > 0 {
            let messages = count(left.messages, "message");
            warn!("{}: {messages} not sent{why}", left.name);
        }
        if left.kept > 0 {
            let messages = count(left.kept, "message");
            info!("{}: {messages} kept for the next start{why}", left.name);
        }
    }
}
