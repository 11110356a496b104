//! The namespaces that SYNs came to, with their names, for as long as they are surely the same.
//! The kernel gives the inode number of a namespace that has gone to the next one; only its
//! cookie is never given again, and kernels before 5.12 have none.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use super::found::Found;
use crate::{event::Netns, processes::Budget};

/// Most namespaces remembered; past that memory starts afresh, which costs look-ups.
const MOST: usize = 4096;
/// How often names are looked for that a namespace was given after it was met.
const NAMES_AGE: Duration = Duration::from_secs(1);

/// What the machine knows of namespaces.
pub(super) trait Look {
    /// Those that are there, each once, as far as a quick look goes: it is as much work as there
    /// are processes.
    fn all(&self) -> Vec<Found>;
    /// Inode number of the namespace that a file stands for.
    fn inode(&self, path: &Path) -> Option<u32>;
    /// Cookie of the namespace; `None` where the kernel does not tell.
    fn cookie(&self, found: &Found) -> Option<u64>;
    /// Those that have a name.
    fn named(&self) -> Vec<Found>;
}

/// The namespaces that are known, by inode number.
pub(super) struct Known<L> {
    look: L,
    all: FxHashMap<u32, Entry>,
    /// For quick looks.
    budget: Budget,
    /// Counts the times that [`Known::refresh`] was called.
    round: u64,
    names_looked: Option<Instant>,
}

struct Entry {
    netns: Arc<Netns>,
    /// A file whose namespace this is.
    path: Option<PathBuf>,
    /// The round in which it was found to be the same.
    checked: u64,
}

impl<L: Look> Known<L> {
    pub(super) fn new(look: L) -> Self {
        Self {
            look,
            all: FxHashMap::default(),
            budget: Budget::default(),
            round: 0,
            names_looked: None,
        }
    }

    /// The namespace, and whether another one had the number before.
    pub(super) fn describe(&mut self, inode: u32, cookie: Option<u64>) -> (Arc<Netns>, bool) {
        let is_other = self.is_other(inode, cookie);
        if let Some(entry) = self.all.get(&inode).filter(|_| !is_other)
            && (cookie.is_none() || entry.netns.cookie == cookie)
        {
            return (entry.netns.clone(), false);
        }
        if self.all.len() >= MOST {
            self.all.clear();
        }
        let known = if is_other { None } else { self.met(inode) };
        let found = known.or_else(|| self.search(inode));
        let found = found.filter(|found| self.is(found, cookie));
        let (name, path) = found.map(|found| (found.name, found.path)).unzip();
        let netns = Arc::new(Netns {
            inode,
            cookie,
            name: name.flatten(),
        });
        let entry = Entry {
            netns: netns.clone(),
            path,
            checked: self.round,
        };
        self.all.insert(inode, entry);
        (netns, is_other)
    }

    /// A namespace that was met by a look at all, and not by its cookie.
    fn met(&self, inode: u32) -> Option<Found> {
        let entry = self.all.get(&inode)?;
        let path = entry.path.clone()?;
        (entry.netns.cookie.is_none() && self.look.inode(&path) == Some(inode)).then(|| Found {
            inode,
            path,
            name: entry.netns.name.clone(),
            kept: None,
        })
    }

    /// Looks for the namespace that has this number now; what else is there is known then, too.
    /// `None` also where looks took too long of late.
    fn search(&mut self, inode: u32) -> Option<Found> {
        if !self.budget.allows() {
            return None;
        }
        let started = Instant::now();
        let all = self.look.all();
        self.budget.charge(started.elapsed());
        // One place is for the namespace in question.
        let room = (MOST - 1).saturating_sub(self.all.len());
        let new = all.iter().filter(|one| !self.all.contains_key(&one.inode));
        let new: Vec<Found> = new.take(room).cloned().collect();
        self.learn(&new);
        all.into_iter().find(|one| one.inode == inode)
    }

