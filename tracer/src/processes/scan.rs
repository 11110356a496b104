//! One pass over all processes: who holds which of the sockets in question.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use super::{
    containers::Containers,
    descriptors::Descriptors,
    proc::{self, Sight, Stat},
};
use crate::event::Owner;

/// What a pass found.
#[derive(Default)]
pub(super) struct Pass {
    /// Owners by the inode number of the socket.
    pub(super) found: HashMap<u64, Vec<Owner>>,
    /// Processes that could not be looked into.
    pub(super) hidden: usize,
}

impl Pass {
    /// A walk over `/proc`.
    pub(super) fn walked(wanted: &HashSet<u64>, containers: &mut Containers) -> Self {
        let mut pass = Self::default();
        let mut descriptors = Descriptors::default();
        for pid in proc::pids() {
            let wanted = |inode| wanted.contains(&inode);
            pass.look_into(pid, &mut descriptors, wanted, containers);
        }
        pass
    }

    /// What the kernel tells, with the processes described from `/proc`; `None` where it does not.
    /// `began`: clock ticks since boot when the pass began.
    pub(super) fn told(
        descriptors: &mut Descriptors,
        began: u64,
        wanted: impl Fn(u64) -> bool,
        containers: &mut Containers,
    ) -> Option<Self> {
        let mut pass = Self::default();
        let mut told: HashMap<u32, HashSet<u64>> = HashMap::new();
        let is_told = descriptors.tell(None, &mut |pid, inode| {
            if wanted(inode) {
                told.entry(pid).or_default().insert(inode);
            }
        });
        if !is_told {
            return None;
        }
        for (pid, sockets) in told {
            match Stat::of(pid) {
                // It may be another with the number of the one that was told of.
                Some(stat) if stat.starttime >= began => {
                    pass.look_into(pid, descriptors, &wanted, containers);
                }
                Some(stat) => {
                    if let Some(owner) = proc::describe(pid, &stat, containers) {
                        pass.add(&owner, &sockets);
                    }
                }
                // It is there, and /proc is not shown whole (hidepid).
                None if is_there(pid) => pass.hidden += 1,
                None => {}
            }
        }
        Some(pass)
    }

    fn look_into(
        &mut self,
        pid: u32,
        descriptors: &mut Descriptors,
        wanted: impl Fn(u64) -> bool,
        containers: &mut Containers,
    ) {
        match look_into(pid, descriptors, wanted, containers) {
            Ok(Some((owner, sockets))) => self.add(&owner, &sockets),
            Ok(None) => {}
            Err(Hidden) => self.hidden += 1,
        }
    }

    fn add(&mut self, owner: &Owner, sockets: &HashSet<u64>) {
        for &inode in sockets {
            self.found.entry(inode).or_default().push(owner.clone());
        }
    }
}

/// Whether a process has this number, whoever may see it.
fn is_there(pid: u32) -> bool {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::kill(pid, None) != Err(nix::errno::Errno::ESRCH)
        && !Path::new(&format!("/proc/{pid}")).exists()
}

/// A process could not be looked into.
pub(super) struct Hidden;

/// Whom the process is, and which of the sockets in question it holds; `None` if none.
pub(super) fn look_into(
    pid: u32,
    descriptors: &mut Descriptors,
    wanted: impl Fn(u64) -> bool,
    containers: &mut Containers,
) -> Result<Option<(Owner, HashSet<u64>)>, Hidden> {
    let mut held = HashSet::new();
    let sight = descriptors.of(pid, |inode| {
        if wanted(inode) {
            held.insert(inode);
        }
    });
    if sight == Sight::Hidden {
        return Err(Hidden);
    }
    if held.is_empty() {
        return Ok(None);
    }
    // The number may be another process's by now: what counts is what this one holds.
    let Some(stat) = Stat::of(pid) else {
        return Ok(None);
    };
    let mut still = HashSet::new();
    descriptors.of(pid, |inode| {
        if held.contains(&inode) {
            still.insert(inode);
        }
    });
    let owner = proc::describe(pid, &stat, containers);
    Ok(owner.map(|owner| (owner, still)))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::processes::Holders;

    /// Tells of this process, twice, and of one that is not there.
    struct Kernel(u64);

    impl Holders for Kernel {
        fn read(&mut self, of: Option<u32>, each: &mut dyn FnMut(u32, u64)) -> io::Result<()> {
            let own = std::process::id();
            assert!(of.is_none_or(|pid| pid == own));
            for (pid, inode) in [
                (own, self.0),
                (own, self.0),
                (own, 1),
                (u32::MAX >> 1, self.0),
            ] {
                each(pid, inode);
            }
            Ok(())
        }
    }

    #[test]
    fn what_the_kernel_tells_is_what_proc_shows() -> io::Result<()> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let mut inode = 0;
        proc::sockets(std::process::id(), |one| inode = inode.max(one));
        let wanted = |one: u64| one == inode;
        let mut containers = Containers::default();
        let mut descriptors = Descriptors::default();
        let shown = Pass::walked(&HashSet::from([inode]), &mut containers);
        assert!(Pass::told(&mut descriptors, 0, wanted, &mut containers).is_none());
        descriptors.told_by(Box::new(Kernel(inode)));
        // As of a pass that began after this process did, and of one before: then it is looked
        // into once more.
        for began in [u64::MAX, 0] {
            let told = Pass::told(&mut descriptors, began, wanted, &mut containers);
            let told = told.expect("the kernel tells");
            assert_eq!(told.found, shown.found);
            assert_eq!((told.found[&inode].len(), told.hidden), (1, 0));
        }
        drop(listener);
        Ok(())
    }
}
