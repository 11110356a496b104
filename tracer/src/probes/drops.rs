//! SYNs that the kernel dropped after their lookup, before `tcp_conn_request`: a hook at the
//! tracepoint `skb:kfree_skb` tells, and each is told with its own record.

use anyhow::Result;
use aya::maps::{HashMap, Map, MapData};
use rustc_hash::FxHashSet;
use sockpick_ebpf::abi::{Dropped, SynRecord};

use super::object::Abi;
use crate::clock::monotonic_ns;

/// What has no record by then (it was lost) is forgotten.
const KEPT_NS: u64 = 10_000_000_000;

/// What was dropped, and was not yet told.
pub struct Drops {
    /// `None` where the kernel does not tell.
    map: Option<HashMap<MapData, Abi<Dropped>, u32>>,
    known: FxHashSet<Dropped>,
    /// `CLOCK_MONOTONIC` ns: everything dropped before is known.
    read_ns: u64,
}

impl Drops {
    /// Reads what was dropped from the map; from none where the kernel does not tell.
    ///
    /// # Errors
    /// If it is another kind of map.
    pub(super) fn of(map: Option<Map>) -> Result<Self> {
        Ok(Self {
            map: map.map(HashMap::try_from).transpose()?,
            known: FxHashSet::default(),
            read_ns: 0,
        })
    }

    /// Says in the record whether its SYN was dropped. The kernel drops it some microseconds
    /// after it wrote the record: who reads it sooner than that does not see it.
    pub fn mark(&mut self, record: &mut SynRecord) {
        if record.has_listener == 0 || self.map.is_none() {
            return;
        }
        if record.ktime_ns >= self.read_ns {
            self.read();
        }
        if self.known.is_empty() {
            record.dropped = 0;
            return;
        }
        let key = Dropped {
            ktime_ns: record.ktime_ns,
            cpu: record.cpu,
            reserved: 0,
        };
        record.dropped = u32::from(self.known.remove(&key));
    }

    fn read(&mut self) {
        let Some(map) = &mut self.map else { return };
        self.read_ns = monotonic_ns();
        let found: Vec<Dropped> = map.keys().flatten().map(|Abi(key)| key).collect();
        for key in &found {
            // Nobody else removes any.
            let _ = map.remove(&Abi(*key));
        }
        let oldest = self.read_ns.saturating_sub(KEPT_NS);
        self.known.retain(|key| key.ktime_ns >= oldest);
        self.known.extend(found);
    }
}
