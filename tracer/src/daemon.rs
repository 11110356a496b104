//! The long-running service: one session whose outlet raises alerts and counts, and what it
//! needs around it.

pub mod canary;
pub mod memory;
pub mod privileges;
pub mod systemd;
