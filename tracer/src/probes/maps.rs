//! The maps by which programs and user space speak while they run, taken out of the object
//! once.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData},
};
use sockpick_ebpf::abi::{Config, Control, Listener, level, maps};

use super::object::Abi;

/// A namespace number that no namespace has: nothing is recorded.
pub(super) const NOBODY: u32 = u32::MAX;
/// Stands for all namespaces: what passes the filters is recorded.
pub(super) const EVERYBODY: u32 = 0;

/// They are taken before the programs are loaded, and have to be kept until those are.
pub(super) struct Maps {
    control: Array<MapData, Abi<Control>>,
    /// Of which SYNs there is to be a record, of those that pass the filters.
    pub(super) level: u32,
    listeners: HashMap<MapData, u64, Abi<Listener>>,
    /// The buffer that the programs write to, until it is taken.
    pub(super) events: Option<Map>,
    /// What was dropped after its lookup, until it is taken.
    pub(super) dropped: Option<Map>,
    /// Which processes hold listeners, until it is taken.
    pub(super) holders: Option<Map>,
}

impl Maps {
    /// Takes them out of the object; `legacy`: the one for old kernels.
    ///
    /// # Errors
    /// If the object lacks one.
    pub(super) fn take(ebpf: &mut Ebpf, legacy: bool) -> Result<Self> {
        let control = if legacy {
            maps::LEGACY_CONTROL
        } else {
            maps::CONTROL
        };
        let mut take = |name| {
            let map = ebpf.take_map(name);
            map.with_context(|| format!("no map {name} in the object"))
        };
        Ok(Self {
            level: level::ALL,
            control: Array::try_from(take(control)?)?,
            listeners: HashMap::try_from(take(maps::LISTENERS)?)?,
            events: Some(take(maps::EVENTS)?),
            dropped: Some(take(maps::DROPPED)?),
            holders: Some(take(maps::HOLDERS)?),
        })
    }

    /// Tells the programs which namespace's SYNs to record ([`NOBODY`], [`EVERYBODY`]), one
    /// whose SYNs pass the filters (0: none), and whether they know if the table was walked.
    ///
    /// # Errors
    /// If the kernel refuses the change.
    pub(super) fn record(
        &mut self,
        only_netns: u32,
        also_netns: u32,
        walk_known: bool,
    ) -> Result<()> {
        let control = Abi(Control {
            only_netns,
            walk_known: u32::from(walk_known),
            also_netns,
            // A self-check wants all of its own.
            level: if only_netns == EVERYBODY {
                self.level
            } else {
                level::ALL
            },
        });
        let set = self.control.set(0, control, 0);
        set.context("cannot set what is recorded")
    }

    /// Every listener the programs know, with its address as key.
    pub(super) fn listeners(&self) -> Vec<(u64, Listener)> {
        // An entry that goes while the map is walked is skipped.
        let entries = self.listeners.iter().flatten();
        entries
            .map(|(sock, Abi(listener))| (sock, listener))
            .collect()
    }

    /// Forgets a closed listener, and gives its last state. Nothing happens if its
    /// place was taken by another since.
    ///
    /// # Errors
    /// If the kernel refuses to remove it.
    pub(super) fn forget_listener(&mut self, sock: u64, stamp: u64) -> Result<Option<Listener>> {
        match self.listeners.get(&sock, 0) {
            Ok(Abi(listener)) if listener.stamp == stamp && listener.closed != 0 => {
                self.listeners.remove(&sock)?;
                Ok(Some(listener))
            }
            _ => Ok(None),
        }
    }
}

/// Tells the programs for old kernels, which have no globals, their configuration.
///
/// # Errors
/// If the kernel refuses it.
pub(super) fn configure(ebpf: &mut Ebpf, config: Abi<Config>) -> Result<()> {
    let map = ebpf.map_mut(maps::CONFIG);
    let map = map.with_context(|| format!("no map {} in the object", maps::CONFIG))?;
    let mut map: Array<_, Abi<Config>> = Array::try_from(map)?;
    map.set(0, config, 0)
        .context("cannot set the configuration")
}
