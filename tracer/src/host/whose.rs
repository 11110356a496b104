//! Whose a listener is: who holds it now, who took the last connection, who called `listen()`.
//! Three questions with three answers; only the first names its owners.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sockpick_ebpf::abi;

use super::Then;
use crate::{
    clock::{TICK_NS, monotonic_ns},
    event::{Owner, Process},
    processes::{CHECK, Fate, Left, Processes},
    words::{self, comm},
};

/// Most listeners remembered; past that memory starts afresh, which costs look-ups.
const MOST_KEPT: usize = 16_384;

/// All listeners.
#[derive(Default)]
pub(super) struct Whose {
    pub(super) processes: Processes,
    listeners: FxHashMap<u64, Known>,
    /// `CLOCK_MONOTONIC` when the batch began; what sleep lies between it and the boot.
    now_ns: u64,
    asleep_ns: u64,
}

/// Process id and name, as the kernel told.
type Told = (u32, [u8; 16]);

/// What is remembered of a listener between SYNs.
#[derive(Default)]
struct Known {
    inode: u64,
    /// Those who hold it, as of `checked_ns`.
    owners: Arc<[Owner]>,
    checked_ns: u64,
    /// Those who left.
    left: Vec<Left>,
    /// Since when nobody is known to hold it; 0: somebody is.
    nobody_ns: u64,
    /// Who takes connections, and what became of those that the kernel told of since.
    told: Told,
    acceptor: Option<Process>,
    acceptors: FxHashMap<Told, Option<Process>>,
    /// The last that was found to hold it no more.
    past: Told,
    opener: Option<Process>,
}

impl Known {
    /// As far as that is known without looking.
    fn new(inode: u64, processes: &Processes) -> Self {
        Self {
            inode,
            owners: processes.known(inode),
            ..Self::default()
        }
    }

    /// Whether it is time to look anew.
    fn is_due(&self, now_ns: u64) -> bool {
        let checked_ns = self.checked_ns;
        checked_ns == 0 || now_ns.saturating_sub(checked_ns) >= CHECK.as_nanos() as u64
    }

    /// Looks who holds it now.
    fn refresh(&mut self, processes: &mut Processes, raw: &abi::Listener, now_ns: u64) {
        if raw.inode != 0 {
            processes.living(raw.inode, processes.oldest());
        }
        self.take(processes, now_ns);
        self.acceptors.clear();
        self.told = Told::default();
    }

    /// Takes in who holds it now.
    fn take(&mut self, processes: &mut Processes, checked_ns: u64) {
        self.owners = processes.known(self.inode);
        self.left = processes.left(self.inode);
        self.checked_ns = checked_ns;
        if !self.owners.is_empty() {
            self.nobody_ns = 0;
        } else if self.nobody_ns == 0 {
            let since = processes.nobody_since(self.inode);
            self.nobody_ns = since.unwrap_or_else(monotonic_ns);
        }
    }

    /// Whose it was when a SYN came.
    fn then(&self, processes: &Processes, ktime_ns: u64) -> Then {
        let nobody = self.owners.is_empty() && self.nobody_ns != 0;
        let looked = nobody && self.inode != 0 && processes.sees_all();
        Then {
            owners: self.owners_at(ktime_ns),
            // It listened after all had been looked at.
            in_kernel: looked && ktime_ns > self.nobody_ns,
            accepted_by: self.acceptor.clone(),
            opened_by: self.opener.clone(),
        }
    }

    /// Whether [`Known::then`] is the same at any time.
    fn is_settled(&self) -> bool {
        self.left.is_empty() && !self.owners.is_empty()
    }

    /// Who held it at a time: who does now, and who had not been seen to have ended.
    fn owners_at(&self, ktime_ns: u64) -> Arc<[Owner]> {
        if self.left.iter().all(|one| ktime_ns > one.ns) {
            return self.owners.clone();
        }
        let left = self.left.iter().filter(|one| ktime_ns <= one.ns);
        self.owners.iter().cloned().chain(left.map(then)).collect()
    }

    /// Who held it last.
    fn last(&self) -> Arc<[Owner]> {
        if self.owners.is_empty() {
            return self.left.iter().map(|one| one.owner.clone()).collect();
        }
        self.owners.clone()
    }
}

/// As who left the socket later is told: without a mark, if it surely held it still.
fn then(left: &Left) -> Owner {
    let mut owner = left.owner.clone();
    if left.is_exact {
        (owner.ended, owner.released) = (false, false);
    }
    owner
}

