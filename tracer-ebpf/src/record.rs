//! The way of a record to user space: a ring buffer where the kernel has one (5.8), else a
//! perf buffer per CPU.

#[cfg(feature = "legacy")]
#[path = "record/perf.rs"]
mod way;
#[cfg(not(feature = "legacy"))]
#[path = "record/ring.rs"]
mod way;

pub(crate) use way::write;
