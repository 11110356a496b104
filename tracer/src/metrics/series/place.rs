//! What is counted for all sockets that are bound to one place.

use std::{collections::BTreeMap, sync::Arc};

use crate::event::{Match, Queue, Reuseport, Via};

/// Series that a place has from the beginning: length and limit of the queue, overflows.
pub(crate) const AT_FIRST: usize = 3;

/// A place that listeners are, or were, bound to.
#[derive(Debug)]
pub(crate) struct Place {
    /// Name of its namespace.
    pub(crate) netns: Arc<str>,
    /// Where it is, as `ss` writes it.
    pub(crate) listener: Arc<str>,
    /// SYNs by how they came there: few, so that looking through them is quick.
    pub(crate) syns: Vec<((Match, Via), u64)>,
    /// SYNs that met a full accept queue.
    pub(crate) overflows: u64,
    /// Queue of the last SYN's socket: what is told while no socket is known. `None`: whose it
    /// was is not looked at any more.
    pub(crate) queue: Option<Queue>,
    /// The reuseport group there, if there is one.
    pub(crate) group: Option<Group>,
    /// Sockets bound there that have not closed.
    pub(crate) sockets: u32,
    /// When the last SYN came, or the last socket closed, whichever was later.
    pub(crate) last_ns: u64,
}

/// A reuseport group.
#[derive(Debug)]
pub(crate) struct Group {
    /// What it is called.
    pub(crate) name: Arc<str>,
    /// Members when the last SYN came.
    pub(crate) size: u16,
    /// SYNs by index of the member; `None`: of those that are not searched for.
    pub(crate) members: BTreeMap<Option<u16>, u64>,
}

impl Place {
    pub(crate) fn new(netns: Arc<str>, listener: Arc<str>, queue: Queue) -> Self {
        Self {
            netns,
            listener,
            syns: Vec::new(),
            overflows: 0,
            queue: Some(queue),
            group: None,
            sockets: 0,
            last_ns: 0,
        }
    }

    /// How many series it has.
    pub(crate) fn series(&self) -> usize {
        let group = self
            .group
            .as_ref()
            .map_or(0, |group| 1 + group.members.len());
        AT_FIRST + self.syns.len() + group
    }

    /// So many SYNs came so.
    pub(crate) fn syn(&mut self, how: (Match, Via), syns: u64, room: &mut Room) {
        if let Some((_, count)) = self.syns.iter_mut().find(|(known, _)| *known == how) {
            *count += syns;
        } else if room.take(1) {
            self.syns.push((how, syns));
        }
    }

    /// A member of the group here was given so many SYNs.
    pub(crate) fn member(&mut self, of: Reuseport, syns: u64, room: &mut Room) {
        let Reuseport { size, member, .. } = of;
        if self.group.is_none() && room.take(1) {
            self.group = Some(Group {
                name: format!("{}/{}", self.netns, self.listener).into(),
                size,
                members: BTreeMap::new(),
            });
        }
        let Some(group) = &mut self.group else {
            return;
        };
        group.size = size;
        if let Some(count) = group.members.get_mut(&member) {
            *count += syns;
        } else if room.take(1) {
            group.members.insert(member, syns);
        }
    }
}

/// How many series there are, and may be.
#[derive(Debug)]
pub(crate) struct Room {
    used: usize,
    most: usize,
    /// Times that there was none.
    beyond: u64,
}

impl Room {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            used: 0,
            most,
            beyond: 0,
        }
    }

    /// Takes room for so many series; if there is none, that is counted.
    pub(crate) fn take(&mut self, series: usize) -> bool {
        let fits = self.used + series <= self.most;
        if fits {
            self.used += series;
        } else {
            self.beyond += 1;
        }
        fits
    }

    /// There was none, as was found out before.
    pub(crate) fn missed(&mut self) {
        self.beyond += 1;
    }

    pub(crate) fn free(&mut self, series: usize) {
        self.used = self.used.saturating_sub(series);
    }

    pub(crate) fn allow(&mut self, most: usize) {
        self.most = most;
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn beyond(&self) -> u64 {
        self.beyond
    }
}
