//! What is told at the end: the sums, a line a listener, and what went wrong.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    event::{GroupHealth, ListenerId},
    judge,
    pipeline::{Account, Holders, Snapshot, Tally},
    sinks::summary::{ListenerLine, Summary, Totals},
    words::{bound_at, count, namespace, program},
};

/// A session, and what was shown of it.
pub(super) struct Shown<'a> {
    pub(super) session: &'a Snapshot,
    pub(super) account: &'a Account,
    pub(super) holders: &'a Holders,
    /// SYNs shown, and left out by filters.
    pub(super) syns: u64,
    pub(super) filtered: u64,
    /// What is no alert is left out.
    pub(super) only_alerts: bool,
    /// Listeners have the SYNs shown, and not all that the kernel counted.
    pub(super) by_event: bool,
    pub(super) own_netns: u32,
}

/// Where a listener is bound, as it is to be shown.
fn endpoint(tally: &Tally) -> String {
    let address = judge::bound_address(&tally.listener);
    bound_at(address, tally.listener.port, tally.device.as_deref())
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

impl Shown<'_> {
    pub(super) fn summary(&self, seconds: f64) -> Summary {
        let health = self.health();
        let mut listeners = self.lines(&beyond_chance(&health));
        listeners.extend(self.idle_members());
        Summary {
            own_netns: self.own_netns,
            seconds,
            totals: self.totals(),
            verdicts: self.account.verdicts.clone().into_iter().collect(),
            overflowed: self.account.overflowed,
            not_taken: self.account.not_taken,
            handovers: self.account.handovers.clone().into_iter().collect(),
            listeners,
            health,
            notes: self.notes().into_iter().chain(self.mixed()).collect(),
        }
    }

    fn totals(&self) -> Totals {
        let Snapshot {
            stats, own, lost, ..
        } = self.session;
        // The kernel's counter knows nothing of what the filters left out.
        let refused = if self.filtered > 0 {
            self.account.refused
        } else {
            stats.refused.saturating_sub(own.1)
        };
        Totals {
            syns: stats.syns,
            shown: self.syns,
            filtered: self.filtered,
            own: own.0,
            not_shown: self.session.unjudged,
            refused,
            lost: lost.iter().map(|(&stage, &lost)| (stage, lost)).collect(),
        }
    }

    fn lines(&self, over: &FxHashMap<ListenerId, f64>) -> Vec<ListenerLine> {
        let tallies = self.account.listeners.iter();
        let line = |(&id, tally): (&u64, &Tally)| ListenerLine {
            id,
            netns: tally.listener.netns,
            netns_name: namespace(&tally.netns).into_owned(),
            endpoint: endpoint(tally),
            group: tally.group.map(|group| group.group),
            member: tally.group.and_then(|group| group.member),
            syns: if self.by_event {
                tally.syns
            } else {
                tally.listener.syns
            },
            over: over.get(&ListenerId(id)).copied(),
            queue: Some(tally.queue),
            owner: self
                .holders
                .of
                .get(&id)
                .map_or_else(String::new, |owner| owner.as_ref().to_owned()),
            closed: tally.listener.closed != 0,
        };
        tallies.map(line).collect()
    }

    /// Where filters leave listeners out, the health of the others only.
    fn health(&self) -> Vec<GroupHealth> {
        if self.only_alerts {
            return Vec::new();
        }
        let mut health = self.session.health.clone();
        if self.filtered > 0 {
            let tallies = self.account.listeners.values();
            let shown: FxHashSet<_> = tallies
                .map(|tally| {
                    let bound = judge::bound(&tally.listener);
                    let address = bound.shown_address();
                    (bound.netns, address, bound.port, bound.device)
                })
                .collect();
            health.retain(|group| {
                let at = &group.listener;
                shown.contains(&(group.netns, at.address, at.port, at.device))
            });
        }
        health
    }

    /// Groups whose members belong to processes that have nothing in common.
    fn mixed(&self) -> impl Iterator<Item = String> {
        let mixed = self.holders.mixed.iter();
        mixed.filter_map(|(member, holders)| {
            let tally = self.account.listeners.get(member)?;
            Some(format!(
                "{}: the group's sockets belong to processes that have nothing in common: \
                 {holders}. A client reaches either; sockpick audit says more (mixed_group).",
                endpoint(tally)
            ))
        })
    }

    fn notes(&self) -> Vec<String> {
        let Snapshot {
            stats,
            bounds,
            malformed,
            ..
        } = self.session;
        let programs = self.account.programs.iter();
        let programs: Vec<String> = programs.map(|(id, name)| program(*id, name)).collect();
        let long_gone = self.account.long_gone;
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
                bounds.closings.beyond,
                format!(
                    "{} forgotten before time: too many closed within the hold time, so some \
                     uncovered SYNs may have passed as ok.",
                    count(bounds.closings.beyond, "closed listener")
                ),
            ),
            (
                bounds.steered.beyond,
                format!(
                    "{} steered SYNs went to more destinations than sockpick remembers: should \
                     their target close, those that fall through pass as ok.",
                    bounds.steered.beyond
                ),
            ),
            (
                bounds.groups.beyond,
                "More listeners than sockpick watches the health of: some groups are missing from \
                 it."
                .to_owned(),
            ),
            (
                long_gone.listeners,
                format!(
                    "No line above for {} that closed long ago, with {}.",
                    count(long_gone.listeners, "listener"),
                    count(
                        if self.by_event {
                            long_gone.syns
                        } else {
                            long_gone.counted
                        },
                        "SYN"
                    )
                ),
            ),
            (
                self.account.untallied,
                format!(
                    "No line above for {}: too many listeners.",
                    count(self.account.untallied, "SYN")
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
                *malformed,
                format!(
                    "{} could not be read, counted as lost in the queue.",
                    count(*malformed, "record")
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
        let tallies = self.account.listeners.values();
        for tally in tallies.filter(|tally| tally.listener.closed == 0) {
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
                endpoint: endpoint(last),
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
