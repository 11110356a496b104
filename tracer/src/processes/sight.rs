//! Which processes `/proc` shows, and how what it does not is told.

use std::{fs, os::unix::fs::MetadataExt as _};

/// Inode number of the initial pid namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Whether `/proc` is of the initial pid namespace: then it shows every process of the machine,
/// not only those of a container, under the number that the kernel tells.
#[must_use]
pub fn in_initial_namespace() -> bool {
    // Who is in it himself finds himself in no other's /proc. Process 1 of a /proc is of its
    // namespace; sockpick may be in one below.
    ["self", "1"].iter().any(|process| {
        fs::metadata(format!("/proc/{process}/ns/pid"))
            .is_ok_and(|data| data.ino() == INITIAL_PID_NAMESPACE)
    })
}

/// Why owners may not be seen, in a sentence without its end; `None` where all are. `hidden`:
/// how many processes could not be looked into.
#[must_use]
pub fn blindness(hidden: usize) -> Option<String> {
    if hidden > 0 {
        let do_not = if hidden == 1 {
            "1 process does not".to_owned()
        } else {
            format!("{hidden} processes do not")
        };
        return Some(format!(
            "{do_not} let this user see what they hold; {}",
            more_rights()
        ));
    }
    (!in_initial_namespace()).then(|| {
        "only the processes of this container are visible; run it in the host's pid namespace to \
         see them"
            .to_owned()
    })
}

/// What lets processes be seen that are hidden.
#[must_use]
pub fn more_rights() -> &'static str {
    if nix::unistd::geteuid().is_root() {
        "this takes CAP_SYS_PTRACE, and a security module must not forbid it"
    } else {
        "run it as root"
    }
}
