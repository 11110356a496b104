//! What the pipeline knows at a time, as a value: taking it asks nobody, changes nothing, and
//! may be done as often as one likes.

use std::collections::BTreeMap;

use sockpick_ebpf::abi::Stats;

use super::account::Account;
use crate::{
    event::{GroupHealth, Stage},
    judge::Limit,
};

/// The session until now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the programs counted, as of the last batch's end.
    pub stats: Stats,
    /// Everything that was judged.
    pub account: Account,
    /// SYNs of a sockpick's own, and those of them without a listener.
    pub own: (u64, u64),
    /// SYNs that came when nobody wanted more: they were not judged.
    pub unjudged: u64,
    /// SYNs lost, by stage.
    pub lost: BTreeMap<Stage, u64>,
    /// Records that could not be read: they are among the lost.
    pub malformed: u64,
    /// How the groups fared; interfaces have no names.
    pub health: Vec<GroupHealth>,
    /// What is bounded, and how full it is.
    pub bounds: Bounds,
}

/// What is bounded in the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Listeners that closed within the hold time.
    pub closings: Limit,
    /// Destinations of steered SYNs.
    pub steered: Limit,
    /// Groups and listeners whose health is watched.
    pub groups: Limit,
    /// Listeners with a tally.
    pub listeners: Limit,
    /// Those of them that closed.
    pub closed: Limit,
}
