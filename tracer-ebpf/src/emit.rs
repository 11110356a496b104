//! Puts records together and counts those that did not fit.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_smp_processor_id, generated::bpf_ktime_get_ns},
    macros::map,
    maps::PerCpuArray,
};
use sockpick_ebpf::abi::{
    ABSENT, Listener, ListenerRecord, MAX_MEMBERS_SEARCHED, Stats, SynRecord, group_prog, kind,
    steer,
};

#[cfg(not(feature = "legacy"))]
use crate::suspects;
use crate::{
    compat::each,
    fields::{
        Fields, KernelPtr, config, control, field, field_if_there, pointer_if_there, two_fields,
        words,
    },
    inflight::Inflight,
    listeners::{self, Entry},
    record,
};

/// The members of the group at hand: too large for the stack.
#[map]
static MEMBERS: PerCpuArray<[u64; MAX_MEMBERS_SEARCHED]> = PerCpuArray::with_max_entries(1, 0);

/// `BPF_PROG_TYPE_UNSPEC`: a classic filter (`bpf_prog_was_classic`, include/linux/filter.h).
pub(crate) const PROG_TYPE_CLASSIC: u32 = 0;

/// The reuseport group of a chosen socket, and its place in it.
#[derive(Clone, Copy)]
struct Group {
    key: u64,
    size: u16,
    member: u16,
    prog_id: u32,
    prog: u8,
}

const NO_GROUP: Group = Group {
    key: 0,
    size: 0,
    member: u16::MAX,
    prog_id: 0,
    prog: group_prog::NONE,
};

/// Ends the lookup in the slot with the socket it got (null: none) and writes its event.
/// `fields`: how the socket's are read, where that may be for less.
#[inline(always)]
pub(crate) fn finish<C: EbpfContext>(
    ctx: &C,
    slot: &mut Inflight,
    stats: &mut Stats,
    sk: KernelPtr,
    fields: impl Fields,
    steered_by: u8,
) {
    slot.done(sk);
    let mut listener = Entry::NONE;
    let mut of = sk;
    if sk.is_null() {
        stats.refused += 1;
        of = slot.dropped_by();
    } else {
        listener = Entry::of(sk, listeners::SOFTIRQ, stats);
    }
    #[cfg(not(feature = "legacy"))]
    if suspects::excludes(slot, steered_by, sk, fields, listener.get()) {
        slot.forget_facts();
        stats.counted += 1;
        return;
    }
    let hint = listener.get().map_or(0, count);
    let mut group = NO_GROUP;
    if !of.is_null() {
        let reuse = if sk.is_null() {
            pointer_if_there!(of, sk_reuseport_cb)
        } else {
            pointer_if_there!(fields, sk_reuseport_cb)
        };
        group = group_of(slot, of, reuse, hint);
    }
    if sk.is_null() {
        // Of the group that was walked to, no member was chosen.
        group.member = u16::MAX;
    } else if group.member != hint
        && group.key != 0
        && let Some(listener) = listener.get()
    {
        listener.member_hint = group.member;
    }
    // After the search for the member, so that the verifier walks that once for all
    // that may have steered the packet.
    let steered_by = steering(slot, steered_by);
    slot.forget_facts();
    let written = record::write(
        ctx,
        #[inline(always)]
        |record| fill(record, slot, fields, steered_by, group, &mut listener),
    );
    if written {
        stats.emitted += 1;
    } else {
        stats.lost_ring += 1;
    }
}

/// Counts the SYN for its listener, in the kernel, whatever becomes of the record. Returns
/// which member of its group it was last time.
#[inline(always)]
fn count(listener: &mut Listener) -> u16 {
    // SAFETY: an aligned u64 in a live map value; other CPUs add to it the same way.
    unsafe { atomic_increment(&raw mut listener.syns) };
    listener.member_hint
}

/// BPF's atomic add without a result, which every kernel since 3.18 has. Rust's own
/// atomics are not offered on this target.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn atomic_increment(counter: *mut u64) {
    // SAFETY: the caller gives an aligned u64 in a map value; the verifier checks it.
    unsafe {
        core::arch::asm!("lock *(u64 *)({counter} + 0) += {one}",
            counter = in(reg) counter, one = in(reg) 1_u64);
    }
}

