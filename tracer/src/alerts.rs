//! Alerts: which wrong thing lasts, since when, and what of it is to be told. Pure: SYNs and the
//! time go in, notices come out; who sends them is not known here.
#![forbid(unsafe_code)]

mod active;
mod alert;
mod found;
mod groups;
mod identity;
mod life;
pub mod message;
mod recovery;
mod sight;
pub mod state;
#[cfg(test)]
mod tests;
pub mod totals;

pub use active::Alerts;
pub use alert::{
    Alert, Evidence, Found, GroupPlace, Identity, Notice, Now, Occasion, Report, Resolution,
    Sample, Situation, State,
};
pub use life::SHORTEST;
pub use sight::Sight;
