//! Reads what the programs wrote in batches. An idle host wakes nobody: the kernel signals
//! the first record after the reader caught up, and the reader then waits out the
//! flush interval before it takes all there is.

use std::{future::poll_fn, os::fd::OwnedFd, task::Poll, time::Duration};

use anyhow::Result;
use sockpick_ebpf::abi::Stats;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::sleep,
};

use crate::{
    decode::{self, Malformed, Record},
    probes::channel::{Channel, Missing},
};

/// The reading end of the buffer.
pub struct Source {
    channel: Channel,
    watched: Vec<AsyncFd<OwnedFd>>,
    interval: Duration,
}

impl Source {
    /// Wraps the buffer; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the buffer cannot be polled.
    pub fn new(channel: Channel, interval: Duration) -> Result<Self> {
        let descriptors = channel.descriptors()?.into_iter();
        let watch = |fd| {
            // SAFETY: an owned descriptor, which stays the same while it is registered.
            unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
        };
        Ok(Self {
            watched: descriptors.map(watch).collect::<Result<_, _>>()?,
            channel,
            interval,
        })
    }

    /// Waits until there is a batch to take. Cancelling it loses nothing.
    ///
    /// # Errors
    /// If polling fails.
    pub async fn ready(&mut self) -> Result<()> {
        if !self.channel.holds_back() {
            self.signalled().await?;
        }
        if self.channel.signals_every_record() {
            sleep(self.interval).await;
            return Ok(());
        }
        // A buffer that fills up wakes a second time, before the interval ends.
        tokio::select! {
            () = sleep(self.interval) => {}
            early = self.signalled() => early?,
        }
        Ok(())
    }

    /// Waits for the kernel's signal, from any of the buffers.
    async fn signalled(&self) -> Result<()> {
        poll_fn(|cx| {
            let mut any = Poll::Pending;
            for fd in &self.watched {
                if let Poll::Ready(ready) = fd.poll_read_ready(cx) {
                    match ready {
                        Ok(mut guard) => guard.clear_ready(),
                        Err(error) => return Poll::Ready(Err(error.into())),
                    }
                    any = Poll::Ready(Ok(()));
                }
            }
            any
        })
        .await
    }

    /// Takes everything that is due: with `now_ns` (kernel time) what is old enough to be in
    /// its place, without it everything.
    pub fn drain(&mut self, now_ns: Option<u64>, mut take: impl FnMut(Result<Record, Malformed>)) {
        self.channel
            .drain(now_ns, |bytes| take(decode::record(bytes)));
    }

    /// Records that the counters, read before the last drain, know of and that did not arrive.
    #[must_use]
    pub fn missing(&self, before: &Stats) -> Missing {
        self.channel.missing(before)
    }
}