#[cfg(not(target_arch = "bpf"))]
pub(crate) unsafe fn atomic_increment(counter: *mut u64) {
    // SAFETY: the caller gives an aligned, live u64.
    unsafe { *counter += 1 };
}

/// Who chose, when the caller knows only that a lookup ended.
#[inline(always)]
pub(crate) fn steering(slot: &Inflight, steered_by: u8) -> u8 {
    if steered_by != steer::LOOKUP {
        return steered_by;
    }
    let own_facts = slot.facts_skb == slot.skb;
    if own_facts && slot.steered != 0 {
        return steer::SK_LOOKUP;
    }
    // Where the steering function is inlined (before 6.6): a lookup that ended
    // without a walk of the tables was ended by an sk_lookup program.
    if !(own_facts && slot.walked != 0) && control!(walk_known) != 0 {
        return steer::SK_LOOKUP;
    }
    steer::LOOKUP
}

#[inline(always)]
fn group_of(slot: &Inflight, sk: KernelPtr, reuse: KernelPtr, hint: u16) -> Group {
    if reuse.is_null() {
        return NO_GROUP;
    }
    let size = field!(reuse, reuse_num_socks => u16);
    let mut group = Group {
        key: reuse.0,
        size,
        ..NO_GROUP
    };
    group.member = member(reuse, sk, size, hint);
    let prog = reuse.follow(config!(off.reuse_prog));
    if !prog.is_null() {
        let aux = prog.follow_if_there(config!(off.prog_aux));
        group.prog_id = aux.read_if_there(config!(off.aux_id));
        group.prog = if field!(prog, prog_type => u32) == PROG_TYPE_CLASSIC {
            group_prog::CLASSIC
        } else if slot.facts_skb == slot.skb && slot.group_prog != 0 {
            slot.group_prog
        } else {
            group_prog::EBPF
        };
    }
    group
}

/// Index of the socket in its group: where it was last time, else by search.
/// A member that leaves is replaced by the last one, so places do change
/// (`__reuseport_detach_sock`, `net/core/sock_reuseport.c`).
#[inline(always)]
pub(crate) fn member(reuse: KernelPtr, sk: KernelPtr, size: u16, hint: u16) -> u16 {
    let socks = reuse.at(config!(off.reuse_socks).into());
    if hint < size && socks.at(u64::from(hint) * 8).load::<u64>() == sk.0 {
        return hint;
    }
    let Some(members) = MEMBERS.get_ptr_mut(0) else {
        return u16::MAX;
    };
    // SAFETY: a live map value of this CPU, which no other program uses.
    let members = unsafe { &mut *members };
    socks.copy_to(members);
    // Counts the members before the socket. Without branches: the verifier of 5.10
    // follows every path through a loop, which would take it minutes.
    let mut before = 1;
    let mut index = 0;
    each!(member of members => {
        before &= is_nonzero(member ^ sk.0);
        index += before;
    });
    if index < u64::from(size) && index < MAX_MEMBERS_SEARCHED as u64 {
        index as u16
    } else {
        u16::MAX
    }
}

/// 1 if any bit is set, else 0, as arithmetic that the compiler may not turn into a jump.
#[inline(always)]
fn is_nonzero(value: u64) -> u64 {
    opaque((value | opaque(value.wrapping_neg())) >> 63)
}

/// The value, of which the compiler knows nothing any more.
#[inline(always)]
fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    let value = {
        let mut value = value;
        // A real instruction, as one without any would get line information that
        // kernels refuse ("Invalid line_info").
        // SAFETY: copies a register to itself.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) value) };
        value
    };
    value
}

