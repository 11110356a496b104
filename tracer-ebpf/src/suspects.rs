//! Which SYNs may be an alert: all but those that user space said to be right of their listener,
//! as of all openings and closings at its port.
//!
//! A listener leaves the table after the generation of its port went up, so no SYN that finds
//! another in its place is taken to be right by what was known before.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use sockpick_ebpf::abi::{Listener, Port, Right, level, rights, steer};

use crate::{
    emit::{self, atomic_increment},
    fields::{KernelPtr, field, words},
    filter,
    inflight::Inflight,
};

// The sizes are set when the object is loaded: of one row where everything is recorded.
#[map]
static RIGHT: Array<Right> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static PORTS: Array<Port> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// To be called before and after the record of a listener that comes or goes.
#[inline(always)]
pub(crate) fn changed(port: u16) {
    if let Some(port) = PORTS.get_ptr_mut(port.into()) {
        // SAFETY: a live map value.
        let generation = unsafe { &raw mut (*port).generation };
        // SAFETY: an aligned u64 in it.
        unsafe { atomic_increment(generation) };
    }
}

/// Whether the SYN in the slot cannot be an alert. `sk`: who got it, null: nobody; `listener`:
/// its entry.
/// `steered_by`: as the caller of [`emit::finish`] knows it.
#[inline(always)]
pub(crate) fn excludes(
    slot: &mut Inflight,
    steered_by: u8,
    sk: KernelPtr,
    listener: Option<&mut Listener>,
) -> bool {
    let Some(control) = filter::control() else {
        return false;
    };
    if control.level != level::SUSPECTS || control.also_netns == slot.netns {
        return false;
    }
    let number = u16::from_be(slot.destination_port_be);
    let Some(port) = PORTS.get_ptr_mut(number.into()) else {
        return false;
    };
    // SAFETY: a live map value, whose words are written one at a time.
    let port = unsafe { &mut *port };
    let steered_by = emit::steering(slot, steered_by);
    if steered_by != steer::LOOKUP {
        if steered_by != steer::UNSEEN {
            port.steered = 1;
        }
        return false;
    }
    if port.steered != 0 {
        return false;
    }
    // Nobody got it, which is no alert.
    if sk.is_null() {
        return true;
    }
    let Some(listener) = listener else {
        return false;
    };
    let Some(right) = row(listener.stamp) else {
        return false;
    };
    if right.generation != port.generation.wrapping_add(1) || listener.port != number {
        return false;
    }
    // Bound to a device since it opened, or come through a VRF.
    if slot.sdif != 0 || field!(sk, sk_bound_dev_if => u32) != 0 {
        return false;
    }
    let destination = words(&mut slot.destination);
    if right.syns == rights::ANY {
        let bit = Right::bit(*destination);
        return right.but[(bit >> 6 & 3) as usize] >> (bit & 63) & 1 == 0;
    }
    let address = words(&mut listener.addr);
    right.syns == rights::EXACT && address[0] == destination[0] && address[1] == destination[1]
}

#[inline(always)]
fn row(stamp: u64) -> Option<&'static Right> {
    let first = Right::row(stamp);
    let mut row = RIGHT.get(first)?;
    if row.stamp != stamp {
        row = RIGHT.get(first ^ 1)?;
    }
    (row.stamp == stamp).then_some(row)
}
