//! What is attached where, and the proof that it reads this kernel rightly.

pub mod ask;
pub mod channel;
mod counters;
pub mod drops;
pub mod exits;
pub mod holders;
pub mod loader;
pub mod maps;
pub mod measure;
mod missed;
pub mod plan;
pub mod selfcheck;
pub mod steering;
mod tracefs;
mod tracepoints;
