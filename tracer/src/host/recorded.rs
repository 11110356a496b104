//! The answers of another time: who asks in the same order gets the same. Who asks for something
//! that was not asked then gets what was known of it last, or nothing.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::Listener;

use super::{
    Host, Then,
    answers::{Key, Value},
    noted::{MOST_KEPT, Note},
};
use crate::{
    event::{Netns, Owner, Program},
    kin::Kin,
    probes::steering::Attachment,
    stock::{Stock, TakeStock},
    words,
};

/// What was answered, as far as the recording was read.
#[derive(Clone, Debug, Default)]
pub struct Recorded(Rc<RefCell<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    known: FxHashMap<Key, Value>,
    due: Vec<Note>,
    asked: FxHashMap<Key, u32>,
}

impl Recorded {
    /// The next input begins, for which this was answered.
    pub fn begin(&self, starts_afresh: bool, notes: Vec<Note>) {
        let mut pages = self.0.borrow_mut();
        // What nobody asked for this time.
        let left = std::mem::take(&mut pages.due);
        // Who writes forgets at that many; a file that does not say so is not to grow us.
        if starts_afresh || pages.known.len() > 2 * MOST_KEPT {
            pages.known.clear();
        }
        for (key, _, value) in left {
            pages.known.insert(key, value);
        }
        pages.asked.clear();
        pages.due = notes;
    }

    /// Name of a namespace, as far as it was told yet; this is no question of the pipeline's.
    #[must_use]
    pub fn netns_name(&self, inode: u32, cookie: u64) -> Option<String> {
        let pages = self.0.borrow();
        let key = Key::Netns(inode, cookie);
        let due = pages.due.iter().rev().find(|(of, ..)| *of == key);
        let known = due.map(|(_, _, value)| value).or(pages.known.get(&key));
        match known {
            Some(Value::Name(name)) => name.clone(),
            _ => None,
        }
    }

    fn known(&self, key: &Key) -> Option<Value> {
        self.0.borrow().known.get(key).cloned()
    }

    fn ask(&self, key: &Key) -> Option<Value> {
        let mut pages = self.0.borrow_mut();
        let asked = pages.asked.entry(key.clone()).or_default();
        let nth = *asked;
        *asked += 1;
        let pages = &mut *pages;
        if let Some(place) = pages
            .due
            .iter()
            .rposition(|(of, at, _)| of == key && *at <= nth)
        {
            let (key, _, value) = pages.due.swap_remove(place);
            pages.known.insert(key, value);
        }
        pages.known.get(key).cloned()
    }

    fn owners(&self, key: &Key) -> Arc<[Owner]> {
        let owners = self.ask(key).and_then(Value::into_owners);
        owners.unwrap_or_else(|| Arc::from([]))
    }

    fn is(&self, key: &Key) -> bool {
        self.ask(key) == Some(Value::Flag(true))
    }

    fn name(&self, key: &Key) -> Option<String> {
        match self.ask(key) {
            Some(Value::Name(name)) => name,
            _ => None,
        }
    }
}

impl Host for Recorded {
    fn begin_batch(&mut self) {}

    fn netns(&mut self, inode: u32, cookie: u64) -> Arc<Netns> {
        Arc::new(Netns {
            inode,
            cookie: (cookie != 0).then_some(cookie),
            name: self.name(&Key::Netns(inode, cookie)),
        })
    }

    fn interface(&mut self, netns: u32, index: u32) -> Option<Arc<str>> {
        self.name(&Key::Interface(netns, index)).map(Arc::from)
    }

    fn l3mdev_accept(&mut self, netns: u32) -> bool {
        self.is(&Key::L3mdevAccept(netns))
    }

    fn programs(&mut self, place: Attachment) -> Arc<[Program]> {
        match self.ask(&place.into()) {
            Some(Value::Programs(programs)) => programs
                .into_iter()
                .map(|(id, name)| Program { id, name })
                .collect(),
            _ => Arc::from([]),
        }
    }

    fn opened(&mut self, _: &Listener, _: u64) {}

    fn forget(&mut self, _: &Listener) {}

    fn whose(&mut self, listener: &Listener, _: u64) -> Then {
        let whose = self.ask(&Key::Whose(listener.stamp));
        whose.and_then(Value::into_then).unwrap_or_default()
    }

    fn recheck(&mut self, _: &Listener) {}

    fn look_again(&mut self, _: &Listener) {}

    fn living(&mut self, inode: u64) -> Arc<[Owner]> {
        self.owners(&Key::Living(inode))
    }

    fn last_owners(&mut self, listener: &Listener) -> Arc<[Owner]> {
        self.owners(&Key::Last(listener.stamp))
    }

    fn told(&mut self, listener: &Listener) -> String {
        match self.ask(&Key::Told(listener.stamp)) {
            Some(Value::Text(text)) => text,
            // The recording ends before that was asked.
            _ => match self.known(&Key::Whose(listener.stamp)) {
                Some(whose) => {
                    let then = whose.into_then().unwrap_or_default();
                    let (by, opener) = (then.accepted_by.as_ref(), then.opened_by.as_ref());
                    words::holder_at_end(&then.owners, then.in_kernel, by, opener)
                }
                None => words::UNKNOWN.to_owned(),
            },
        }
    }

    fn settle(&mut self) {}

    fn kin(&mut self, _: &[u32]) -> Kin {
        self.ask(&Key::Kin).map(Kin::from).unwrap_or_default()
    }

    fn is_own(&mut self, netns: u32, cookie: u64, _: Option<u32>, _: u64) -> bool {
        self.is(&Key::Own(netns, cookie))
    }
}

impl TakeStock for Recorded {
    fn take_stock(&mut self) -> Stock {
        match self.ask(&Key::Stock) {
            Some(Value::Stock(listeners)) => listeners.into(),
            // Nothing was asked, so nothing is known to be gone.
            _ => Stock::default(),
        }
    }
}
