//! Probes through tracefs, for kernels without a perf unit for them (before 4.17).
//!
//! There a probe is an event that has a name in tracefs. It is removed when it is dropped. A
//! process that is killed leaves its names behind, which do nothing; the next start removes
//! them.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use aya::programs::ProgramFd;
use aya_obj::generated::{
    PERF_FLAG_FD_CLOEXEC, perf_event_attr, perf_type_id::PERF_TYPE_TRACEPOINT,
};
use log::debug;

use crate::kernel::features::{KPROBE_PMU, TRACEFS};

/// The group that the events are in.
const GROUP: &str = "sockpick";
/// Calls of a function that may be under way at once, sleeping ones included, before a return
/// is missed: the most that the kernel takes (`KRETPROBE_MAXACTIVE_MAX`,
/// `kernel/trace/trace_kprobe.c`; from 4.12).
const MAX_ACTIVE: u32 = 4096;
/// `PERF_EVENT_IOC_SET_BPF` and `PERF_EVENT_IOC_ENABLE`, `include/uapi/linux/perf_event.h`.
const SET_BPF: libc::c_ulong = 0x4004_2408;
const ENABLE: libc::c_ulong = 0x2400;

/// Number of the next event. One of the name of another would be taken for a new one in its place,
/// which the kernel refuses while that is in use, as it is while a daemon attaches anew
/// (`register_trace_kprobe`, `kernel/trace/trace_kprobe.c`).
static NEXT: AtomicU32 = AtomicU32::new(0);

/// An attached probe.
pub(super) struct Event {
    perf: Option<OwnedFd>,
    name: String,
    folder: PathBuf,
}

/// Whether probes have to be made this way.
pub(super) fn needed() -> bool {
    !Path::new(KPROBE_PMU).exists() && folder().is_some()
}

fn folder() -> Option<PathBuf> {
    let mut folders = TRACEFS.iter().map(PathBuf::from);
    folders.find(|folder| folder.join("kprobe_events").exists())
}

/// Removes what a sockpick left behind that was killed.
pub(super) fn remove_leftovers() {
    let Some(folder) = folder() else { return };
    let events = fs::read_to_string(folder.join("kprobe_events")).unwrap_or_default();
    for name in events.lines().filter_map(own_name) {
        let process = name.rsplit('_').next().unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            let removed = change(&folder, &format!("-:{GROUP}/{name}"));
            debug!("removing {name}, left by a process that ended: {removed:?}");
        }
    }
}

/// Name of an event of this group, from a line as `r4096:sockpick/accept_r_7_123 inet_csk_accept`:
/// the program's, a number and the process's.
fn own_name(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(':')?;
    let name = rest.split_whitespace().next()?;
    name.strip_prefix(GROUP)?.strip_prefix('/')
}

/// Attaches a loaded program to a function.
pub(super) fn attach(
    program: &ProgramFd,
    program_name: &str,
    is_return: bool,
    symbol: &str,
) -> Result<Event> {
    let folder = folder().context("tracefs is not mounted")?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{program_name}_{number}_{}", std::process::id());
    let kind = if is_return {
        format!("r{MAX_ACTIVE}")
    } else {
        "p".to_owned()
    };
    change(&folder, &format!("{kind}:{GROUP}/{name} {symbol}"))
        .with_context(|| format!("the kernel takes no probe on {symbol}"))?;
    // From here on dropping it removes the name.
    let mut event = Event {
        perf: None,
        name,
        folder,
    };
    let path = event.folder.join("events").join(GROUP).join(&event.name);
    let id = fs::read_to_string(path.join("id")).context("the event has no number")?;
    let perf = open(id.trim().parse().context("the event's number is none")?)
        .context("cannot open the event")?;
    control(&perf, SET_BPF, program.as_fd().as_raw_fd()).context("cannot attach the program")?;
    control(&perf, ENABLE, 0).context("cannot enable the event")?;
    event.perf = Some(perf);
    Ok(event)
}

fn change(folder: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .open(folder.join("kprobe_events"))?;
    file.write_all(line.as_bytes())
}

/// The event as a perf event; the program runs on every CPU, whichever it is opened for.
fn open(id: u64) -> io::Result<OwnedFd> {
    // SAFETY: integers only, for which zero is valid.
    let mut attributes: perf_event_attr = unsafe { std::mem::zeroed() };
    attributes.type_ = PERF_TYPE_TRACEPOINT as u32;
    attributes.size = size_of::<perf_event_attr>() as u32;
    attributes.config = id;
    attributes.__bindgen_anon_1.sample_period = 1;
    // SAFETY: the attributes are complete and live for the call; the other arguments are
    // integers.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            -1,
            0,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn control(perf: &OwnedFd, request: libc::c_ulong, argument: i32) -> io::Result<()> {
    // SAFETY: both requests take an integer.
    if unsafe { libc::ioctl(perf.as_raw_fd(), request, argument) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

impl Event {
    /// Hits and misses of all events, a line each.
    pub(super) fn profile(&self) -> String {
        fs::read_to_string(self.folder.join("kprobe_profile")).unwrap_or_default()
    }

    /// How often, by that profile, the kernel skipped it because another kprobe's handler was
    /// running.
    pub(super) fn missed(&self, profile: &str) -> Option<u64> {
        profile.lines().find_map(|line| missed(line, &self.name))
    }
}

/// The last number of a line as `accept_r_123  17  0`: name, hits, misses.
fn missed(line: &str, name: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    (words.next()? == name).then(|| words.nth(1)?.parse().ok())?
}

impl Drop for Event {
    fn drop(&mut self) {
        // The kernel keeps the name of an event that is open.
        self.perf = None;
        let removed = change(&self.folder, &format!("-:{GROUP}/{}", self.name));
        if let Err(error) = removed {
            debug!("{} cannot be removed: {error}", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{missed, own_name};

    #[test]
    fn names_are_read_from_the_list() {
        let line = "r4096:sockpick/accept_r_7_123 inet_csk_accept";
        assert_eq!(own_name(line), Some("accept_r_7_123"));
        assert_eq!(own_name("p:kprobes/other_1 do_exit"), None);
        assert_eq!(own_name("nonsense"), None);
    }

    #[test]
    fn misses_are_read_from_the_profile() {
        let line = "  request_k_123                                         17               2";
        assert_eq!(missed(line, "request_k_123"), Some(2));
        assert_eq!(missed(line, "request_k_12"), None);
        assert_eq!(missed("nonsense", "nonsense"), None);
    }
}
