//! What this kernel is, and what it allows.

pub mod algorithm;
pub mod btf;
pub mod features;
pub mod offsets;
pub mod preflight;
pub mod symbols;
