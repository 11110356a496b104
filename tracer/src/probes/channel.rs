//! The reading end of what the programs write: one ring buffer, or a perf buffer per CPU on
//! kernels without one (before 5.8).

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::maps::{
    Map, MapData, PerfEventArray, RingBuf,
    perf::{PerfEvent, PerfEventArrayBuffer},
};
use sockpick_ebpf::abi::{Stats, kind};

use crate::decode;

/// How long a record is held back, so that one written on another CPU at the same time comes
/// in its turn. A virtual CPU may rest that long between the time it takes and the record.
const HOLD_NS: u64 = 200_000_000;
/// Every record begins with its kind, the CPU, and the time.
const TIME_AT: usize = 8;

/// Where records come from.
pub enum Channel {
    /// One buffer, in the order of the records.
    Ring(RingBuf<MapData>),
    /// A buffer per CPU, put in order by time.
    PerCpu(PerCpu),
}

/// Perf buffers.
pub struct PerCpu {
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
    /// Read, but too young to be handed on.
    waiting: Vec<(u64, Vec<u8>)>,
    /// Due in this batch, in order.
    due: VecDeque<Vec<u8>>,
    /// Records of SYNs and of listeners that were read.
    syns: u64,
    listeners: u64,
}

/// Records that were written and never arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Of SYNs.
    pub syns: u64,
    /// Of listeners.
    pub listeners: u64,
}

impl Channel {
    /// Opens a buffer of about `bytes` in all on every CPU that is online.
    pub(super) fn per_cpu(map: Map, bytes: u32) -> Result<Self> {
        let mut array = PerfEventArray::try_from(map)?;
        let cpus = aya::util::online_cpus()
            .map_err(|(_, error)| error)
            .context("cannot tell which CPUs are online")?;
        let pages = pages(bytes, cpus.len());
        let open = |cpu| array.open(cpu, Some(pages));
        let buffers: Result<Vec<_>, _> = cpus.into_iter().map(open).collect();
        Ok(Self::PerCpu(PerCpu {
            buffers: buffers.context("cannot open the perf buffers")?,
            waiting: Vec::new(),
            due: VecDeque::new(),
            syns: 0,
            listeners: 0,
        }))
    }

    /// Descriptors that become readable with the first record after all were read.
    ///
    /// # Errors
    /// If the process has no descriptors left.
    pub fn descriptors(&self) -> Result<Vec<OwnedFd>> {
        let fds = match self {
            Self::Ring(ring) => vec![ring.as_fd()],
            Self::PerCpu(all) => all.buffers.iter().map(|buffer| buffer.as_fd()).collect(),
        };
        fds.into_iter()
            .map(|fd| fd.try_clone_to_owned().context("cannot watch the buffer"))
            .collect()
    }

    /// Whether records are held back that are due without a signal.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        matches!(self, Self::PerCpu(all) if !all.waiting.is_empty())
    }

    /// Whether the kernel signals every record, and not only the first and a full buffer.
    #[must_use]
    pub fn signals_every_record(&self) -> bool {
        matches!(self, Self::PerCpu(_))
    }

    /// Hands on every record that is there and in its place.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        self.begin(None);
        while self.take(&mut take).is_some() {}
    }

    /// Begins a batch: with `now_ns` (kernel time) of all records that are older than the hold,
    /// without it of all.
    pub fn begin(&mut self, now_ns: Option<u64>) {
        if let Self::PerCpu(all) = self {
            all.read();
            let until = now_ns.map_or(u64::MAX, |now| now.saturating_sub(HOLD_NS));
            all.waiting.sort_by_key(|(time, _)| *time);
            let due = all.waiting.partition_point(|(time, _)| *time <= until);
            let due = all.waiting.drain(..due);
            all.due.extend(due.map(|(_, bytes)| bytes));
        }
    }

    /// The next record of the batch.
    pub fn take<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        match self {
            Self::Ring(ring) => ring.next().map(|item| take(&item)),
            Self::PerCpu(all) => all.due.pop_front().map(|bytes| take(&bytes)),
        }
    }

    /// Shows what was written by now and is held back, where a buffer keeps that.
    pub fn held_back(&mut self, mut show: impl FnMut(&[u8])) {
        if let Self::PerCpu(all) = self {
            all.read();
            let waiting = all.waiting.iter().map(|(_, bytes)| bytes);
            all.due.iter().chain(waiting).for_each(|bytes| show(bytes));
        }
    }

    /// What was written before these counters were read, and had not arrived when the buffers
    /// were drained after that. Only for perf buffers: a ring buffer says itself what it had
    /// no room for.
    #[must_use]
    pub fn missing(&self, before: &Stats) -> Missing {
        match self {
            Self::Ring(_) => Missing::default(),
            Self::PerCpu(all) => Missing {
                syns: before.emitted.saturating_sub(all.syns),
                listeners: before.listener_records.saturating_sub(all.listeners),
            },
        }
    }
}

impl PerCpu {
    fn read(&mut self) {
        for buffer in &mut self.buffers {
            let _: ControlFlow<()> = buffer.try_fold((), |(), event| {
                // What was lost is told by what did not arrive.
                if let PerfEvent::Sample { head, tail } = event {
                    let mut bytes = [head, tail].concat();
                    let kind = bytes.first_chunk().map(|&kind| u32::from_ne_bytes(kind));
                    match kind {
                        Some(kind::SYN) => self.syns += 1,
                        _ => self.listeners += 1,
                    }
                    // The kernel pads samples to a multiple of eight bytes.
                    bytes.truncate(kind.and_then(decode::length).unwrap_or(bytes.len()));
                    let time = bytes.get(TIME_AT..).and_then(<[u8]>::first_chunk);
                    let time = time.map_or(0, |&time| u64::from_ne_bytes(time));
                    self.waiting.push((time, bytes));
                }
                ControlFlow::Continue(())
            });
        }
    }
}

/// Pages per CPU: a power of two, at least one.
fn pages(bytes: u32, cpus: usize) -> usize {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    let page = page.ok().flatten().map_or(4096, i64::unsigned_abs) as usize;
    let each = bytes as usize / cpus.max(1) / page;
    1 << each.max(1).ilog2()
}
