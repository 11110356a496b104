//! A perf buffer per CPU.

use aya_ebpf::{
    EbpfContext,
    macros::map,
    maps::{PerCpuArray, PerfEventByteArray},
};
use sockpick_ebpf::abi::MAX_RECORD;

#[map]
static EVENTS: PerfEventByteArray = PerfEventByteArray::new(0);

/// Where a record is put together: the stack has no room for it.
#[map]
static RECORD: PerCpuArray<[u64; MAX_RECORD / 8]> = PerCpuArray::with_max_entries(1, 0);

/// Writes the record that `fill` puts together.
///
/// Always true: before 5.1 the kernel does not say whether there was room (56201969114f).
/// User space knows by what arrived.
#[inline(always)]
pub(crate) fn write<T: 'static, C: EbpfContext>(ctx: &C, fill: impl FnOnce(&mut T)) -> bool {
    const { assert!(size_of::<T>() <= MAX_RECORD && align_of::<T>() <= 8) };
    if let Some(space) = RECORD.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU, large and aligned enough for the type, as
        // asserted; programs on kprobes do not nest on a CPU.
        let record = unsafe { &mut *space.cast::<T>() };
        fill(record);
        let start = core::ptr::from_ref(record).cast();
        // SAFETY: the same bytes, every one of them initialized.
        let bytes = unsafe { core::slice::from_raw_parts(start, size_of::<T>()) };
        EVENTS.output(ctx, bytes, 0);
    }
    true
}
