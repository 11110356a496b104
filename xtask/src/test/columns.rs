//! The columns of the tests: which kernel each boots, and what it runs there.

use std::path::Path;

use super::Args;
use crate::artifacts::SCENARIOS_PROGRAM as PROGRAM;
use crate::rootfs::GuestFile;

/// Backends by which a kernel runs the core of the scenarios only, or a handful of them: its
/// neighbours in the matrix run more of them by it, with the same programs over the same code of
/// the kernel's, and the whole has to end within an hour also where the machine is slow.
const PARTS: [(&str, &str, &str); 9] = [
    ("5.10", "--smoke", "auto"),
    ("6.1", "--core", "kprobe"),
    ("6.1", "--smoke", "legacy"),
    ("6.12", "--smoke", "kprobe"),
    ("6.19", "--smoke", "fentry"),
    ("6.19", "--smoke", "kprobe"),
    ("7.2", "--smoke", "fentry"),
    ("7.2", "--smoke", "kprobe"),
    ("7.3", "--core", "kprobe"),
];

/// The scenarios that take hours of the guest's time, on one kernel.
const HOUR: [&str; 3] = ["nginx_hour", "daemon_soak", "daemon_quiet"];
const HOUR_COLUMN: &str = "6.12-hour";

/// The core of the scenarios once more, by kprobe a handful, where only alerts are told, and what
/// is right is counted in the kernel.
const SUSPECTS: [&str; 5] = ["--suspects", "--core", "fentry", "--smoke", "kprobe"];
const SUSPECTS_COLUMN: &str = "6.12-suspects";

/// What the daemon does, on another kernel than the two that run all of the scenarios about it.
const DAEMON: [&str; 10] = [
    "daemon_story",
    "daemon_reload",
    "daemon_names",
    "daemon_blind",
    "daemon_dropped",
    "daemon_killed",
    "daemon_namespaces",
    "daemon_listeners",
    "daemon_flood",
    "daemon_flood_reload",
];
const DAEMON_COLUMN: &str = "6.1-daemon";

/// The service as it is packaged, under this machine's systemd: on a kernel of today and on the
/// oldest.
const SYSTEMD: [&str; 6] = [
    "systemd_story",
    "systemd_reload",
    "systemd_refused",
    "systemd_watchdog",
    "systemd_socket",
    "systemd_user",
];
const SYSTEMD_COLUMNS: [&str; 2] = ["6.12-systemd", "5.10-systemd"];

/// What is installed of the package, and where.
const PACKAGED: [(&str, &str); 4] = [
    ("sockpick.service", "/etc/systemd/system/sockpick.service"),
    (
        "sockpick-metrics.socket",
        "/etc/systemd/system/sockpick-metrics.socket",
    ),
    ("sockpick.toml", "/etc/sockpick/sockpick.toml"),
    ("dynamic-user.conf", "/usr/share/sockpick/dynamic-user.conf"),
];

/// Columns by how long they take, so that two guests end at about the same time.
const LONGEST_FIRST: [&str; 6] = ["5.10", "7.3", "6.12", "6.1", "7.2", "6.19"];

/// Where a column stands in the order in which they are begun.
pub(super) fn turn(name: &str) -> usize {
    let matrix = LONGEST_FIRST.iter().position(|column| *column == name);
    let place = beyond().position(|column| column == name).unwrap_or(0);
    matrix.unwrap_or(LONGEST_FIRST.len() + place)
}

/// Those beyond the matrix, the one that takes longest first.
pub(super) fn beyond() -> impl Iterator<Item = &'static str> {
    let single = [HOUR_COLUMN, SUSPECTS_COLUMN, DAEMON_COLUMN];
    single.into_iter().chain(SYSTEMD_COLUMNS)
}

/// What a column boots and runs.
pub(super) struct Run {
    pub(super) kernel: String,
    pub(super) command: Vec<String>,
    /// Counting instructions, a guest skips the time in which nothing happens.
    pub(super) icount: bool,
    pub(super) systemd: bool,
}

impl Run {
    /// By a column's name: a kernel's, and for those beyond the matrix what they are about.
    pub(super) fn new(name: &str, args: &Args) -> Self {
        let systemd = SYSTEMD_COLUMNS.contains(&name);
        let (kernel, more) = match name {
            HOUR_COLUMN => ("6.12", words(&["--backend", "fentry"], &HOUR)),
            SUSPECTS_COLUMN => ("6.12", words(&SUSPECTS, &[])),
            DAEMON_COLUMN => ("6.1", words(&["--backend", "kprobe"], &DAEMON)),
            _ if systemd => (name.trim_end_matches("-systemd"), of_systemd(args)),
            _ => (name, of_matrix(name, args)),
        };
        let program = std::iter::once(PROGRAM.to_owned());
        Self {
            kernel: kernel.to_owned(),
            command: program.chain(more).collect(),
            icount: name == HOUR_COLUMN,
            systemd,
        }
    }

    /// The files of the guest besides the project's programs.
    pub(super) fn packaged(&self, root: &Path) -> Vec<GuestFile> {
        let wanted = PACKAGED.iter().filter(|_| self.systemd);
        wanted
            .map(|(name, place)| GuestFile::new(root.join("packaging").join(name), *place))
            .collect()
    }
}

fn words(first: &[&str], then: &[&str]) -> Vec<String> {
    first.iter().chain(then).map(ToString::to_string).collect()
}

/// They run only where their whole name is asked for. A part of none is left to the program, which
/// says so.
fn of_systemd(args: &Args) -> Vec<String> {
    let part = args.filter.as_deref().unwrap_or_default();
    let asked = SYSTEMD.iter().filter(|name| name.contains(part));
    let asked: Vec<_> = asked.map(ToString::to_string).collect();
    if asked.is_empty() {
        return vec![part.to_owned()];
    }
    asked
}

fn of_matrix(name: &str, args: &Args) -> Vec<String> {
    let mut words = Vec::new();
    for backend in &args.backends {
        words.extend(["--backend".to_owned(), backend.clone()]);
    }
    if args.backends.is_empty() && args.filter.is_none() && !args.every_backend {
        let parts = PARTS.iter().filter(|(kernel, ..)| *kernel == name);
        words.extend(parts.flat_map(|(_, part, backend)| [part, backend].map(ToString::to_string)));
    }
    words.extend(args.filter.clone());
    words
}
