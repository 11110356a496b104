//! How much memory stays resident: a session lasts for long, and most of what it ever needs it needs
//! at its start.

use nix::unistd::{SysconfVar, sysconf};

/// Of so many bytes and more, what is freed goes back at once. glibc begins with this, and waits
/// for more whenever more is freed (`M_MMAP_THRESHOLD`, mallopt(3)), unless it was told.
#[cfg(target_env = "gnu")]
const AT_ONCE: libc::c_int = 128 * 1024;

unsafe extern "C" {
    /// Where what is only read begins in memory, and where the code ends (`ld`'s script).
    static __executable_start: u8;
    static etext: u8;
}

/// From now on, what was needed for a moment is given back when it is freed.
pub(super) fn give_back_at_once() {
    #[cfg(target_env = "gnu")]
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: takes no pointer, and changes nothing of what is in use.
        unsafe { libc::mallopt(parameter, AT_ONCE) };
    }
}

/// Gives back what the start took, or a busy time: what is free by now, and the pages of this
/// program's file, which are read from there again if need be.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; what is in use stays where it is.
    unsafe {
        libc::malloc_trim(0);
    }
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let Some(page) = page.and_then(|size| usize::try_from(size).ok()) else {
        return;
    };
    let (start, end) = (&raw const __executable_start, &raw const etext);
    // Whole pages: data may follow in the last one.
    let bytes = end.addr().saturating_sub(start.addr()) / page * page;
    // SAFETY: pages of constants and code, which a private mapping of the program's file has and
    // nobody wrote to: whoever reads or runs them finds the same.
    unsafe { libc::madvise(start.cast_mut().cast(), bytes, libc::MADV_DONTNEED) };
}
