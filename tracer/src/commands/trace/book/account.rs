//! What is told at the end: the sums, a line a listener, and what went wrong.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::{Listener, Stats};

use super::{Book, Tally};
use crate::{
    event::GroupHealth,
    sinks::{
        printable,
        summary::{ListenerLine, Summary, Totals},
    },
};

impl Book<'_> {
    /// The account of the session; `listeners` as the kernel has them now.
    pub(in crate::commands::trace) fn summary(
        mut self,
        stats: &Stats,
        listeners: &[(u64, Listener)],
        health: Vec<GroupHealth>,
        seconds: f64,
    ) -> Summary {
        for (_, listener) in listeners {
            if let Some(tally) = self.tallies.get_mut(&listener.stamp) {
                tally.listener = *listener;
            }
        }
        let by_event = self.asks_about_events();
        let mut lines: Vec<ListenerLine> = self
            .tallies
            .values()
            .map(|tally| ListenerLine {
                netns: tally.listener.netns,
                endpoint: tally.endpoint.clone(),
                group: tally.group.map(|group| group.group),
                member: tally.group.and_then(|group| group.member),
                syns: tally.syns(by_event),
                queue: tally.queue,
                owner: tally
                    .owner
                    .clone()
                    .unwrap_or_else(|| self.enricher.told(&tally.listener)),
                closed: tally.listener.closed != 0,
            })
            .collect();
        lines.extend(self.idle_members());
        Summary {
            seconds,
            totals: Totals {
                syns: stats.syns,
                shown: self.shown,
                filtered: self.filtered,
                not_shown: self.not_shown,
                refused: stats.refused,
                lost: self
                    .reported
                    .iter()
                    .map(|(&stage, &lost)| (stage, lost))
                    .collect(),
            },
            notes: self.notes(stats),
            verdicts: self.verdicts.into_iter().collect(),
            overflowed: self.overflowed,
            handovers: self.handovers.into_iter().collect(),
            listeners: lines,
            health,
        }
    }

    fn notes(&self, stats: &Stats) -> Vec<String> {
        let programs = self.programs.iter();
        let programs: Vec<String> = programs
            .map(|(id, name)| format!("{id} {}", printable(name)))
            .collect();
        let told = [
            (
                programs.len() as u64,
                format!(
                    "Programs that were attached where SYNs were steered or dropped: {}.",
                    programs.join(", ")
                ),
            ),
            (
                stats.listeners_full,
                "More listeners than sockpick keeps: some have no lasting id.".to_owned(),
            ),
            (
                self.assessor.forgotten(),
                format!(
                    "{} closed listeners were forgotten before their time: too many closed within \
                     the hold time, so some uncovered SYNs may have passed as ok.",
                    self.assessor.forgotten()
                ),
            ),
            (
                self.assessor.untaught(),
                format!(
                    "{} steered SYNs went to more destinations than sockpick remembers: should \
                     their target close, those that fall through pass as ok.",
                    self.assessor.untaught()
                ),
            ),
            (
                self.health.unwatched(),
                "More listeners than sockpick watches the health of: some groups are missing from \
                 it."
                .to_owned(),
            ),
            (
                self.dropped.listeners,
                format!(
                    "{} listeners that closed long ago have no line above; they were given {} SYNs.",
                    self.dropped.listeners, self.dropped.syns
                ),
            ),
            (
                stats.lost_handovers,
                format!(
                    "{} connections that may have come to another listener than their SYN were \
                     not looked at: the ring buffer was full.",
                    stats.lost_handovers
                ),
            ),
            (
                self.malformed,
                format!(
                    "{} records could not be read; they are counted as lost in the queue.",
                    self.malformed
                ),
            ),
        ];
        let told = told.into_iter().filter(|&(count, _)| count > 0);
        told.map(|(_, text)| text).collect()
    }

    /// Members of the groups seen that got no SYN: without them a group would look
    /// better balanced than it is.
    fn idle_members(&self) -> Vec<ListenerLine> {
        let mut groups: FxHashMap<u32, (&Tally, BTreeSet<u16>)> = FxHashMap::default();
        for tally in self
            .tallies
            .values()
            .filter(|tally| tally.listener.closed == 0)
        {
            if let Some(group) = tally.group {
                let (last, seen) = groups
                    .entry(group.group)
                    .or_insert_with(|| (tally, BTreeSet::new()));
                seen.extend(group.member);
                if tally.last_ns > last.last_ns {
                    *last = tally;
                }
            }
        }
        let idle = |(number, (last, seen)): (u32, (&Tally, BTreeSet<u16>))| {
            let size = last.group.map_or(0, |group| group.size);
            let line = ListenerLine {
                netns: last.listener.netns,
                endpoint: last.endpoint.clone(),
                group: Some(number),
                ..ListenerLine::default()
            };
            (0..size)
                .filter(move |member| !seen.contains(member))
                .map(move |member| ListenerLine {
                    member: Some(member),
                    ..line.clone()
                })
        };
        groups.into_iter().flat_map(idle).collect()
    }
}
