//! What is attached where, and the proof that it reads this kernel rightly.

pub mod ask;
pub mod attach;
pub mod channel;
mod counters;
pub mod drops;
pub mod examine;
pub mod exits;
pub mod filters;
pub mod holders;
pub mod hooks;
mod links;
mod maps;
pub mod measure;
mod missed;
pub(crate) mod object;
pub mod plan;
pub mod programs;
pub mod refusal;
pub mod rights;
pub mod selfcheck;
pub mod steering;
mod tracefs;
mod tracepoints;
mod trial;
