//! A machine that answers nothing: for tests of what needs no answer.

use std::sync::Arc;

use sockpick_ebpf::abi::Listener;

use super::{Host, Then};
use crate::{
    event::{Netns, Owner, Program},
    kin::Kin,
    probes::steering::Attachment,
};

/// Knows nobody.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nobody;

impl Host for Nobody {
    fn begin_batch(&mut self) {}

    fn netns(&mut self, inode: u32, cookie: u64) -> Arc<Netns> {
        Arc::new(Netns {
            inode,
            cookie: (cookie != 0).then_some(cookie),
            name: None,
        })
    }

    fn interface(&mut self, _: u32, _: u32) -> Option<Arc<str>> {
        None
    }

    fn l3mdev_accept(&mut self, _: u32) -> bool {
        false
    }

    fn programs(&mut self, _: Attachment) -> Arc<[Program]> {
        Arc::from([])
    }

    fn opened(&mut self, _: &Listener, _: u64) {}

    fn forget(&mut self, _: &Listener) {}

    fn whose(&mut self, _: &Listener, _: u64) -> Then {
        Then::default()
    }

    fn recheck(&mut self, _: &Listener) {}

    fn look_again(&mut self, _: &Listener) {}

    fn living(&mut self, _: u64) -> Arc<[Owner]> {
        Arc::from([])
    }

    fn last_owners(&mut self, _: &Listener) -> Arc<[Owner]> {
        Arc::from([])
    }

    fn told(&mut self, _: &Listener) -> String {
        String::new()
    }

    fn settle(&mut self) {}

    fn kin(&mut self, _: &[u32]) -> Kin {
        Kin::default()
    }

    fn is_own(&mut self, _: u32, _: u64, _: Option<u32>, _: u64) -> bool {
        false
    }
}
