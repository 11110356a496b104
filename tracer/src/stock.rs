//! Taking stock: the listeners as they are now, and what is written of them that was not read
//! yet. SYNs are judged as of their own time, so a listener that is not listed counts as gone
//! only if no closing of its is still to come.
#![forbid(unsafe_code)]

use rustc_hash::FxHashSet;

use crate::{
    decode::Record,
    judge::rules::Bound,
    listeners::{Inventory, Listening},
};

/// The listeners as they are now.
#[derive(Debug, Default)]
pub struct Stock {
    /// What the kernel lists.
    pub inventory: Inventory,
    /// `CLOCK_MONOTONIC` ns at which the listing was done.
    pub done_ns: u64,
    /// Namespace and inode number of those whose closing, or opening, is written and not read.
    closing: FxHashSet<(u32, u64)>,
    opening: FxHashSet<(u32, u64)>,
    listed: FxHashSet<(u32, u64)>,
}

/// Whoever can tell what is there now.
pub trait TakeStock {
    /// Asks the kernel, and looks at what is written and not read yet.
    fn take_stock(&mut self) -> Stock;
}

impl Stock {
    /// Of an inventory that was done then.
    #[must_use]
    pub fn new(inventory: Inventory, done_ns: u64) -> Self {
        let listed = inventory.listeners.iter();
        let listed = listed.map(|listening| (listening.bound.netns, listening.inode));
        Self {
            listed: listed.collect(),
            inventory,
            done_ns,
            ..Self::default()
        }
    }

    /// Namespace and inode number of those whose closing, and whose opening, is yet to be read.
    #[must_use]
    pub fn announced(&self) -> [Vec<(u32, u64)>; 2] {
        let sorted = |set: &FxHashSet<(u32, u64)>| {
            let mut all: Vec<_> = set.iter().copied().collect();
            all.sort_unstable();
            all
        };
        [&self.closing, &self.opening].map(sorted)
    }

    /// The same stock, with these yet to be read.
    #[must_use]
    pub fn with_announced(mut self, closing: Vec<(u32, u64)>, opening: Vec<(u32, u64)>) -> Self {
        self.closing = closing.into_iter().collect();
        self.opening = opening.into_iter().collect();
        self
    }

    /// A record that is written and not read yet.
    pub fn announce(&mut self, record: &Record) {
        let (of, listener) = match record {
            Record::Listen(record) => (&mut self.opening, record.listener),
            Record::Close(record) => (&mut self.closing, record.listener),
            Record::Syn(_) | Record::Handover(_) => return,
        };
        of.insert((listener.netns, listener.inode));
    }

    /// Whether a listener that was there may be there still, or its closing is yet to be read.
    /// A hook writes a closing before the socket leaves the table, so what is not listed and not
    /// announced had no record.
    #[must_use]
    pub fn may_be_there(&self, bound: &Bound, inode: u64) -> bool {
        let name = (bound.netns, inode);
        inode == 0
            || !self.inventory.asked.contains(&bound.netns)
            || self.listed.contains(&name)
            || self.closing.contains(&name)
    }

    /// Listeners whose opening is not yet to be read.
    pub fn settled(&self) -> impl Iterator<Item = &Listening> {
        let listeners = self.inventory.listeners.iter();
        listeners.filter(|one| !self.opening.contains(&(one.bound.netns, one.inode)))
    }
}
