//! Tells the programs which SYNs are right, so that they write no record of them, and reads how
//! many there were: in memory that both share, as a system call on a map has the kernel skip kprobe programs
//! (`bpf_disable_instrumentation`, `include/linux/bpf.h`).

use std::{
    mem::offset_of,
    os::fd::AsFd as _,
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use anyhow::{Context as _, Result, bail};
use aya::{EbpfLoader, maps::Map};
use memmap2::{MmapOptions, MmapRaw};
use sockpick_ebpf::abi::{MAX_MET, MAX_RIGHT, PORTS, Port, Right, maps, rights};

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
const STAMP: usize = offset_of!(Right, stamp) / size_of::<u64>();
const AS_OF: usize = offset_of!(Right, as_of) / size_of::<u64>();
const BUT: usize = offset_of!(Right, but) / size_of::<u64>();
const RECORD: usize = offset_of!(Right, record) / size_of::<u64>();
const COUNTED: usize = offset_of!(Right, counted) / size_of::<u64>();
// And of those of a port; the second has two halves, of which user space writes one.
const GENERATION: usize = offset_of!(Port, generation) / size_of::<u64>();
const REFUSED: usize = offset_of!(Port, refused) / size_of::<u64>();

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
            .map_max_entries(maps::PORTS, PORTS)
            .map_max_entries(maps::MET, MAX_MET);
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
        let generation = self.port(port)[GENERATION].load(Ordering::Acquire);
        fence(Ordering::SeqCst);
        generation
    }

    /// Takes back what was said of the listeners at a port: there is a record of each SYN again.
    pub fn doubt(&self, port: u16) {
        // The programs add to it the same way.
        self.port(port)[GENERATION].fetch_add(1, Ordering::SeqCst);
    }

    /// From now on the programs write no record of these SYNs of a listener, until somebody comes
    /// or goes at its port after this `generation` of it, and count them. `None`: of each there is
    /// a record.
    pub fn set(&self, stamp: u64, generation: u64, right: Option<&right::Right>) {
        let own = self.row(stamp);
        let Some(right) = right else {
            if let Some(row) = own {
                row[AS_OF].store(0, Ordering::Release);
            }
            return;
        };
        // Where both are taken, the listener has a record of each SYN.
        let Some(row) = own.or_else(|| self.free_row(stamp)) else {
            return;
        };
        row[AS_OF].store(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let (syns, but) = written(right);
        for (word, bits) in row[BUT..].iter().zip(but) {
            word.store(bits, Ordering::Relaxed);
        }
        row[STAMP].store(stamp, Ordering::Relaxed);
        row[AS_OF].store(rights::as_of(generation, syns), Ordering::Release);
    }

    /// Of the next SYN of a listener there is a record all the same.
    pub fn record_next(&self, stamp: u64) {
        if let Some(row) = self.row(stamp) {
            row[RECORD].store(1, Ordering::Relaxed);
        }
    }

    /// SYNs of a listener that were counted: over IPv4, over IPv6.
    #[must_use]
    pub fn counted(&self, stamp: u64) -> [u64; 2] {
        self.row(stamp).map_or([0; 2], counted)
    }

    /// No SYN can reach a listener any more; those that were counted.
    #[must_use]
    pub fn leave(&self, stamp: u64) -> [u64; 2] {
        let Some(row) = self.row(stamp) else {
            return [0; 2];
        };
        row[AS_OF].store(0, Ordering::Relaxed);
        row[STAMP].store(0, Ordering::Release);
        let counted = counted(row);
        for word in &row[RECORD..] {
            word.store(0, Ordering::Relaxed);
        }
        counted
    }

    /// SYNs to a port that nobody got and that were counted.
    #[must_use]
    pub fn refused(&self, port: u16) -> u64 {
        self.port(port)[REFUSED].load(Ordering::Relaxed)
    }

    /// From now on SYNs to a port that nobody gets in a namespace (its inode number) are counted
    /// and not recorded; 0: in none.
    pub fn count_refused(&self, port: u16, netns: u32) {
        refused_in(&self.ports, port).store(netns, Ordering::Release);
    }

    /// The row of a listener.
    fn row(&self, stamp: u64) -> Option<&[AtomicU64]> {
        let is_own = |row: &&[AtomicU64]| row[STAMP].load(Ordering::Relaxed) == stamp;
        self.both(stamp).into_iter().find(is_own)
    }

    fn free_row(&self, stamp: u64) -> Option<&[AtomicU64]> {
        let is_free = |row: &&[AtomicU64]| row[STAMP].load(Ordering::Relaxed) == 0;
        self.both(stamp).into_iter().find(is_free)
    }

    fn both(&self, stamp: u64) -> [&[AtomicU64]; 2] {
        let row = |number: u32| &words(&self.rows)[number as usize * ROW..][..ROW];
        let first = Right::row(stamp);
        [row(first), row(first ^ 1)]
    }

    fn port(&self, port: u16) -> &[AtomicU64] {
        &words(&self.ports)[usize::from(port) * PORT..][..PORT]
    }
}

fn counted(row: &[AtomicU64]) -> [u64; 2] {
    [COUNTED, COUNTED + 1].map(|word| row[word].load(Ordering::Relaxed))
}

fn written(right: &right::Right) -> (u64, [u64; 3]) {
    let mut bits = [0; 3];
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

/// [`Port::refused_in`]
fn refused_in(ports: &MmapRaw, port: u16) -> &AtomicU32 {
    let place = usize::from(port) * size_of::<Port>() + offset_of!(Port, refused_in);
    assert!(place < ports.len(), "there is a row for each port");
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins with a page")]
    // SAFETY: inside of the mapping, by the line above.
    let word = unsafe { ports.as_ptr().add(place) }.cast::<AtomicU32>();
    // SAFETY: aligned and alive as long as the mapping; the programs only read it, and nobody here
    // takes it together with the other half of its word.
    unsafe { &*word }
}

fn words(rows: &MmapRaw) -> &[AtomicU64] {
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins with a page")]
    let start = rows.as_ptr().cast::<AtomicU64>();
    // SAFETY: as long as the mapping, which may be written, and alive as long as it is. The
    // programs read and write the words one at a time, too.
    unsafe { slice::from_raw_parts(start, rows.len() / size_of::<AtomicU64>()) }
}
