//! What each CPU has of its own: the SYN that it looks up right now, and what happened on it, in
//! numbers.

#[cfg(feature = "legacy")]
#[path = "percpu/apart.rs"]
mod way;
#[cfg(not(feature = "legacy"))]
#[path = "percpu/row.rs"]
mod way;

pub(crate) use way::{inflight, own, stats};
