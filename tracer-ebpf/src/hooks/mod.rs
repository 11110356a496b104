//! One file per thing that happens to a SYN or a listener. Each body serves every
//! mechanism: fexit sees arguments and result at once, a kprobe and kretprobe
//! pair sees them one after the other.

pub(crate) mod accept;
#[cfg(not(feature = "legacy"))]
pub(crate) mod ask;
pub(crate) mod calls;
pub(crate) mod drops;
pub(crate) mod exits;
pub(crate) mod handover;
#[cfg(not(feature = "legacy"))]
pub(crate) mod holders;
pub(crate) mod listen;
pub(crate) mod lookup;
#[cfg(feature = "legacy")]
pub(crate) mod peek;
pub(crate) mod request;
pub(crate) mod reuseport;
pub(crate) mod steer;
