//! sockpick: which listening socket did the kernel pick for this SYN, and how.
//!
//! Data flows one way: kernel → [`source`] → [`decode`] → [`pipeline`] →
//! [`outlets`] → [`sinks`]. `ARCHITECTURE.md` tells the rest.

// It panics where stderr cannot be written to.
#![cfg_attr(not(test), warn(clippy::print_stderr))]

pub mod alerts;
pub mod audit;
mod bpf;
pub mod cli;
mod clock;
pub mod commands;
pub mod config;
pub mod daemon;
#[cfg(test)]
mod damaged;
pub mod decode;
pub mod delivery;
mod doctor;
pub mod engine;
pub mod event;
mod explain;
pub mod failure;
pub mod host;
pub mod interfaces;
pub mod judge;
pub mod kernel;
pub mod kin;
pub mod listeners;
pub mod metrics;
pub mod namespaces;
pub mod netfilter;
mod otlp;
pub mod outlets;
pub mod own;
pub mod pipeline;
pub mod privileges;
pub mod probes;
pub mod processes;
pub mod recording;
pub mod remark;
pub mod routes;
pub mod rtnetlink;
pub mod session;
pub mod settings;
pub mod sinks;
mod sock_diag;
pub mod source;
pub mod stock;
mod survey;
pub mod web;
pub mod words;
