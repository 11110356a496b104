//! One ring buffer for all CPUs.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP},
    macros::map,
    maps::RingBuf,
};

use crate::fields::config;

/// The size is set when the object is loaded.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Writes the record that `fill` puts together; false if there is no room for it. `fill` sets
/// every field: the space holds what was there before.
#[inline(always)]
pub(crate) fn write<T: 'static, C: EbpfContext>(_ctx: &C, fill: impl FnOnce(&mut T)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` points to reserved space of exactly this type, which this
    // program alone owns until it submits it.
    fill(unsafe { &mut *record });
    entry.submit(wake_flags());
    true
}

/// The kernel wakes the reader on the first record after it caught up; past that
/// the reader sleeps out its flush interval, unless the buffer fills up.
#[inline(always)]
fn wake_flags() -> u64 {
    if EVENTS.query(BPF_RB_AVAIL_DATA.into()) >= u64::from(config!(wake_bytes)) {
        BPF_RB_FORCE_WAKEUP.into()
    } else {
        0
    }
}
