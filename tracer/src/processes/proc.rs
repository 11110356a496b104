//! Reads `/proc/PID`.

use std::{fs, io, path::Path, time::Instant};

use super::{cgroup, containers::Containers};
use crate::event::Owner;

/// `PF_KTHREAD`, include/linux/sched.h
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Of `/proc/PID/stat`, what is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Of the first thread: the process's name.
    pub(super) comm: String,
    pub(super) parent: u32,
    /// Process id of the leader of its session.
    pub(super) session: u32,
    /// Clock ticks since boot.
    pub(super) starttime: u64,
    state: u8,
    flags: u64,
    threads: u64,
}

impl Stat {
    /// `None` if there is no such process.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name is in parentheses, and may have any itself.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let comm = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        // The third field of proc_pid_stat(5) is the first here.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse().ok();
        Some(Self {
            comm,
            state: *fields.first()?.as_bytes().first()?,
            parent: number(4)? as u32,
            session: number(6)? as u32,
            flags: number(9)?,
            threads: number(20)?,
            starttime: number(22)?,
        })
    }

    /// It ended, and nobody has taken note: it holds nothing any more. Its first thread alone
    /// may end, and the others go on.
    pub(super) fn ended(&self) -> bool {
        self.first_ended() && self.threads <= 1
    }

    pub(super) fn first_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    pub(super) fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }
}

/// How far a process could be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// All that it holds was seen; or it has ended.
    Whole,
    /// Something was refused.
    Hidden,
}

/// What became of a look at a directory of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Some,
    Nothing,
    Refused,
}

/// Calls `each` with every socket that the process holds, by its inode number.
pub(super) fn sockets(pid: u32, mut each: impl FnMut(u64)) -> Sight {
    let seen = descriptors(Path::new(&format!("/proc/{pid}/fd")), &mut each);
    if seen == Seen::Some {
        return Sight::Whole;
    }
    // Of those that have nothing nothing is hidden.
    match Stat::of(pid) {
        Some(stat) if stat.ended() || stat.is_kernel_thread() => Sight::Whole,
        // The others have the descriptors.
        Some(stat) if stat.first_ended() => of_threads(pid, each),
        Some(_) if seen == Seen::Refused => Sight::Hidden,
        _ => Sight::Whole,
    }
}

fn of_threads(pid: u32, mut each: impl FnMut(u64)) -> Sight {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        match descriptors(&task.path().join("fd"), &mut each) {
            Seen::Some => return Sight::Whole,
            Seen::Nothing => {}
            Seen::Refused => return Sight::Hidden,
        }
    }
    Sight::Whole
}

fn descriptors(directory: &Path, each: &mut impl FnMut(u64)) -> Seen {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_denied(&error) => return Seen::Refused,
        Err(_) => return Seen::Nothing,
    };
    let mut seen = Seen::Nothing;
    for entry in entries.flatten() {
        match fs::read_link(entry.path()) {
            Ok(target) => {
                seen = Seen::Some;
                if let Some(inode) = socket(target.as_os_str().as_encoded_bytes()) {
                    each(inode);
                }
            }
            // The list may be had where what is in it may not.
            Err(error) if is_denied(&error) => return Seen::Refused,
            Err(_) => {}
        }
    }
    seen
}

/// `socket:[4711]`
pub(super) fn socket(target: &[u8]) -> Option<u64> {
    let inode = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inode).ok()?.parse().ok()
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Processes that are there.
pub(super) fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(name).collect()
}

/// Describes a process that `stat` is of; `None` if it ended meanwhile.
pub(super) fn describe(pid: u32, stat: &Stat, containers: &mut Containers) -> Option<Owner> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let exe = exe.map(|path| path.to_string_lossy().into_owned());
    // Replaced by another since it started, as by an upgrade.
    let exe = exe.map(|path| {
        path.strip_suffix(" (deleted)")
            .map_or(path.clone(), ToOwned::to_owned)
    });
    let groups = fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let cgroup::Place {
        unit,
        container,
        container_unit,
        asked,
    } = cgroup::place(&groups);
    let told = asked.map(|asked| containers.tell(&asked, Instant::now()));
    let told = told.unwrap_or_default();
    let now = Stat::of(pid)?;
    (now.starttime == stat.starttime).then_some(Owner {
        pid,
        comm: now.comm,
        exe,
        unit,
        container,
        container_unit,
        container_name: told.name,
        pod: told.pod,
        starttime: Some(now.starttime),
        ended: false,
        released: false,
    })
}

/// Whether the process has a thread of this name.
pub(super) fn has_thread(pid: u32, comm: &str) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let mut tasks = tasks.into_iter().flatten().flatten();
    tasks.any(|task| {
        let name = fs::read(task.path().join("comm")).unwrap_or_default();
        String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)) == comm
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_name() {
        let text = b"17 (a) b (c) Z 3 17 17 0 -1 2097216 1 2 3 4 5 6 7 8 20 0 2 0 4711 0 0\n";
        let stat = Stat::parse(text).expect("a stat");
        assert_eq!((stat.comm.as_str(), stat.parent), ("a) b (c", 3));
        assert_eq!((stat.starttime, stat.threads), (4711, 2));
        assert!(stat.is_kernel_thread() && stat.first_ended() && !stat.ended());
        assert_eq!(Stat::parse(b"17 (a) Z"), None);
    }

    #[test]
    fn sockets_are_told_from_other_descriptors() {
        assert_eq!(socket(b"socket:[4711]"), Some(4711));
        assert_eq!(socket(b"pipe:[4711]"), None);
        assert_eq!(socket(b"/tmp/socket:[4711]"), None);
    }

    #[test]
    fn this_process_is_seen_with_its_sockets() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let own = std::process::id();
        let mut seen = 0;
        assert_eq!(sockets(own, |_| seen += 1), Sight::Whole);
        assert!(seen > 0);
        drop(listener);
        assert!(pids().contains(&own));
        let stat = Stat::of(own).expect("it is there");
        let owner = describe(own, &stat, &mut Containers::default()).expect("it is there");
        assert_eq!((owner.pid, owner.starttime), (own, Some(stat.starttime)));
        assert!(has_thread(own, &owner.comm) && !has_thread(own, "no such name"));
    }
}
