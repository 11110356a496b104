//! What the kernel holds: programs, maps, links, BTF objects, kprobe events. Compared
//! before and after a run of sockpick.

use std::collections::BTreeSet;

use anyhow::Result;

use super::BpfCommand;
use super::sys::next_id;

/// Everything a tracer could leave behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    /// Each as `program 12`, `map 7`, …
    all: BTreeSet<String>,
}

impl Objects {
    /// What there is now.
    pub(crate) fn now() -> Result<Self> {
        let mut all = BTreeSet::new();
        for (name, command) in [
            ("program", BpfCommand::ProgNextId),
            ("map", BpfCommand::MapNextId),
            ("link", BpfCommand::LinkNextId),
            ("BTF object", BpfCommand::BtfNextId),
        ] {
            let mut id = 0;
            while let Some(next) = next_id(command, id)? {
                all.insert(format!("{name} {next}"));
                id = next;
            }
        }
        for file in ["kprobe_events", "uprobe_events", "dynamic_events"] {
            let path = format!("/sys/kernel/tracing/{file}");
            // Not every kernel has each.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            all.extend(text.lines().map(|line| format!("{file}: {line}")));
        }
        for folder in ["/run/netns", "/run/sockpick", "/sys/fs/bpf", "/tmp"] {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            all.extend(entries.map(|entry| format!("file {}", entry.path().display())));
        }
        Ok(Self { all })
    }

    /// What is here and not there.
    pub(crate) fn beyond(&self, other: &Self) -> Vec<String> {
        self.all.difference(&other.all).cloned().collect()
    }
}
