//! Proves, before anything is reported, that the programs read this kernel rightly:
//! connections over loopback in a private namespace, of which everything is known.

use std::thread;

use anyhow::{Context as _, Result};
use log::debug;
use sockpick_ebpf::abi::Stats;

use super::{
    channel::Channel,
    programs::Programs,
    trial::{LOOK_INTERVAL, LOOKS, TRIES},
};
use crate::{
    decode::{self, Record},
    failure::Failure,
};

mod bench;
mod compare;

use bench::Bench;
use compare::Seen;

/// Runs the check. On success the programs are ready to record.
///
/// # Errors
/// A [`Failure`] with exit code 3 that says which field was read wrongly.
pub fn run(programs: &mut Programs, channel: &mut Channel) -> Result<()> {
    let mut wrong = String::new();
    for _ in 0..TRIES {
        match check(programs, channel)? {
            Ok(()) => return Ok(()),
            Err(what) => wrong = what,
        }
        debug!("the self-check: {wrong}");
    }
    Err(Failure::environment(format!(
        "the self-check failed: {wrong}. sockpick does not read this kernel's structures \
         rightly, so it reports nothing. If --btf was given, the file is not this kernel's."
    ))
    .into())
}

/// One try; says what was read wrongly.
fn check(programs: &mut Programs, channel: &mut Channel) -> Result<Result<(), String>> {
    // What an earlier try left.
    channel.drain(|_| ());
    let bench = Bench::open().context("the self-check cannot make its namespace")?;
    programs.record_only(bench.netns)?;
    let before = programs.stats()?;
    let cases = bench
        .connect()
        .context("the self-check cannot connect to itself")?;
    // The namespace is gone, and the next one made may get its number.
    programs.record_nothing()?;
    let mut seen = Seen::default();
    for _ in 0..LOOKS {
        channel.drain(|bytes| match decode::record(bytes) {
            Ok(Record::Syn(record)) => seen.syns.push(record),
            Ok(Record::Listen(record)) => seen.listeners.push(record.listener),
            Ok(Record::Close(_) | Record::Handover(_)) | Err(_) => {}
        });
        if seen.syns.len() >= cases.len() {
            break;
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(if seen.syns.is_empty() {
        Err(nothing_seen(&before, &programs.stats()?))
    } else {
        compare::all(&cases, &seen)
    })
}

/// Which structure is to blame when no event came at all: the programs count why
/// they passed over a packet.
fn nothing_seen(before: &Stats, after: &Stats) -> String {
    let rose = |field: fn(&Stats) -> u64| field(after) > field(before);
    let suspect = if rose(|stats| stats.filtered) {
        "net.ns.inum (the namespace was not recognised)"
    } else if rose(|stats| stats.other_stage) {
        "sk_buff.data or sk_buff.network_header (the packet was not recognised as received)"
    } else if rose(|stats| stats.not_syn) {
        "sk_buff.head or sk_buff.transport_header (the SYN was not recognised)"
    } else if rose(|stats| stats.no_skb) {
        "the skb argument of the lookup (no packet was found)"
    } else {
        "the lookup itself (its hook did not run)"
    };
    format!("no event came for its connections; suspect: {suspect}")
}
