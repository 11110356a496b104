//! The running machine, with every answer that is new written down, so that a replay can give
//! the same.

use std::{cell::RefCell, mem, rc::Rc, sync::Arc};

use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::Listener;

use super::{
    Host, Then,
    answers::{Key, Value},
};
use crate::{
    event::{self, Netns, Owner, Program},
    kin::Kin,
    probes::steering::Attachment,
    stock::{Stock, TakeStock},
};

/// Most answers that are remembered; past that memory starts afresh, and all are written again.
pub const MOST_KEPT: usize = 65_536;

/// An answer that is not the one given before: to which question, the how-manieth time that it
/// was asked for the same input, counted from 0.
pub type Note = (Key, u32, Value);

/// Answers that were given since somebody looked.
#[derive(Clone, Debug, Default)]
pub struct Notes(Rc<RefCell<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    known: FxHashMap<Key, Value>,
    /// As they were given: compared before they are turned into values.
    whose: FxHashMap<u64, Then>,
    asked: FxHashMap<Key, u32>,
    new: Vec<Note>,
    starts_afresh: bool,
}

impl Notes {
    /// What is new, and whether all that was written before is void. The next input begins; it
    /// begins a batch if this one `ends_batch`.
    #[must_use]
    pub fn take(&self, ends_batch: bool) -> (bool, Vec<Note>) {
        let mut pages = self.0.borrow_mut();
        pages.asked.clear();
        let starts_afresh = mem::take(&mut pages.starts_afresh);
        let new = mem::take(&mut pages.new);
        // Between batches: within one, what was answered before may be said again unasked.
        if ends_batch && pages.known.len() >= MOST_KEPT {
            pages.forget();
            pages.starts_afresh = true;
        }
        (starts_afresh, new)
    }

    /// Forgets what was written: a new file begins, where all is written again.
    pub fn forget(&self) {
        let mut pages = self.0.borrow_mut();
        pages.forget();
        pages.starts_afresh = true;
    }

    fn count(pages: &mut Pages, key: &Key) -> u32 {
        let asked = pages.asked.entry(key.clone()).or_default();
        *asked += 1;
        *asked - 1
    }

    fn note(&self, key: Key, value: Value) {
        let mut pages = self.0.borrow_mut();
        let nth = Self::count(&mut pages, &key);
        if pages.known.get(&key) != Some(&value) {
            pages.write(key, nth, value);
        }
    }

    fn whose(&self, id: u64, then: &Then) {
        let mut pages = self.0.borrow_mut();
        let key = Key::Whose(id);
        let nth = Self::count(&mut pages, &key);
        if pages.whose.get(&id) != Some(then) {
            pages.write(key, nth, Value::from(then));
            pages.whose.insert(id, then.clone());
        }
    }
}

impl Pages {
    fn forget(&mut self) {
        self.known.clear();
        self.whose.clear();
    }

    fn write(&mut self, key: Key, nth: u32, value: Value) {
        self.new.push((key.clone(), nth, value.clone()));
        self.known.insert(key, value);
    }
}

/// Notes what a host answers.
pub struct Noted<H> {
    host: H,
    notes: Notes,
}

impl<H: Host> Noted<H> {
    /// Everything that `host` answers goes to `notes`.
    pub fn new(host: H, notes: Notes) -> Self {
        Self { host, notes }
    }
}

impl<H: Host> Host for Noted<H> {
    fn begin_batch(&mut self) {
        self.host.begin_batch();
    }

    fn netns(&mut self, inode: u32, cookie: u64) -> Arc<Netns> {
        let netns = self.host.netns(inode, cookie);
        let name = Value::Name(netns.name.clone());
        self.notes.note(Key::Netns(inode, cookie), name);
        netns
    }

    fn interface(&mut self, netns: u32, index: u32) -> Option<Arc<str>> {
        let name = self.host.interface(netns, index);
        let value = Value::Name(name.as_deref().map(str::to_owned));
        self.notes.note(Key::Interface(netns, index), value);
        name
    }

    fn l3mdev_accept(&mut self, netns: u32) -> bool {
        let accept = self.host.l3mdev_accept(netns);
        self.notes
            .note(Key::L3mdevAccept(netns), Value::Flag(accept));
        accept
    }

    fn programs(&mut self, place: Attachment) -> Arc<[Program]> {
        let programs = self.host.programs(place);
        let named = programs.iter().map(|one| (one.id, one.name.clone()));
        self.notes
            .note(place.into(), Value::Programs(named.collect()));
        programs
    }

    fn opened(&mut self, listener: &Listener, ktime_ns: u64) {
        self.host.opened(listener, ktime_ns);
    }

    fn forget(&mut self, listener: &Listener) {
        self.host.forget(listener);
    }

    fn whose(&mut self, listener: &Listener, ktime_ns: u64) -> Then {
        let then = self.host.whose(listener, ktime_ns);
        self.notes.whose(listener.stamp, &then);
        then
    }

    fn is_settled(&self, listener: &Listener) -> bool {
        self.host.is_settled(listener)
    }

    fn said_again(&mut self, listener: &Listener, said: &event::Listener) {
        // A replay asks: it may have been answered otherwise for another SYN since.
        self.notes.whose(listener.stamp, &Then::from(said));
    }

    fn recheck(&mut self, listener: &Listener) {
        self.host.recheck(listener);
    }

    fn look_again(&mut self, listener: &Listener) {
        self.host.look_again(listener);
    }

    fn living(&mut self, inode: u64) -> Arc<[Owner]> {
        let living = self.host.living(inode);
        self.notes.note(Key::Living(inode), Value::from(&*living));
        living
    }

    fn last_owners(&mut self, listener: &Listener) -> Arc<[Owner]> {
        let last = self.host.last_owners(listener);
        self.notes
            .note(Key::Last(listener.stamp), Value::from(&*last));
        last
    }

    fn told(&mut self, listener: &Listener) -> String {
        let told = self.host.told(listener);
        let text = Value::Text(told.clone());
        self.notes.note(Key::Told(listener.stamp), text);
        told
    }

    fn settle(&mut self) {
        self.host.settle();
    }

    fn kin(&mut self, pids: &[u32]) -> Kin {
        let kin = self.host.kin(pids);
        self.notes.note(Key::Kin, Value::from(&kin));
        kin
    }

    fn is_own(&mut self, netns: u32, cookie: u64, ifindex: Option<u32>, ktime_ns: u64) -> bool {
        let own = self.host.is_own(netns, cookie, ifindex, ktime_ns);
        self.notes.note(Key::Own(netns, cookie), Value::Flag(own));
        own
    }
}

/// Notes what stock-taking found.
pub struct NotedStock<'a> {
    /// Who takes stock.
    pub present: &'a mut dyn TakeStock,
    /// Where it goes.
    pub notes: &'a Notes,
}

impl TakeStock for NotedStock<'_> {
    fn take_stock(&mut self) -> Stock {
        let stock = self.present.take_stock();
        self.notes.note(Key::Stock, Value::Stock((&stock).into()));
        stock
    }
}
