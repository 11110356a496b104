//! Everything that is asked of the machine while SYNs are judged, behind one trait: the running
//! machine ([`live`]), the same with every answer written down ([`noted`]), or the answers of
//! another time ([`recorded`]).

pub mod answers;
pub mod live;
mod named;
pub mod noted;
pub mod recorded;
#[cfg(test)]
pub(crate) mod unknown;
mod whose;

use std::sync::Arc;

use sockpick_ebpf::abi::Listener;

use crate::{
    event::{self, Netns, Owner, Process, Program},
    kin::Kin,
    probes::steering::Attachment,
};

/// Whose a listener was when a SYN came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// Who held it.
    pub owners: Arc<[Owner]>,
    /// Nobody, as it is the kernel's own.
    pub in_kernel: bool,
    /// Who took the last connection.
    pub accepted_by: Option<Process>,
    /// Who called `listen()`.
    pub opened_by: Option<Process>,
}

impl From<&event::Listener> for Then {
    fn from(listener: &event::Listener) -> Self {
        Self {
            owners: listener.owners.clone(),
            in_kernel: listener.in_kernel,
            accepted_by: listener.accepted_by.clone(),
            opened_by: listener.opened_by.clone(),
        }
    }
}

/// Answers what records do not say. Answers are of now, or of a moment ago.
pub trait Host {
    /// A batch of records begins: what was known may have changed.
    fn begin_batch(&mut self);

    /// The namespace as it goes into an event. A cookie of 0 is none.
    fn netns(&mut self, inode: u32, cookie: u64) -> Arc<Netns>;

    /// Name of an interface of a namespace.
    fn interface(&mut self, netns: u32, index: u32) -> Option<Arc<str>>;

    /// Whether unbound listeners of the namespace take packets of every VRF.
    fn l3mdev_accept(&mut self, netns: u32) -> bool;

    /// Programs that are attached there, in the order they run; none where the kernel does not
    /// tell.
    fn programs(&mut self, place: Attachment) -> Arc<[Program]>;

    /// A listener appeared.
    fn opened(&mut self, listener: &Listener, ktime_ns: u64);

    /// A listener went: nothing of it needs to be remembered.
    fn forget(&mut self, listener: &Listener);

    /// Whose a listener is, for a SYN that it was given.
    fn whose(&mut self, listener: &Listener, ktime_ns: u64) -> Then;

    /// Whether [`Host::whose`] says the same of the listener whatever the time of the SYN, until
    /// the next batch or until it is looked at anew.
    fn is_settled(&self, _: &Listener) -> bool {
        false
    }

    /// What [`Host::whose`] said of the listener of a SYN before is said again of one that is like
    /// it, without being asked: who writes answers down has to know.
    fn said_again(&mut self, _: &Listener, _: &event::Listener) {}

    /// Looks whether those who hold the listener still do.
    fn recheck(&mut self, listener: &Listener);

    /// Looks for holders of the listener among all processes.
    fn look_again(&mut self, listener: &Listener);

    /// Who holds the socket with this inode number.
    fn living(&mut self, inode: u64) -> Arc<[Owner]>;

    /// Who held a listener last, as far as that is known without looking.
    fn last_owners(&mut self, listener: &Listener) -> Arc<[Owner]>;

    /// Whose a listener is, as it is to be shown at the end.
    fn told(&mut self, listener: &Listener) -> String;

    /// Looks once more who holds the listeners that SYNs came to.
    fn settle(&mut self);

    /// What is known of processes beside what they hold.
    fn kin(&mut self, pids: &[u32]) -> Kin;

    /// Whether what happened in the namespace at that time was a sockpick's doing; of a SYN, with
    /// the interface that it came by.
    fn is_own(&mut self, netns: u32, cookie: u64, ifindex: Option<u32>, ktime_ns: u64) -> bool;
}
