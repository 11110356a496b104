//! The long-running service: one session whose outlet raises alerts and counts, and what it
//! needs around it.

pub mod canary;
mod exposition;
mod keeper;
pub mod memory;
pub mod privileges;
mod reload;
mod service;
pub mod systemd;
mod view;

pub use service::run;
