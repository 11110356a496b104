//! The summary's table: a line for each listener, those of one group together, and those that
//! closed in one line for each place.

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use super::{ListenerLine, Summary, share};
use crate::{
    event::Queue,
    words::{self, printable},
};

/// A line of the table; what is empty in all lines is not written.
type Row = [String; TITLES.len()];
const TITLES: [&str; 6] = ["LISTENER", "SYNS", "SHARE", "QUEUE", "NETNS", "OWNER"];

/// Closed listeners from which on they share a line.
const FOLDED: usize = 2;

/// The listeners of one address: a single one, the members of a group, or all that closed.
struct Address<'a> {
    members: Vec<&'a ListenerLine>,
    syns: u64,
}

impl Summary {
    pub(super) fn table(&self, f: &mut fmt::Formatter<'_>, known: u64) -> fmt::Result {
        let addresses = self.addresses();
        if addresses.is_empty() {
            return Ok(());
        }
        let tagged = self.tagged();
        let mut rows = Vec::new();
        for address in &addresses {
            address.rows(&mut rows, known, tagged);
        }
        words::columns(f, TITLES, 1..=4, &rows)?;
        writeln!(f)
    }

    /// Whether there are listeners of other namespaces than the one that goes without saying.
    pub(super) fn tagged(&self) -> bool {
        let own = self.own_netns;
        self.listeners.iter().any(|line| line.netns != own)
    }

    /// Busiest first.
    fn addresses(&self) -> Vec<Address<'_>> {
        let mut by_key: BTreeMap<_, Vec<&ListenerLine>> = BTreeMap::new();
        for (index, line) in self.listeners.iter().enumerate() {
            let alone = line.group.is_none().then_some(index);
            let key = (line.netns, &line.endpoint, line.group, alone);
            by_key.entry(key).or_default().push(line);
        }
        let mut closed: BTreeMap<_, Vec<&ListenerLine>> = BTreeMap::new();
        by_key.retain(|&(netns, endpoint, ..), members| {
            let open = members.iter().any(|line| !line.closed);
            if !open {
                closed.entry((netns, endpoint)).or_default().append(members);
            }
            open
        });
        let mut addresses: Vec<_> = by_key
            .into_values()
            .chain(closed.into_values())
            .map(Address::of)
            .collect();
        addresses.sort_by_key(|address| Reverse(address.syns));
        addresses
    }
}

impl<'a> Address<'a> {
    fn of(mut members: Vec<&'a ListenerLine>) -> Self {
        members.sort_by_key(|line| (line.closed, line.member.is_none(), line.member, line.id));
        let syns = members.iter().map(|line| line.syns).sum();
        Self { members, syns }
    }

    fn rows(&self, rows: &mut Vec<Row>, known: u64, tagged: bool) {
        let Some(first) = self.members.first() else {
            return;
        };
        let name = printable(&first.endpoint).into_owned();
        let netns = if !tagged {
            String::new()
        } else if first.netns_name.is_empty() {
            first.netns.to_string()
        } else {
            first.netns_name.clone()
        };
        let total = share(self.syns, known);
        let alone = first.group.is_none() || first.closed;
        if alone && let [only] = self.members.as_slice() {
            rows.push(row(name, only, total, netns));
            return;
        }
        let (open, closed) = self.open_and_closed();
        if open.is_empty() {
            rows.push(folded(name, closed, total, netns));
            return;
        }
        let syns = self.syns.to_string();
        let about = about(open);
        rows.push([name, syns, total, String::new(), netns.clone(), about]);
        let part = |syns| share(syns, self.syns);
        for member in open {
            let part = part(member.syns);
            rows.push(row(place(member), member, part, netns.clone()));
        }
        if closed.len() >= FOLDED {
            let part = part(closed.iter().map(|line| line.syns).sum());
            rows.push(folded("  [-]".to_owned(), closed, part, netns));
        } else if let [member] = closed {
            let part = part(member.syns);
            rows.push(row(place(member), member, part, netns));
        }
    }

    fn open_and_closed(&self) -> (&[&'a ListenerLine], &[&'a ListenerLine]) {
        let open = self.members.partition_point(|line| !line.closed);
        self.members.split_at(open)
    }
}

/// The size of a group, and its balance where that is not by chance.
fn about(open: &[&ListenerLine]) -> String {
    let members = words::count(open.len() as u64, "member");
    let most = open.iter().filter_map(|line| line.over);
    match most.max_by(f64::total_cmp) {
        Some(over) if over > 1.0 => format!("{members}, busiest {over:.1}x its fair share"),
        _ => members,
    }
}

/// The place of a member in its group.
fn place(line: &ListenerLine) -> String {
    match line.member {
        Some(index) => format!("  [{index}]"),
        None => "  [?]".to_owned(),
    }
}

/// One line for listeners that closed.
fn folded(name: String, closed: &[&ListenerLine], share: String, netns: String) -> Row {
    let syns: u64 = closed.iter().map(|line| line.syns).sum();
    let many = words::count(closed.len() as u64, "closed listener");
    let last = closed.iter().max_by_key(|line| line.id);
    let owner = last.map(|line| printable(&line.owner)).unwrap_or_default();
    let about = if owner.is_empty() {
        many
    } else {
        format!("{many}, the last of {owner}")
    };
    [name, syns.to_string(), share, String::new(), netns, about]
}

fn row(name: String, line: &ListenerLine, share: String, netns: String) -> Row {
    let queue = line.queue.map_or_else(String::new, |queue| {
        let Queue { length, limit } = queue;
        format!("{length}/{limit}")
    });
    let owner = printable(&line.owner);
    let owner = match (owner.is_empty(), line.closed) {
        (true, true) => "- (closed)".to_owned(),
        (false, true) => format!("{owner} (closed)"),
        (_, false) => owner.into_owned(),
    };
    [name, line.syns.to_string(), share, queue, netns, owner]
}