impl Whose {
    /// Who asks has SYNs that wait.
    pub(super) fn hurried() -> Self {
        Self {
            processes: Processes::hurried(),
            ..Self::default()
        }
    }

    /// To be called before each batch.
    pub(super) fn begin_batch(&mut self, now_ns: u64, since_boot_ns: u64) {
        self.now_ns = now_ns;
        self.asleep_ns = since_boot_ns.saturating_sub(now_ns);
    }

    /// A listener appeared: the process that opened it is looked at now, since it may be gone
    /// with it before any SYN comes; the others with the next scan of /proc.
    pub(super) fn opened(&mut self, raw: &abi::Listener, ktime_ns: u64) {
        self.processes.expect(raw.inode);
        if raw.inode != 0 && raw.listen_pid != 0 && self.processes.is_initial() {
            let name = comm(&raw.listen_comm);
            let by = self.tick(ktime_ns);
            self.processes.fate(raw.inode, raw.listen_pid, &name, by);
        }
    }

    /// Whose a listener is, for a SYN that it was given.
    pub(super) fn at(&mut self, raw: &abi::Listener, ktime_ns: u64) -> Then {
        let by = self.tick(ktime_ns);
        let (now_ns, asleep_ns) = (self.now_ns, self.asleep_ns);
        if self.listeners.len() >= MOST_KEPT && !self.listeners.contains_key(&raw.stamp) {
            self.listeners.clear();
        }
        let processes = &mut self.processes;
        let known = self.listeners.entry(raw.stamp);
        let known = known.or_insert_with(|| Known::new(raw.inode, processes));
        if known.is_due(now_ns) {
            known.refresh(processes, raw, now_ns);
            known.opens(processes, raw, (raw.stamp + asleep_ns) / TICK_NS);
        }
        known.accepts(processes, raw, by);
        known.then(processes, ktime_ns)
    }

    /// Whether the answer is the same for SYNs of any time, until something is looked at anew.
    pub(super) fn is_settled(&self, raw: &abi::Listener) -> bool {
        let known = self.listeners.get(&raw.stamp);
        known.is_some_and(Known::is_settled)
    }

    /// Looks whether those who hold the listener still do.
    pub(super) fn recheck(&mut self, raw: &abi::Listener) {
        self.processes.let_go(raw.inode);
        self.update(raw.stamp);
    }

    /// Looks for holders of the listener among all processes.
    pub(super) fn look_again(&mut self, raw: &abi::Listener) {
        self.processes.look_again(raw.inode);
        self.update(raw.stamp);
    }

    fn update(&mut self, stamp: u64) {
        if let Some(known) = self.listeners.get_mut(&stamp) {
            known.take(&mut self.processes, self.now_ns);
        }
    }

    /// Looks once more who holds the listeners that SYNs came to.
    pub(super) fn settle(&mut self) {
        let inodes: Vec<u64> = self.listeners.values().map(|known| known.inode).collect();
        self.processes.prepare(inodes.into_iter());
        let stamps: Vec<u64> = self.listeners.keys().copied().collect();
        for stamp in stamps {
            self.update(stamp);
        }
    }

    /// Who held a listener when it closed, as far as that is known without looking.
    pub(super) fn last(&self, raw: &abi::Listener) -> Arc<[Owner]> {
        let seen = self.listeners.get(&raw.stamp);
        let seen = seen.map(Known::last);
        seen.filter(|owners| !owners.is_empty())
            .or_else(|| Some(self.processes.known(raw.inode)))
            .filter(|owners| !owners.is_empty())
            .unwrap_or_else(|| match raw.listen_pid {
                0 => Arc::from([]),
                _ => Arc::from([self.as_listened(raw)]),
            })
    }

    /// A listener went: nothing of it needs to be remembered.
    pub(super) fn forget(&mut self, raw: &abi::Listener) {
        self.listeners.remove(&raw.stamp);
        self.processes.forget(raw.inode);
    }

    /// Whose a listener is, as it is to be shown.
    pub(super) fn told(&mut self, raw: &abi::Listener) -> String {
        let now_ns = monotonic_ns();
        let by = self.tick(now_ns);
        let Some(known) = self.listeners.get_mut(&raw.stamp) else {
            return words::owners(&self.last(raw));
        };
        known.accepts(&mut self.processes, raw, by);
        let open = raw.closed == 0;
        let nobody = known.owners.is_empty() && known.inode != 0;
        let in_kernel = open && nobody && self.processes.sees_all();
        let owners = if open {
            known.owners.clone()
        } else {
            known.last()
        };
        let (acceptor, opener) = (known.acceptor.as_ref(), known.opener.as_ref());
        words::holder_at_end(&owners, in_kernel, acceptor, opener)
    }