#[inline(always)]
fn fill(
    record: &mut SynRecord,
    slot: &mut Inflight,
    fields: impl Fields,
    steered_by: u8,
    group: Group,
    listener: &mut Entry,
) {
    record.kind = kind::SYN;
    record.cpu = cpu();
    slot.done_ns = now();
    record.ktime_ns = slot.done_ns;
    record.group = group.key;
    record.netns_cookie = slot.netns_cookie;
    record.netns = slot.netns;
    record.ifindex = slot.ifindex;
    record.sdif = slot.sdif;
    record.prog_id = group.prog_id;
    copy_address(&mut slot.client, &mut record.client);
    copy_address(&mut slot.destination, &mut record.destination);
    record.client_port_be = slot.client_port_be;
    record.destination_port_be = slot.destination_port_be;
    record.group_size = group.size;
    record.member = group.member;
    record.family = slot.family;
    record.steer = steered_by;
    record.group_prog = group.prog;
    record.dropped = 0;
    // Also without a listener: reads of a null pointer give zeros.
    record.bound_dev_if = field!(fields, sk_bound_dev_if => u32);
    let (length, limit) = (config!(off.sk_ack_backlog), config!(off.sk_max_ack_backlog));
    (record.queue_len, record.queue_limit) = if length == ABSENT || limit == ABSENT {
        (
            field_if_there!(fields, sk_ack_backlog => u32),
            field_if_there!(fields, sk_max_ack_backlog => u32),
        )
    } else {
        two_fields!(fields, sk_ack_backlog, sk_max_ack_backlog => u32)
    };
    // The kernel gives a socket its cookie when somebody asks for it.
    let mut cookie = 0;
    if listener.get().is_some_and(|listener| listener.cookie == 0) {
        cookie = field_if_there!(fields, sk_cookie => u64);
    }
    if let Some(listener) = listener.get() {
        if listener.cookie == 0 {
            listener.cookie = cookie;
        }
        record.has_listener = 1;
        copy(listener, &mut record.listener);
    } else {
        record.has_listener = 0;
        clear(&mut record.listener);
    }
}

/// Copies word by word: an assignment becomes a call of `memmove`, which on this
/// target goes byte by byte.
#[inline(always)]
pub(crate) fn copy(from: &Listener, to: &mut Listener) {
    // SAFETY: both are live and aligned; map value and reserved space do not overlap.
    unsafe { core::ptr::copy_nonoverlapping(from, to, 1) };
}

/// Fills with zeros word by word: an assignment becomes a call of `memset`.
#[inline(always)]
pub(crate) fn clear(listener: &mut Listener) {
    const WORDS: usize = size_of::<Listener>() / 8;
    const { assert!(size_of::<Listener>() == WORDS * 8 && align_of::<Listener>() == 8) };
    // SAFETY: same size and alignment, and zeros are a valid value of every field.
    let words = unsafe { &mut *core::ptr::from_mut(listener).cast::<[u64; WORDS]>() };
    for word in words {
        // SAFETY: an aligned u64; volatile so that the stores are not made one again.
        unsafe { core::ptr::write_volatile(word, 0) };
    }
}

#[inline(always)]
fn copy_address(from: &mut [u8; 16], to: &mut [u8; 16]) {
    let (from, to) = (words(from), words(to));
    // Not as a whole, which becomes a `memmove` again.
    let (first, second) = (from[0], from[1]);
    to[0] = first;
    to[1] = second;
}

/// `CLOCK_MONOTONIC` in nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// The CPU this runs on.
#[inline(always)]
pub(crate) fn cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_smp_processor_id() }
}

/// Writes that a listener appeared or went.
#[inline(always)]
pub(crate) fn listener_record<C: EbpfContext>(
    ctx: &C,
    what: u32,
    sk: KernelPtr,
    listener: &Listener,
    stats: &mut Stats,
) {
    let written = record::write(
        ctx,
        #[inline(always)]
        |record: &mut ListenerRecord| {
            record.kind = what;
            record.cpu = cpu();
            record.ktime_ns = now();
            record.sock = sk.0;
            record.queue_len = sk.read_if_there(config!(off.sk_ack_backlog));
            record.reserved = 0;
            copy(listener, &mut record.listener);
        },
    );
    if written {
        stats.listener_records += 1;
    } else {
        stats.lost_listener_records += 1;
    }
}
