//! Reads what the programs wrote in batches. An idle host wakes nobody: the kernel signals
//! the first record after the reader caught up, and the reader then waits out the
//! flush interval before it takes all there is.

use std::{collections::VecDeque, future::poll_fn, os::fd::OwnedFd, task::Poll, time::Duration};

use anyhow::Result;
use sockpick_ebpf::abi::Stats;
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::yield_now,
};

use crate::{
    clock::{Timer, monotonic_ns},
    decode::{self, Malformed, Record},
    listeners,
    probes::{
        channel::{Channel, Missing},
        drops::Drops,
    },
    stock::{Stock, TakeStock},
};

/// The reading end of the buffer.
pub struct Source {
    channel: Channel,
    drops: Drops,
    watched: Vec<AsyncFd<OwnedFd>>,
    interval: Duration,
    timer: Timer,
    /// Read before their turn, to see what was to come.
    ahead: VecDeque<Result<Record, Malformed>>,
    /// The batch ends before the first record that is younger (kernel time): while SYNs come as
    /// fast as they are read, whoever waits for its end would wait for theirs.
    until_ns: Option<u64>,
    /// It ended there, and there may be more.
    has_more: bool,
}

/// Records in a ring buffer lie in the order in which their place was taken, their time is taken
/// a little later: how much, if a virtual CPU rests in between.
const TURN_NS: u64 = 200_000_000;

impl Source {
    /// Wraps the buffer; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the buffer cannot be polled.
    pub fn new(channel: Channel, drops: Drops, interval: Duration) -> Result<Self> {
        let descriptors = channel.descriptors()?.into_iter();
        let watch = |fd| {
            // SAFETY: an owned descriptor, which stays the same while it is registered.
            unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
        };
        Ok(Self {
            watched: descriptors.map(watch).collect::<Result<_, _>>()?,
            channel,
            drops,
            interval,
            timer: Timer::new(),
            ahead: VecDeque::new(),
            until_ns: None,
            has_more: false,
        })
    }

    /// Waits until there is a batch to take. Who cancels it has to take one all the same: the
    /// kernel may have signalled, and does so once.
    ///
    /// # Errors
    /// If polling fails.
    pub async fn ready(&mut self) -> Result<()> {
        if self.has_more() {
            // Who else waits has a turn between two batches; the kernel gives no signal.
            yield_now().await;
            return Ok(());
        }
        if !self.channel.holds_back() {
            self.signalled().await?;
        }
        if self.channel.signals_every_record() {
            self.timer.sleep(self.interval).await;
            return Ok(());
        }
        // A buffer that fills up wakes a second time, before the interval ends.
        tokio::select! {
            () = self.timer.sleep(self.interval) => {}
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

    /// Begins a batch of everything that is due: with `now_ns` (kernel time) what is old enough
    /// to be in its place, without it everything.
    pub fn begin(&mut self, now_ns: Option<u64>) {
        self.channel.begin(now_ns);
        self.has_more = false;
        let ends = now_ns.is_some() && !self.channel.signals_every_record();
        self.until_ns = ends.then(|| monotonic_ns().saturating_add(TURN_NS));
    }

    /// Whether the last batch ended with more to be read, that was written since it began.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.has_more || !self.ahead.is_empty()
    }

    /// The next record of the batch.
    pub fn take(&mut self) -> Option<Result<Record, Malformed>> {
        if self.has_more {
            return None;
        }
        let ahead = self.ahead.pop_front();
        let mut next = ahead.or_else(|| self.channel.take(decode::record))?;
        // All that had its place when the batch began comes before such a record, and what was
        // asked for the batch may be too old for it.
        if let (Some(until_ns), Ok(record)) = (self.until_ns, &next)
            && record.ktime_ns() > until_ns
        {
            self.has_more = true;
            self.ahead.push_front(next);
            return None;
        }
        if let Ok(Record::Syn(record)) = &mut next {
            self.drops.mark(record);
        }
        Some(next)
    }

    /// Records that the counters, read before the last drain, know of and that did not arrive.
    #[must_use]
    pub fn missing(&self, before: &Stats) -> Missing {
        self.channel.missing(before)
    }
}

impl TakeStock for Source {
    fn take_stock(&mut self) -> Stock {
        let inventory = listeners::inventory();
        let mut stock = Stock::new(inventory, monotonic_ns());
        let enough = stock.done_ns.saturating_add(TURN_NS);
        for record in self.ahead.iter().flatten() {
            stock.announce(record);
        }
        self.channel.held_back(|bytes| {
            if let Ok(record) = decode::record(bytes) {
                stock.announce(&record);
            }
        });
        // What is due of this batch comes next anyway, and was just looked at.
        if self.channel.signals_every_record() {
            return stock;
        }
        while let Some(record) = self.channel.take(decode::record) {
            let time = record.as_ref().map_or(0, Record::ktime_ns);
            if let Ok(record) = &record {
                stock.announce(record);
            }
            self.ahead.push_back(record);
            if time > enough {
                break;
            }
        }
        stock
    }
}
