//! What is told at the end: the sums, a line a listener, and what went wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use rustc_hash::{FxHashMap, FxHashSet};
use sockpick_ebpf::abi::{Listener, Stats};

use super::{Pipeline, Tally};
use crate::{
    audit::kin,
    event::{GroupAddress, GroupHealth, ListenerId, Owner},
    judge,
    sinks::{
        printable,
        summary::{ListenerLine, Summary, Totals},
    },
    words::{count, namespace},
};

/// Where a listener is bound, as a group's health says it.
fn place_of(tally: &Tally) -> (u32, IpAddr, u16, u32) {
    let bound = judge::bound(&tally.listener);
    let address = bound.shown_address();
    (bound.netns, address, bound.port, bound.device)
}

/// How many times its fair share a listener was given, where that is not by chance.
fn beyond_chance(health: &[GroupHealth]) -> FxHashMap<ListenerId, f64> {
    let members = health.iter().flat_map(|group| &group.members);
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    members
        .filter(|member| member.unbalanced)
        .filter_map(|member| Some((member.id?, member.syns as f64 / member.fair)))
        .collect()
}

impl Pipeline {
    /// The account of the session; `listeners` as the kernel has them now.
    pub(super) fn summary(
        &mut self,
        stats: &Stats,
        listeners: &[Listener],
        health: Vec<GroupHealth>,
        seconds: f64,
    ) -> Summary {
        for listener in listeners {
            if let Some(tally) = self.tallies.get_mut(&listener.stamp) {
                tally.listener = *listener;
            }
        }
        let by_event = self.selection.asks_about_events();
        // The kernel's counter knows nothing of what the filters left out.
        let refused = if self.filtered > 0 {
            self.refused
        } else {
            stats.refused.saturating_sub(self.own_refused)
        };
        let mixed = self.mixed();
        let health = self.of_those_shown(health);
        let over = beyond_chance(&health);
        let mut lines: Vec<ListenerLine> = self
            .tallies
            .iter()
            .map(|(stamp, tally)| ListenerLine {
                id: *stamp,
                netns: tally.listener.netns,
                netns_name: namespace(&tally.netns).into_owned(),
                endpoint: tally.endpoint.clone(),
                group: tally.group.map(|group| group.group),
                member: tally.group.and_then(|group| group.member),
                syns: tally.syns(by_event),
                over: over.get(&ListenerId(*stamp)).copied(),
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
                own: self.own_syns,
                not_shown: self.not_shown,
                refused,
                lost: self
                    .reported
                    .iter()
                    .map(|(&stage, &lost)| (stage, lost))
                    .collect(),
            },
            notes: self.notes(stats).into_iter().chain(mixed).collect(),
            verdicts: std::mem::take(&mut self.verdicts).into_iter().collect(),
            overflowed: self.overflowed,
            not_taken: self.not_taken,
            handovers: std::mem::take(&mut self.handovers).into_iter().collect(),
            listeners: lines,
            health,
        }
    }

    /// Where filters leave listeners out, the health of the others only.
    fn of_those_shown(&self, mut health: Vec<GroupHealth>) -> Vec<GroupHealth> {
        if self.filtered > 0 {
            let shown: FxHashSet<_> = self.tallies.values().map(place_of).collect();
            health.retain(|group| {
                let GroupAddress {
                    address,
                    port,
                    device,
                    ..
                } = group.listener;
                shown.contains(&(group.netns, address, port, device))
            });
        }
        health
    }

    /// Groups whose members belong to processes that have nothing in common.
    fn mixed(&mut self) -> Vec<String> {
        let mut groups: BTreeMap<u32, Vec<&Tally>> = BTreeMap::new();
        for tally in self.tallies.values() {
            if let Some(group) = tally.group
                && tally.listener.closed == 0
            {
                groups.entry(group.group).or_default().push(tally);
            }
        }
        groups.retain(|_, members| members.len() > 1);
        let mut said = Vec::new();
        for members in groups.values() {
            let owners = members.iter();
            let owners: Vec<_> = owners
                .map(|tally| self.enricher.last_owners(&tally.listener))
                .collect();
            let owners: Vec<&[Owner]> = owners.iter().map(|owners| &**owners).collect();
            let pids: Vec<u32> = owners
                .iter()
                .copied()
                .flatten()
                .map(|one| one.pid)
                .collect();
            let kin = self.enricher.kin(&pids);
            let sets = kin::sets(&owners, &kin);
            if sets.len() > 1 {
                said.push(format!(
                    "{}: the group's sockets belong to processes that have nothing in common: \
                     {}. A client reaches either; sockpick audit says more (mixed_group).",
                    members[0].endpoint,
                    kin::named(&sets, &kin)
                ));
            }
        }
        said
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
                    "{} forgotten before time: too many closed within the hold time, so some \
                     uncovered SYNs may have passed as ok.",
                    count(self.assessor.forgotten(), "closed listener")
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
                    "No line above for {} that closed long ago, with {}.",
                    count(self.dropped.listeners, "listener"),
                    count(self.dropped.syns, "SYN")
                ),
            ),
            (
                stats.lost_handovers,
                format!(
                    "Not looked at, as the buffer between kernel and sockpick was full: {} that may have come to another \
                     listener than the SYN.",
                    count(stats.lost_handovers, "connection")
                ),
            ),
            (
                stats.dropped_full,
                format!(
                    "Told as ok without not_taken, as too many came at once: {} dropped after the \
                     lookup.",
                    count(stats.dropped_full, "SYN")
                ),
            ),
            (
                self.malformed,
                format!(
                    "{} could not be read, counted as lost in the queue.",
                    count(self.malformed, "record")
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
                netns_name: namespace(&last.netns).into_owned(),
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
