//! What flows to a sink.

use serde::Serialize;

use super::{handover::Handover, health::GroupHealth, syn::Event};

/// Says that events were lost: an event of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// How many.
    pub lost: u64,
    /// Where.
    pub stage: Stage,
}

/// Where an event may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A probe was missed: the SYN was counted but its result not seen.
    Kernel,
    /// The ring buffer between kernel and user space was full.
    Queue,
    /// The output did not take it.
    Sink,
}

/// What flows to a sink.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are SYNs: a box for each would cost more"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A SYN.
    Syn(Event),
    /// A loss.
    Lost(Lost),
    /// A group's session.
    Health(Box<GroupHealth>),
    /// A connection that another listener got than its SYN.
    Handover(Box<Handover>),
}