    /// Whether the namespace that is known by the number is another than the one in question.
    fn is_other(&mut self, inode: u32, cookie: Option<u64>) -> bool {
        let Some(entry) = self.all.get_mut(&inode) else {
            return false;
        };
        if let (Some(known), Some(cookie)) = (entry.netns.cookie, cookie) {
            return known != cookie;
        }
        let Some(path) = entry.path.as_ref().filter(|_| entry.checked != self.round) else {
            return false;
        };
        entry.checked = self.round;
        self.look.inode(path) != Some(inode)
    }

    /// Whether what is found by its number now is the one with this cookie.
    fn is(&self, found: &Found, cookie: Option<u64>) -> bool {
        cookie.is_none_or(|cookie| {
            let told = self.look.cookie(found);
            told.is_none_or(|told| told == cookie)
        })
    }

    /// Has these known, so that they need not be looked for one by one.
    pub(super) fn learn<'a>(&mut self, found: impl IntoIterator<Item = &'a Found>) {
        for found in found {
            let netns = Arc::new(Netns {
                inode: found.inode,
                cookie: None,
                name: found.name.clone(),
            });
            let entry = Entry {
                netns,
                path: Some(found.path.clone()),
                checked: self.round,
            };
            self.all.insert(found.inode, entry);
        }
    }

    /// A file whose namespace this is.
    pub(super) fn path(&mut self, inode: u32) -> Option<PathBuf> {
        match self.all.get(&inode).and_then(|entry| entry.path.as_ref()) {
            // The process that it was found by may have ended since.
            Some(path) if self.look.inode(path) == Some(inode) => Some(path.clone()),
            _ => self.search(inode).map(|found| found.path),
        }
    }

    /// Forgets what may have changed since: a number may be another namespace's, and one without
    /// a name may have been given one.
    pub(super) fn refresh(&mut self) {
        self.round += 1;
        let fresh = |looked: Instant| looked.elapsed() < NAMES_AGE;
        if !self.names_looked.is_some_and(fresh) {
            self.names_looked = Some(Instant::now());
            self.names();
        }
    }

    fn names(&mut self) {
        for found in self.look.named() {
            let nameless = |entry: &&Entry| entry.netns.name.is_none();
            let Some(entry) = self.all.get(&found.inode).filter(nameless) else {
                continue;
            };
            let cookie = entry.netns.cookie;
            if self.is(&found, cookie)
                && let Some(entry) = self.all.get_mut(&found.inode)
            {
                entry.netns = Arc::new(Netns {
                    inode: found.inode,
                    cookie,
                    name: found.name,
                });
                entry.path = Some(found.path);
                entry.checked = self.round;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        collections::BTreeMap,
        rc::Rc,
    };

    use super::*;

    /// Inode number, cookie if the kernel tells, name.
    type One = (u32, Option<u64>, Option<String>);

    /// Namespaces by path.
    #[derive(Clone, Default)]
    struct Machine {
        there: Rc<RefCell<BTreeMap<PathBuf, One>>>,
        /// How often all were looked at.
        looks: Rc<Cell<u32>>,
    }

    impl Machine {
        fn add(&self, path: &str, inode: u32, cookie: Option<u64>) {
            let name = path.strip_prefix("/run/netns/").map(ToOwned::to_owned);
            self.there
                .borrow_mut()
                .insert(path.into(), (inode, cookie, name));
        }

        fn remove(&self, path: &str) {
            self.there.borrow_mut().remove(Path::new(path));
        }

        fn found(&self) -> Vec<Found> {
            let all = self.there.borrow();
            let found = all.iter().map(|(path, (inode, _, name))| Found {
                inode: *inode,
                path: path.clone(),
                name: name.clone(),
                kept: None,
            });
            found.collect()
        }
    }

    impl Look for Machine {
        fn all(&self) -> Vec<Found> {
            self.looks.set(self.looks.get() + 1);
            let mut all = self.found();
            all.sort_by_key(|one| (one.inode, one.name.is_none()));
            all.dedup_by_key(|one| one.inode);
            all
        }

        fn inode(&self, path: &Path) -> Option<u32> {
            self.there.borrow().get(path).map(|(inode, ..)| *inode)
        }

        fn cookie(&self, found: &Found) -> Option<u64> {
            self.there.borrow().get(&found.path)?.1
        }

        fn named(&self) -> Vec<Found> {
            let found = self.found().into_iter();
            found.filter(|one| one.name.is_some()).collect()
        }
    }

    fn name<L: Look>(known: &mut Known<L>, cookie: Option<u64>) -> Option<String> {
        known.describe(7, cookie).0.name.clone()
    }

    #[test]
    fn a_number_that_another_namespace_has_now_never_shows_the_old_name() {
        for cookies in [[Some(1), Some(2)], [None, None]] {
            let machine = Machine::default();
            machine.add("/run/netns/old", 7, cookies[0]);
            let mut known = Known::new(machine.clone());
            assert_eq!(name(&mut known, cookies[0]).as_deref(), Some("old"));
            machine.remove("/run/netns/old");
            machine.add("/proc/9/ns/net", 7, cookies[1]);
            known.refresh();
            let (netns, is_other) = known.describe(7, cookies[1]);
            assert_eq!((netns.name.clone(), is_other), (None, true), "{cookies:?}");
            machine.add("/run/netns/new", 7, cookies[1]);
            known.names();
            assert_eq!(name(&mut known, cookies[1]).as_deref(), Some("new"));
        }
    }

    #[test]
    fn a_late_record_of_one_that_has_gone_does_not_get_the_name_of_the_next() {
        let machine = Machine::default();
        machine.add("/run/netns/new", 7, Some(2));
        let mut known = Known::new(machine.clone());
        assert_eq!(name(&mut known, Some(1)), None);
        known.refresh();
        assert_eq!(name(&mut known, Some(1)), None);
        assert_eq!(name(&mut known, Some(2)).as_deref(), Some("new"));
    }

    #[test]
    fn with_a_cookie_one_that_has_gone_keeps_its_name_and_is_not_looked_for() {
        let machine = Machine::default();
        machine.add("/run/netns/web", 7, Some(1));
        let mut known = Known::new(machine.clone());
        assert_eq!(name(&mut known, Some(1)).as_deref(), Some("web"));
        machine.remove("/run/netns/web");
        known.refresh();
        assert_eq!(name(&mut known, Some(1)).as_deref(), Some("web"));
    }

    #[test]
    fn one_look_serves_all_that_are_there() {
        for cookie in [Some(1), None] {
            let machine = Machine::default();
            let all = 1..=100;
            for inode in all.clone() {
                machine.add(&format!("/proc/{inode}/ns/net"), inode, cookie);
            }
            machine.add("/run/netns/web", 9, cookie);
            let mut known = Known::new(machine.clone());
            for inode in all {
                let (netns, is_other) = known.describe(inode, cookie);
                assert_eq!((netns.cookie, is_other), (cookie, false));
                assert_eq!(netns.name.is_some(), inode == 9);
                assert!(known.path(inode).is_some());
            }
            assert_eq!(machine.looks.get(), 1, "{cookie:?}");
        }
    }

    #[test]
    fn looks_that_take_long_are_few() {
        let machine = Machine::default();
        let mut known = Known::new(machine.clone());
        known.budget.charge(Duration::from_hours(1));
        for inode in 1..=100 {
            assert_eq!(known.describe(inode, None).0.name, None);
        }
        assert_eq!(machine.looks.get(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = Known::new(Machine::default());
        for inode in 0..3 * MOST as u32 {
            known.describe(inode, Some(inode.into()));
            assert!(known.all.len() <= MOST);
        }
    }
}
