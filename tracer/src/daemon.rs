//! The long-running service: one session whose outlet raises alerts and counts, and what it
//! needs around it.

mod canary;
mod exposition;
mod inventory;
mod keeper;
mod level;
mod looks;
mod memory;
mod names;
mod outside;
mod pushing;
mod reload;
mod remarks;
mod service;
mod systemd;
mod view;
mod waits;

pub use service::run;
