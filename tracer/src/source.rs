//! Reads the ring buffer in batches. An idle host wakes nobody: the kernel signals
//! the first record after the reader caught up, and the reader then waits out the
//! flush interval before it takes all there is.

use std::time::Duration;

use anyhow::Result;
use aya::maps::{MapData, RingBuf};
use tokio::{io::unix::AsyncFd, time::sleep};

use crate::decode::{self, Malformed, Record};

/// The reading end of the ring buffer.
pub struct Source {
    ring: AsyncFd<RingBuf<MapData>>,
    interval: Duration,
}

impl Source {
    /// Wraps the ring buffer; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the buffer cannot be polled.
    pub fn new(ring: RingBuf<MapData>, interval: Duration) -> Result<Self> {
        // SAFETY: the ring buffer owns its descriptor and gives the same one for as
        // long as it lives, which is as long as the registration.
        let ring = unsafe { AsyncFd::register(ring) }?;
        Ok(Self { ring, interval })
    }

    /// Waits until there is a batch to take. Cancelling it loses nothing.
    ///
    /// # Errors
    /// If polling fails.
    pub async fn ready(&mut self) -> Result<()> {
        self.ring.readable().await?.clear_ready();
        // A buffer that fills up wakes a second time, before the interval ends.
        tokio::select! {
            () = sleep(self.interval) => {}
            early = self.ring.readable() => early?.clear_ready(),
        }
        Ok(())
    }

    /// Takes everything there is now.
    pub fn drain(&mut self, mut take: impl FnMut(Result<Record, Malformed>)) {
        let ring = self.ring.get_mut();
        while let Some(item) = ring.next() {
            take(decode::record(&item));
        }
    }
}
