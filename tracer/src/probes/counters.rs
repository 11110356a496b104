//! The programs' counters, summed over the CPUs.

use std::{
    fs,
    os::fd::AsFd as _,
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, Map, PerCpuArray},
};
use memmap2::{MmapOptions, MmapRaw};
use sockpick_ebpf::abi::{Cpu, Stats, maps};

use super::object::Abi;

const FIELDS: usize = size_of::<Stats>() / size_of::<u64>();
/// Words of a CPU's row, which begins with its counters.
const ROW: usize = size_of::<Cpu>() / size_of::<u64>();

/// How the counters are read.
pub(super) enum Counters {
    /// In place. A system call on a map has the kernel skip kprobe programs on its CPU
    /// (`bpf_disable_instrumentation`, `include/linux/bpf.h`), and may be preempted there.
    Mapped(MmapRaw),
    /// By system call: for kernels that map no arrays (before 5.5).
    PerCpu,
}

impl Counters {
    /// Of the object that was loaded.
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self> {
        let map = map(ebpf)?;
        let Map::Array(data) = map else {
            return Ok(Self::PerCpu);
        };
        let rows: Array<_, Abi<Cpu>> = Array::try_from(map)?;
        MmapOptions::new()
            .len(rows.len() as usize * size_of::<Cpu>())
            .map_raw_read_only(&data.fd().as_fd())
            .map(Self::Mapped)
            .context("cannot map the counters")
    }

    /// The sums now.
    pub(super) fn sum(&self, ebpf: &Ebpf) -> Result<Stats> {
        let mut sum = [0_u64; FIELDS];
        match self {
            Self::Mapped(rows) => {
                for row in words(rows).chunks_exact(ROW) {
                    for (total, field) in sum.iter_mut().zip(row) {
                        *total += field.load(Ordering::Relaxed);
                    }
                }
            }
            Self::PerCpu => {
                let rows: PerCpuArray<_, Abi<Stats>> = PerCpuArray::try_from(map(ebpf)?)?;
                for Abi(row) in rows.get(&0, 0).context("cannot read the counters")?.iter() {
                    let row: [u64; FIELDS] = bytemuck::cast(*row);
                    sum.iter_mut()
                        .zip(row)
                        .for_each(|(total, field)| *total += field);
                }
            }
        }
        Ok(bytemuck::cast(sum))
    }
}

/// The rows, as the programs write them one word at a time.
fn words(rows: &MmapRaw) -> &[AtomicU64] {
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins with a page")]
    let start = rows.as_ptr().cast::<AtomicU64>();
    // SAFETY: as long as the mapping, and alive as long as it is. Loads are all that is done
    // here, and relaxed ones may be of memory that is read-only.
    unsafe { slice::from_raw_parts(start, rows.len() / size_of::<AtomicU64>()) }
}

fn map(ebpf: &Ebpf) -> Result<&Map> {
    ebpf.map(maps::STATS).context("no counters in the object")
}

/// Rows for every CPU that there may ever be: one more than the highest number.
pub(super) fn rows() -> Result<u32> {
    const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
    let text = fs::read_to_string(POSSIBLE);
    let text = text.with_context(|| format!("cannot read {POSSIBLE}"))?;
    let highest = text.trim().rsplit([',', '-']).next();
    let highest: Option<u32> = highest.and_then(|number| number.parse().ok());
    highest
        .and_then(|number| number.checked_add(1))
        .with_context(|| format!("{POSSIBLE} does not say which CPUs there may be"))
}
