//! Which SYNs may be an alert: all but those that user space said to be right of their listener,
//! as of all openings and closings at its port.
//!
//! A listener leaves the table after the generation of its port went up, so no SYN that finds
//! another in its place is taken to be right by what was known before.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray},
};
use sockpick_ebpf::abi::{
    Listener, Met, Port, Right, Stats, filter as wanted, level, rights, steer,
};

use crate::{
    emit::{self, atomic_increment},
    fields::{Fields, KernelPtr, config, control, field, field_if_there, mapped, words},
    hooks::lookup::V6,
    inflight::{Inflight, state},
    listeners,
};

// The sizes are set when the object is loaded: of one row where everything is recorded.
#[map]
static RIGHT: Array<Right> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static PORTS: Array<Port> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Listeners that a CPU met lately, by where their `struct sock` is: a SYN that is right costs no
/// look-up in a hash.
#[map]
static MET: PerCpuArray<Met> = PerCpuArray::with_max_entries(1, 0);

/// Whether there are records of nothing but suspects, in all namespaces.
#[inline(always)]
pub(crate) fn are_wanted() -> bool {
    control!(level) == level::SUSPECTS && control!(only_netns) == 0
}

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

/// Whether the SYN in the slot cannot be an alert; if so, it is counted. `sk`: who got it, null:
/// nobody; `listener`: its entry.
/// `steered_by`: as the caller of [`emit::finish`] knows it.
#[inline(always)]
pub(crate) fn excludes(
    slot: &mut Inflight,
    steered_by: u8,
    sk: KernelPtr,
    fields: impl Fields,
    listener: Option<&mut Listener>,
) -> bool {
    if control!(level) != level::SUSPECTS || control!(also_netns) == slot.netns {
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
        let is_counted = port.refused_in == slot.netns;
        if is_counted {
            // SAFETY: an aligned u64 in a live map value.
            unsafe { atomic_increment(&raw mut port.refused) };
        }
        return is_counted;
    }
    let Some(listener) = listener else {
        return false;
    };
    let Some((_, right)) = row(listener.stamp) else {
        return false;
    };
    let destination = words(&mut slot.destination);
    let syns = if right.as_of == rights::as_of(port.generation, rights::ANY) {
        let bit = Right::bit(*destination);
        right.but[(bit / 64) as usize] >> (bit & 63) & 1 == 0
    } else if right.as_of == rights::as_of(port.generation, rights::EXACT) {
        let address = words(&mut listener.addr);
        address[0] == destination[0] && address[1] == destination[1]
    } else {
        false
    };
    if !syns || listener.port != number || is_special(slot, fields) {
        return false;
    }
    if right.record != 0 {
        right.record = 0;
        return false;
    }
    count(slot, right);
    true
}

/// As [`excludes`], for a packet that was not read, which `tcp_conn_request` takes on the listener
/// that its lookup ended with: whether such a SYN cannot be an alert, whatever else the packet has.
///
/// It has the listener's port and, where that is bound to one, its address (`compute_score`,
/// `net/ipv4/inet_hashtables.c`).
#[inline(always)]
pub(crate) fn excludes_unread(
    slot: &mut Inflight,
    stats: &mut Stats,
    sk: KernelPtr,
    fields: impl Fields,
) -> bool {
    let Some(met) = met(sk) else {
        return false;
    };
    // There was a record of a SYN to the listener's port, so that passes.
    if config!(filters) & !wanted::PORTS != 0 || control!(also_netns) == met.netns {
        return false;
    }
    let Some(port) = PORTS.get(met.port.into()) else {
        return false;
    };
    if port.steered != 0 || emit::steering(slot, steer::LOOKUP) != steer::LOOKUP {
        return false;
    }
    let Some(right) = RIGHT.get_ptr_mut(met.row) else {
        return false;
    };
    // SAFETY: a live map value, whose words are written one at a time.
    let right = unsafe { &mut *right };
    let syns = if right.as_of == rights::as_of(port.generation, rights::ANY) {
        right.but[0] | right.but[1] | right.but[2] == 0
    } else if right.as_of == rights::as_of(port.generation, rights::EXACT) {
        met.is_any == 0
    } else {
        // Another listener may have its place.
        met.sock = 0;
        false
    };
    if right.stamp != met.stamp {
        met.sock = 0;
        return false;
    }
    if !syns || right.record != 0 || is_special(slot, fields) {
        return false;
    }
    count(slot, right);
    slot.state = state::IDLE;
    slot.forget_facts();
    slot.forget_netfilter();
    stats.syns += 1;
    stats.counted += 1;
    true
}

/// What is known of a listener that has a row, as of when this CPU met it. Should it have closed,
/// and another one have its place, the generation of its port went up, or the row has another
/// stamp.
#[inline(always)]
fn met(sk: KernelPtr) -> Option<&'static mut Met> {
    let met = MET.get_ptr_mut(Met::place(sk.0))?;
    // SAFETY: a live map value of this CPU, which no program takes twice at a time.
    let met = unsafe { &mut *met };
    if met.sock == sk.0 {
        return Some(met);
    }
    let listener = listeners::known(sk)?;
    if listener.closed != 0 {
        return None;
    }
    let (row, _) = row(listener.stamp)?;
    *met = Met {
        sock: sk.0,
        stamp: listener.stamp,
        row,
        netns: listener.netns,
        port: listener.port,
        is_any: u16::from(is_any(&mut listener.addr)),
        reserved: 0,
    };
    Some(met)
}

/// `0.0.0.0` or `::`
#[inline(always)]
fn is_any(address: &mut [u8; 16]) -> bool {
    let address = words(address);
    address[0] == 0 && (address[1] == 0 || *address == mapped([0; 4]))
}

/// Whether more counts than who listens where. `fields`: those of the listener.
#[inline(always)]
fn is_special(slot: &Inflight, fields: impl Fields) -> bool {
    // Bound to a device since it opened, or come through a VRF.
    if slot.sdif != 0 || field!(fields, sk_bound_dev_if => u32) != 0 {
        return true;
    }
    // A full accept queue drops it.
    let length = field_if_there!(fields, sk_ack_backlog => u32);
    length != 0 && length > field_if_there!(fields, sk_max_ack_backlog => u32)
}

#[inline(always)]
fn count(slot: &Inflight, right: &mut Right) {
    let family = usize::from(slot.family == V6);
    // SAFETY: an aligned u64 in a live map value.
    unsafe { atomic_increment(&raw mut right.counted[family]) };
}

/// The row of a listener, and its number.
#[inline(always)]
fn row(stamp: u64) -> Option<(u32, &'static mut Right)> {
    let mut number = Right::row(stamp);
    let mut row = RIGHT.get_ptr_mut(number)?;
    // SAFETY: a live map value, whose words are written one at a time.
    if unsafe { (*row).stamp } != stamp {
        number ^= 1;
        row = RIGHT.get_ptr_mut(number)?;
    }
    // SAFETY: as above.
    let row = unsafe { &mut *row };
    (row.stamp == stamp).then_some((number, row))
}
