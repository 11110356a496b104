//! Who takes what the pipeline gives: each chooses for itself what of it is shown.
#![forbid(unsafe_code)]

mod account;
pub mod foreground;
pub mod selection;
