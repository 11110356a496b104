//! Tells the programs which SYNs are right, so that they write no record of them: in memory that
//! both share, as a system call on a map has the kernel skip kprobe programs
//! (`bpf_disable_instrumentation`, `include/linux/bpf.h`).

use std::{
    os::fd::AsFd as _,
    slice,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use anyhow::{Context as _, Result, bail};
use aya::{EbpfLoader, maps::Map};
use memmap2::{MmapOptions, MmapRaw};
use sockpick_ebpf::abi::{MAX_RIGHT, PORTS, Port, Right, maps, rights};

use crate::judge::right;

/// Of which SYNs the programs write a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Of all.
    All,
    /// Of those that may be an alert. By the programs for old kernels: of all.
    Suspects,
}

/// Words of a row.
const ROW: usize = size_of::<Right>() / size_of::<u64>();
/// Words of a port.
const PORT: usize = size_of::<Port>() / size_of::<u64>();
// Places of the words in a row.
const STAMP: usize = 0;
const GENERATION: usize = 1;
const SYNS: usize = 2;
const BUT: usize = 3;

/// What the programs know to be right.
pub struct Rights {
    rows: MmapRaw,
    ports: MmapRaw,
}

/// Makes room for what is to be told.
pub(super) fn size(loader: &mut EbpfLoader<'_>, level: Level) {
    if level == Level::Suspects {
        loader
            .map_max_entries(maps::RIGHT, MAX_RIGHT)
            .map_max_entries(maps::PORTS, PORTS);
    }
}

impl Rights {
    /// Of the maps of an object that was loaded with room for it.
    ///
    /// # Errors
    /// If the kernel refuses to have them mapped.
    pub(super) fn of(rows: &Map, ports: &Map) -> Result<Self> {
        Ok(Self {
            rows: mapped(rows, MAX_RIGHT as usize * size_of::<Right>())?,
            ports: mapped(ports, PORTS as usize * size_of::<Port>())?,
        })
    }

    /// How often somebody came or went at a port, in the programs' count.
    #[must_use]
    pub fn generation(&self, port: u16) -> u64 {
        let generation = words(&self.ports)[usize::from(port) * PORT].load(Ordering::Acquire);
        fence(Ordering::SeqCst);
        generation
    }

    /// From now on the programs write no record of these SYNs of a listener, until somebody comes
    /// or goes at its port after this `generation` of it. `None`: of each there is one.
    pub fn set(&self, stamp: u64, generation: u64, right: Option<&right::Right>) {
        let (first, second) = self.both(stamp);
        let is = |row: &[AtomicU64], stamp| row[STAMP].load(Ordering::Relaxed) == stamp;
        let own = [first, second].into_iter().find(|row| is(row, stamp));
        let Some(right) = right else {
            if let Some(row) = own {
                free(row);
            }
            return;
        };
        let free_one = || [first, second].into_iter().find(|row| is(row, 0));
        // Where both are taken, the listener has a record of each SYN.
        let Some(row) = own.or_else(free_one) else {
            return;
        };
        row[GENERATION].store(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let (syns, but) = written(right);
        row[SYNS].store(syns, Ordering::Relaxed);
        for (word, bits) in row[BUT..].iter().zip(but) {
            word.store(bits, Ordering::Relaxed);
        }
        row[STAMP].store(stamp, Ordering::Relaxed);
        row[GENERATION].store(generation.wrapping_add(1), Ordering::Release);
    }

    fn both(&self, stamp: u64) -> (&[AtomicU64], &[AtomicU64]) {
        let row = |number: u32| &words(&self.rows)[number as usize * ROW..][..ROW];
        let first = Right::row(stamp);
        (row(first), row(first ^ 1))
    }
}

fn free(row: &[AtomicU64]) {
    row[GENERATION].store(0, Ordering::Relaxed);
    row[STAMP].store(0, Ordering::Release);
}

fn written(right: &right::Right) -> (u64, [u64; 4]) {
    let mut bits = [0; 4];
    match right {
        right::Right::Exact => (rights::EXACT, bits),
        right::Right::AnyBut(addresses) => {
            for address in addresses {
                // As the words lie in memory, where the programs read them.
                let [first, second] = bytemuck::cast(address.octets());
                let bit = Right::bit([first, second]);
                bits[bit as usize / 64] |= 1 << (bit % 64);
            }
            (rights::ANY, bits)
        }
    }
}

fn mapped(map: &Map, bytes: usize) -> Result<MmapRaw> {
    let Map::Array(data) = map else {
        bail!("no array for what the programs are told");
    };
    MmapOptions::new()
        .len(bytes)
        .map_raw(&data.fd().as_fd())
        .context("cannot map what the programs are told")
}

fn words(rows: &MmapRaw) -> &[AtomicU64] {
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins with a page")]
    let start = rows.as_ptr().cast::<AtomicU64>();
    // SAFETY: as long as the mapping, which may be written, and alive as long as it is. The
    // programs read and write the words one at a time, too.
    unsafe { slice::from_raw_parts(start, rows.len() / size_of::<AtomicU64>()) }
}