    /// The clock tick since boot that a process must have started by to have done something
    /// at that time.
    fn tick(&self, ktime_ns: u64) -> u64 {
        (ktime_ns + self.asleep_ns) / TICK_NS
    }

    /// The process that called `listen()`, as far as the kernel told.
    fn as_listened(&self, raw: &abi::Listener) -> Owner {
        let initial = self.processes.is_initial();
        Owner {
            pid: if initial { raw.listen_pid } else { 0 },
            comm: comm(&raw.listen_comm),
            ..Owner::default()
        }
    }
}

impl Known {
    /// Who took the last connection.
    fn accepts(&mut self, processes: &mut Processes, raw: &abi::Listener, by: u64) {
        let told = (raw.accept_pid, raw.accept_comm);
        if told == self.told {
            return;
        }
        self.told = told;
        if let Some(acceptor) = self.acceptors.get(&told) {
            self.acceptor.clone_from(acceptor);
            return;
        }
        let looked = self.process(processes, told, by);
        // Once: SYNs that come after it was found out are no business of its.
        if let Some((process, true)) = &looked
            && self.past != told
        {
            self.past = told;
            processes.held_and_left(self.inode, told.0, &comm(&told.1), !process.ended);
            self.left = processes.left(self.inode);
        }
        let acceptor = looked.map(|(process, _)| process);
        // Equal ones stay the same value: what was written of them is kept elsewhere.
        if self.acceptor != acceptor {
            self.acceptor = acceptor;
        }
        self.acceptors.insert(told, self.acceptor.clone());
    }

    /// Who called `listen()`.
    fn opens(&mut self, processes: &mut Processes, raw: &abi::Listener, by: u64) {
        let is_over = |process: &Process| process.ended || process.initial_pid.is_some();
        if raw.listen_pid == 0 || self.opener.as_ref().is_some_and(is_over) {
            return;
        }
        let opener = self.process(processes, (raw.listen_pid, raw.listen_comm), by);
        let opener = opener.map(|(process, _)| process);
        if self.opener != opener {
            self.opener = opener;
        }
    }

    /// A process that the kernel told of, and whether it was seen not to hold the socket any
    /// more; it becomes an owner if it does.
    fn process(
        &mut self,
        processes: &mut Processes,
        told: Told,
        by: u64,
    ) -> Option<(Process, bool)> {
        let (pid, name) = told;
        if pid == 0 {
            return None;
        }
        let process = |pid, name: &str, initial_pid, ended| Process {
            pid,
            comm: name.into(),
            initial_pid,
            ended,
        };
        let name = comm(&name);
        if !processes.is_initial() {
            return Some((process(0, &name, Some(pid), false), false));
        }
        if let Some(owner) = self.owners.iter().find(|owner| owner.pid == pid) {
            return Some((process(pid, &owner.comm, None, false), false));
        }
        let fate = processes.fate(self.inode, pid, &name, by);
        Some(match fate {
            Some(Fate::Holds(owner)) => {
                self.owners = processes.known(self.inode);
                self.nobody_ns = 0;
                (process(pid, &owner.comm, None, false), false)
            }
            Some(Fate::Lives(name)) => (process(pid, &name, None, false), true),
            Some(Fate::Ended) => (process(pid, &name, None, true), true),
            None => (process(pid, &name, None, false), false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::Processes;

    fn raw(inode: u64, stamp: u64) -> abi::Listener {
        abi::Listener {
            inode,
            stamp,
            ..abi::Listener::default()
        }
    }

    fn known(owners: &[Owner], left: Vec<Left>) -> Known {
        Known {
            owners: owners.into(),
            left,
            nobody_ns: u64::from(owners.is_empty()),
            ..Known::default()
        }
    }

    #[test]
    fn an_answer_is_settled_if_it_does_not_hang_on_the_time() {
        let processes = Processes::default();
        let left = || Left {
            owner: Owner::default(),
            ns: 5,
            is_exact: true,
        };
        let someone = [Owner::default()];
        for (known, is_settled) in [
            (known(&someone, vec![]), true),
            (known(&someone, vec![left()]), false),
            (known(&[], vec![left()]), false),
            (known(&[], vec![]), false),
        ] {
            assert_eq!(known.is_settled(), is_settled);
            let [then, later] = [1, 9].map(|ktime_ns| known.then(&processes, ktime_ns));
            assert!(!is_settled || then == later);
        }
        assert!(!Whose::default().is_settled(&raw(1, 1)), "never asked");
    }
}
