//! What the daemon may do, once it is attached: no more than it needs from then on.

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

/// What the thread needs that asks the machine, and for what.
const KEPT: [Capability; 8] = [
    // Reading what the programs count, and the notice boards of others.
    Capability::CAP_BPF,
    // Attaching anew when the filters change.
    Capability::CAP_PERFMON,
    // Namespaces: entering them, and making those of the self-check; before 5.8 all of BPF.
    Capability::CAP_SYS_ADMIN,
    // Who holds what: descriptors and executables of other users' processes.
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
    // Bringing up the loopback interface of the self-check's namespace.
    Capability::CAP_NET_ADMIN,
    // Binding the self-check's listener to a device, before 5.7.
    Capability::CAP_NET_RAW,
    // The kernel's symbols, where probes are attached anew.
    Capability::CAP_SYSLOG,
];

/// Gives up everything but what is needed while it watches, for this thread and those it starts
/// from now on. Says what is left.
///
/// # Errors
/// If the kernel refuses it.
pub fn shrink() -> Result<Vec<String>> {
    prctl::set_no_new_privs().context("cannot forbid itself new privileges")?;
    let permitted = caps::read(None, CapSet::Permitted).context("cannot read its capabilities")?;
    let kept: CapsHashSet = KEPT
        .into_iter()
        .filter(|cap| permitted.contains(cap))
        .collect();
    for dropped in caps::all().difference(&kept) {
        // Of capabilities that this kernel does not know there is nothing to drop.
        if caps::has_cap(None, CapSet::Bounding, *dropped).unwrap_or(false) {
            // Without CAP_SETPCAP the set stays as it is: no_new_privs holds in its place.
            let _ = caps::drop(None, CapSet::Bounding, *dropped);
        }
    }
    set(&kept)?;
    let mut names: Vec<String> = kept.iter().map(ToString::to_string).collect();
    names.sort();
    Ok(names)
}

/// Gives up everything, for this thread: who only serves and sends needs nothing.
///
/// # Errors
/// If the kernel refuses it.
pub fn give_up() -> Result<()> {
    set(&CapsHashSet::new())
}

fn set(kept: &CapsHashSet) -> Result<()> {
    let clear = |set| caps::set(None, set, &CapsHashSet::new());
    // Kernels before 4.3 have no ambient set, and sockpick needs a later one.
    clear(CapSet::Ambient).context("cannot give up ambient capabilities")?;
    caps::set(None, CapSet::Effective, kept).context("cannot give up capabilities")?;
    caps::set(None, CapSet::Permitted, kept).context("cannot give up capabilities for good")?;
    clear(CapSet::Inheritable).context("cannot give up inheritable capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gave_up_has_nothing_and_others_have_what_they_had() {
        let before = caps::read(None, CapSet::Permitted).expect("readable");
        let after = std::thread::spawn(|| {
            give_up().expect("may always be given up");
            caps::read(None, CapSet::Permitted).expect("readable")
        });
        assert!(after.join().expect("no panic").is_empty());
        assert_eq!(
            caps::read(None, CapSet::Permitted).expect("readable"),
            before
        );
    }

    #[test]
    fn what_is_kept_is_told() {
        let told = std::thread::spawn(|| {
            let told = shrink().expect("may always be given up");
            let left = caps::read(None, CapSet::Permitted).expect("readable");
            (told, left)
        });
        let (told, left) = told.join().expect("no panic");
        assert_eq!(told.len(), left.len());
        assert!(left.iter().all(|cap| KEPT.contains(cap)), "{left:?}");
    }
}
