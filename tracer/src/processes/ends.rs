//! When processes ended that held sockets: /proc tells that they are gone, and not since when.

use std::collections::HashMap;

use crate::event::Owner;

/// Most processes whose ends are looked out for; past that it is begun afresh.
const MOST_WATCHED: usize = sockpick_ebpf::abi::MAX_HOLDERS as usize;

/// Tells when processes ended.
pub trait Exits {
    /// Its end is to be told from now on.
    fn watch(&mut self, pid: u32);

    /// When it ended (`CLOCK_MONOTONIC` ns), once: `None` if that was not seen.
    fn ended_ns(&mut self, pid: u32) -> Option<u64>;

    /// Its end is of no interest any more.
    fn forget(&mut self, pid: u32);
}

/// A process whose end is looked out for.
#[derive(Debug)]
struct Watched {
    starttime: u64,
    ended_ns: Option<u64>,
}

/// Who does not hold a socket any more.
#[derive(Clone, Debug)]
pub struct Left {
    /// The process.
    pub owner: Owner,
    /// When it ended, if that was seen; else when it was found not to hold it (`CLOCK_MONOTONIC`
    /// ns).
    pub ns: u64,
    /// It held the socket until then.
    pub is_exact: bool,
}

/// Ends that are looked out for.
#[derive(Default)]
pub(super) struct Ends {
    /// Tells, where the kernel does.
    exits: Option<Box<dyn Exits>>,
    watched: HashMap<u32, Watched>,
}

impl Ends {
    pub(super) fn told_by(&mut self, exits: Box<dyn Exits>) {
        self.exits = Some(exits);
    }

    /// Looks out for the ends of `owners`, and finds out when those ended who left.
    pub(super) fn follow(&mut self, owners: &[Owner], left: &mut [Left]) {
        let Some(exits) = &mut self.exits else {
            return;
        };
        for owner in owners {
            let watched = self.watched.get(&owner.pid);
            if watched.is_some_and(|one| Some(one.starttime) == owner.starttime) {
                continue;
            }
            if self.watched.len() >= MOST_WATCHED {
                self.watched.drain().for_each(|(pid, _)| exits.forget(pid));
            }
            exits.watch(owner.pid);
            let watched = Watched {
                starttime: owner.starttime.unwrap_or(0),
                ended_ns: None,
            };
            self.watched.insert(owner.pid, watched);
        }
        for one in left
            .iter_mut()
            .filter(|one| one.owner.ended && !one.is_exact)
        {
            let watched = self.watched.get_mut(&one.owner.pid);
            let Some(watched) = watched.filter(|it| Some(it.starttime) == one.owner.starttime)
            else {
                continue;
            };
            if watched.ended_ns.is_none() {
                watched.ended_ns = exits.ended_ns(one.owner.pid);
            }
            if let Some(ended_ns) = watched.ended_ns {
                (one.ns, one.is_exact) = (ended_ns, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Process 7 ended at 50.
    struct Seven;

    impl Exits for Seven {
        fn watch(&mut self, _: u32) {}

        fn ended_ns(&mut self, pid: u32) -> Option<u64> {
            (pid == 7).then_some(50)
        }

        fn forget(&mut self, _: u32) {}
    }

    fn owner(pid: u32, starttime: u64) -> Owner {
        Owner {
            pid,
            starttime: Some(starttime),
            ..Owner::default()
        }
    }

    #[test]
    fn an_end_is_exact_for_the_very_process_that_was_looked_out_for() {
        let left = |owner| Left {
            owner: Owner {
                ended: true,
                ..owner
            },
            ns: 90,
            is_exact: false,
        };
        let mut ends = Ends::default();
        let mut gone = [left(owner(7, 1)), left(owner(8, 1)), left(owner(7, 2))];
        ends.follow(&[owner(7, 1), owner(8, 1)], &mut gone);
        assert!(gone.iter().all(|one| !one.is_exact), "nobody tells");
        ends.told_by(Box::new(Seven));
        ends.follow(&[owner(7, 1), owner(8, 1)], &mut gone);
        let said = gone.map(|one| (one.ns, one.is_exact));
        assert_eq!(said, [(50, true), (90, false), (90, false)]);
    }
}
