//! What is not as it should be in a group, a sentence each.

use super::Summary;
use crate::{
    event::{GroupHealth, MemberHealth},
    words::{bound_at, count, printable},
};

impl Summary {
    /// Of all groups.
    pub(super) fn healthy(&self) -> Vec<String> {
        let tagged = self.tagged();
        let said = |group| {
            let at = if tagged {
                format!("{} in {}", named(group), self.namespace(group))
            } else {
                named(group)
            };
            healthy(group, &at)
        };
        self.health.iter().flat_map(said).collect()
    }

    fn namespace(&self, group: &GroupHealth) -> String {
        let mut lines = self.listeners.iter();
        let line = lines.find(|line| line.netns == group.netns && !line.netns_name.is_empty());
        line.map_or_else(
            || group.netns.to_string(),
            |line| printable(&line.netns_name).into_owned(),
        )
    }
}

/// Where it is bound.
fn named(group: &GroupHealth) -> String {
    let bound = &group.listener;
    let unnamed = (bound.device != 0).then(|| format!("if{}", bound.device));
    let device = bound.device_name.as_deref().or(unnamed.as_deref());
    bound_at(bound.address, bound.port, device)
}

fn healthy(group: &GroupHealth, at: &str) -> Vec<String> {
    let mut said = Vec::new();
    for member in group.members.iter().filter(|member| member.unbalanced) {
        let name = member
            .id
            .map_or_else(|| "that was given none".to_owned(), |id| id.to_string());
        said.push(format!(
            "{at}: member {name} was given {}, its fair share is {:.0}: more than four standard \
             deviations off, so not by chance.",
            count(member.syns, "SYN"),
            member.fair
        ));
    }
    let short = group.members.iter().filter(|member| member.short_lived);
    let short: Vec<&MemberHealth> = short.collect();
    if !short.is_empty() {
        let taken = short.iter().map(|member| member.syns).sum();
        said.push(format!(
            "{at}: {} came and went within ten seconds, and got {} meanwhile.",
            count(short.len() as u64, "member"),
            count(taken, "SYN")
        ));
    }
    if group.destroyed > 0 {
        said.push(format!(
            "{at}: {} in the accept queue of a listener when it closed; the kernel resets what waits \
             there, unless net.ipv4.tcp_migrate_req is set (Linux 5.14).",
            count(group.destroyed, "connection")
        ));
    }
    said
}
