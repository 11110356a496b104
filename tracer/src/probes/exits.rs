//! When processes that hold listeners ended: a hook at the tracepoint `sched:sched_process_exit`
//! tells, for those that it is told of.

use anyhow::Result;
use aya::maps::{HashMap, Map, MapData};

use crate::processes;

/// Processes that are looked out for.
pub struct Exits {
    map: HashMap<MapData, u32, u64>,
}

impl Exits {
    /// Processes are looked out for in this map.
    ///
    /// # Errors
    /// If it is another kind of map.
    pub(super) fn of(map: Map) -> Result<Self> {
        let map = HashMap::try_from(map)?;
        Ok(Self { map })
    }
}

impl processes::Exits for Exits {
    fn watch(&mut self, pid: u32) {
        // Where there is no room its end is found out by looking, as without this.
        let _ = self.map.insert(pid, 0, 0);
    }

    fn ended_ns(&mut self, pid: u32) -> Option<u64> {
        let ended_ns = self.map.get(&pid, 0).ok().filter(|&ns| ns != 0)?;
        // Another may have the number next.
        let _ = self.map.remove(&pid);
        Some(ended_ns)
    }

    fn forget(&mut self, pid: u32) {
        // It may not be there.
        let _ = self.map.remove(&pid);
    }
}
