//! A machine whose answers change.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};
use sockpick_ebpf::abi::Listener;

use crate::{
    event::{Netns, Owner, Process, Program},
    host::{Host, Then},
    kin::Kin,
    probes::steering::Attachment,
};

/// What is so, and what the host knows of it: as of the batch's beginning, or of a look.
#[derive(Default)]
pub(super) struct World {
    pub(super) is_settled: bool,
    pub(super) holder: u32,
    known: FxHashMap<u64, u32>,
    /// Who was seen to accept from which listener, and looked at.
    met: FxHashSet<(u64, u32)>,
    names: u32,
    /// How often it was asked whose a listener is.
    pub(super) asked: usize,
}

#[derive(Clone, Default)]
pub(super) struct Machine(pub(super) Rc<RefCell<World>>);

impl Host for Machine {
    fn begin_batch(&mut self) {
        let world = &mut *self.0.borrow_mut();
        world.known.clear();
        world.met.clear();
        world.names = world.holder;
    }

    fn netns(&mut self, inode: u32, _: u64) -> Arc<Netns> {
        Arc::new(Netns {
            inode,
            cookie: None,
            name: Some(self.0.borrow().names.to_string()),
        })
    }

    fn interface(&mut self, _: u32, index: u32) -> Option<Arc<str>> {
        Some(format!("eth{index}.{}", self.0.borrow().names).into())
    }

    fn l3mdev_accept(&mut self, _: u32) -> bool {
        false
    }

    fn programs(&mut self, _: Attachment) -> Arc<[Program]> {
        Arc::from([])
    }

    fn opened(&mut self, _: &Listener, _: u64) {}

    fn forget(&mut self, listener: &Listener) {
        self.0.borrow_mut().known.remove(&listener.stamp);
    }

    fn whose(&mut self, listener: &Listener, _: u64) -> Then {
        let world = &mut *self.0.borrow_mut();
        world.asked += 1;
        let known = world.known.entry(listener.stamp).or_insert(world.holder);
        let acceptor = listener.accept_pid;
        if acceptor != 0 && world.met.insert((listener.stamp, acceptor)) {
            *known = world.holder;
        }
        Then {
            owners: owners(*known),
            accepted_by: (acceptor != 0).then(|| Process {
                pid: acceptor,
                comm: "worker".into(),
                initial_pid: None,
                ended: false,
            }),
            ..Then::default()
        }
    }

    fn is_settled(&self, _: &Listener) -> bool {
        self.0.borrow().is_settled
    }

    fn recheck(&mut self, listener: &Listener) {
        let world = &mut *self.0.borrow_mut();
        world.known.insert(listener.stamp, world.holder);
    }

    fn look_again(&mut self, listener: &Listener) {
        self.recheck(listener);
    }

    fn living(&mut self, _: u64) -> Arc<[Owner]> {
        owners(self.0.borrow().holder)
    }

    fn last_owners(&mut self, _: &Listener) -> Arc<[Owner]> {
        owners(self.0.borrow().holder)
    }

    fn told(&mut self, _: &Listener) -> String {
        String::new()
    }

    fn settle(&mut self) {
        self.0.borrow_mut().known.clear();
    }

    fn kin(&mut self, _: &[u32]) -> Kin {
        Kin::default()
    }

    fn is_own(&mut self, _: u32, _: u64, _: Option<u32>, _: u64) -> bool {
        false
    }
}

fn owners(pid: u32) -> Arc<[Owner]> {
    Arc::from([Owner {
        pid,
        comm: format!("server{pid}"),
        ..Owner::default()
    }])
}
