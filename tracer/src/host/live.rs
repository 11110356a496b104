//! The running machine.

use std::sync::Arc;

use sockpick_ebpf::abi::Listener;

use super::{Host, Then, whose::Whose};
use crate::{
    clock::{boottime_ns, monotonic_ns},
    event::{Netns, Owner, Program},
    kin::Kin,
    namespaces::Namespaces,
    own::Own,
    probes::steering::{Attachment, Steering},
    processes::{self, Exits, Holders},
};

/// Asks /proc, netlink and the BPF system call.
pub struct Live {
    namespaces: Namespaces,
    whose: Whose,
    steering: Steering,
    /// Tells what this sockpick does, and others beside it.
    own: Own,
}

impl Live {
    /// Starts with nothing known.
    #[must_use]
    pub fn new(own: Own) -> Self {
        Self {
            namespaces: Namespaces::default(),
            whose: Whose::hurried(),
            steering: Steering::default(),
            own,
        }
    }

    /// Has this tell when processes end.
    pub fn told_by(&mut self, exits: Box<dyn Exits>) {
        self.whose.processes.told_by(exits);
    }

    /// Has this tell who holds what.
    pub fn shown_by(&mut self, holders: Box<dyn Holders>) {
        self.whose.processes.shown_by(holders);
    }

    /// Looks for the owners of these sockets in one go.
    pub fn prepare(&mut self, inodes: impl Iterator<Item = u64>) {
        self.whose.processes.prepare(inodes);
    }

    /// Why owners may not be seen, if so.
    #[must_use]
    pub fn blindness(&self) -> Option<String> {
        processes::blindness(self.whose.processes.hidden())
    }
}

impl Host for Live {
    fn begin_batch(&mut self) {
        self.whose.begin_batch(monotonic_ns(), boottime_ns());
        self.namespaces.refresh();
    }

    fn netns(&mut self, inode: u32, cookie: u64) -> Arc<Netns> {
        self.namespaces.describe(inode, cookie)
    }

    fn interface(&mut self, netns: u32, index: u32) -> Option<Arc<str>> {
        self.namespaces.interface(netns, index)
    }

    fn l3mdev_accept(&mut self, netns: u32) -> bool {
        self.namespaces.l3mdev_accept(netns)
    }

    fn programs(&mut self, place: Attachment) -> Arc<[Program]> {
        self.steering.programs(place, &mut self.namespaces)
    }

    fn opened(&mut self, listener: &Listener, ktime_ns: u64) {
        self.whose.opened(listener, ktime_ns);
    }

    fn forget(&mut self, listener: &Listener) {
        self.whose.forget(listener);
    }

    fn whose(&mut self, listener: &Listener, ktime_ns: u64) -> Then {
        self.whose.at(listener, ktime_ns)
    }

    fn is_settled(&self, listener: &Listener) -> bool {
        self.whose.is_settled(listener)
    }

    fn recheck(&mut self, listener: &Listener) {
        self.whose.recheck(listener);
    }

    fn look_again(&mut self, listener: &Listener) {
        self.whose.look_again(listener);
    }

    fn living(&mut self, inode: u64) -> Arc<[Owner]> {
        let processes = &mut self.whose.processes;
        processes.living(inode, processes.oldest())
    }

    fn last_owners(&mut self, listener: &Listener) -> Arc<[Owner]> {
        self.whose.last(listener)
    }

    fn told(&mut self, listener: &Listener) -> String {
        self.whose.told(listener)
    }

    fn settle(&mut self) {
        self.whose.settle();
    }

    fn kin(&mut self, pids: &[u32]) -> Kin {
        processes::kin(pids.iter().copied())
    }

    fn is_own(&mut self, netns: u32, cookie: u64, ifindex: Option<u32>, ktime_ns: u64) -> bool {
        match ifindex {
            Some(ifindex) => self.own.sent(netns, cookie, ifindex, ktime_ns),
            None => self.own.did(netns, cookie, ktime_ns),
        }
    }
}
