//! The columns of the tests: which kernel each boots, and what it runs there.

use std::path::Path;

use super::Args;
use crate::artifacts::SCENARIOS_PROGRAM as PROGRAM;
use crate::kernels::MATRIX;
use crate::rootfs::GuestFile;

/// Backends by which a kernel runs the core of the scenarios only, or a handful of them, and those
/// by which alone (`--backend`): its neighbours in the matrix run more of them, with the same
/// programs over the same code of the kernel's, and the whole has to end within an hour also where
/// the machine is slow. All of them run by fentry on a kernel of today, and by the programs for old
/// kernels on the oldest.
const PARTS: [(&str, &str, &str); 12] = [
    ("5.10", "--core", "kprobe"),
    ("5.10", "--smoke", "auto"),
    ("6.1", "--core", "auto"),
    ("6.1", "--smoke", "kprobe"),
    ("6.1", "--smoke", "legacy"),
    ("6.12", "--smoke", "kprobe"),
    ("6.19", "--smoke", "fentry"),
    ("6.19", "--backend", "fentry"),
    ("7.2", "--smoke", "fentry"),
    ("7.2", "--backend", "fentry"),
    ("7.3", "--core", "fentry"),
    ("7.3", "--smoke", "kprobe"),
];

/// The scenarios that take hours of the guest's time, on one kernel.
const HOUR: [&str; 3] = ["nginx_hour", "daemon_soak", "daemon_quiet"];
const HOUR_COLUMN: &str = "6.12-hour";

/// Where only alerts are told, and what is right is counted in the kernel: the core of the
/// scenarios once more, by kprobe a handful. All of them where every backend is asked for, on
/// every kernel.
const SUSPECTS: &str = "--suspects";
const SUSPECTS_PARTS: [&str; 4] = ["--core", "fentry", "--smoke", "kprobe"];
const SUSPECTS_COLUMN: &str = "6.12-suspects";
const OF_SUSPECTS: &str = "-suspects";

/// What the daemon does, on kernels that do not run all of the scenarios.
const DAEMON: &str = "daemon_";
const DAEMON_COLUMNS: [(&str, &str); 2] = [("7.3-daemon", "fentry"), ("6.1-daemon", "auto")];

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
const LONGEST_FIRST: [&str; 6] = ["6.12", "5.10", "6.1", "7.3", "7.2", "6.19"];

/// Where a column stands in the order in which they are begun.
pub(super) fn turn(name: &str) -> usize {
    let matrix = LONGEST_FIRST.iter().position(|column| *column == name);
    let place = beyond(false).iter().position(|column| column == name);
    matrix.unwrap_or(LONGEST_FIRST.len() + place.unwrap_or(0))
}

/// Those beyond the matrix, the one that takes longest first; or those of every kernel, too.
pub(super) fn beyond(every_backend: bool) -> Vec<String> {
    let of_daemon = DAEMON_COLUMNS.map(|(column, _)| column);
    let of_suspects = MATRIX.map(|kernel| format!("{kernel}{OF_SUSPECTS}"));
    let of_suspects = of_suspects
        .into_iter()
        .filter(|column| every_backend || column == SUSPECTS_COLUMN);
    let single = of_daemon.into_iter().chain([HOUR_COLUMN]);
    let columns = single.map(str::to_owned).chain(of_suspects);
    columns.chain(SYSTEMD_COLUMNS.map(str::to_owned)).collect()
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
            _ if name.ends_with(OF_SUSPECTS) => {
                (name.trim_end_matches(OF_SUSPECTS), of_suspects(args))
            }
            _ if systemd => (name.trim_end_matches("-systemd"), of_systemd(args)),
            _ => of_daemon(name).unwrap_or_else(|| (name, of_matrix(name, args))),
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

/// The kernel of such a column, and what it runs.
fn of_daemon(name: &str) -> Option<(&str, Vec<String>)> {
    let (_, backend) = DAEMON_COLUMNS.iter().find(|(column, _)| *column == name)?;
    let kernel = name.trim_end_matches("-daemon");
    Some((kernel, words(&["--backend", backend], &[DAEMON])))
}

fn of_suspects(args: &Args) -> Vec<String> {
    let mut words = vec![SUSPECTS.to_owned()];
    words.extend(asked(args, SUSPECTS_PARTS));
    words
}

fn of_matrix(name: &str, args: &Args) -> Vec<String> {
    let parts = PARTS.iter().filter(|(kernel, ..)| *kernel == name);
    asked(args, parts.flat_map(|(_, part, backend)| [*part, *backend]))
}

/// What was asked for; only these parts where that is nothing in particular.
fn asked(args: &Args, parts: impl IntoIterator<Item = &'static str>) -> Vec<String> {
    let mut words = Vec::new();
    for backend in &args.backends {
        words.extend(["--backend".to_owned(), backend.clone()]);
    }
    if args.backends.is_empty() && args.filter.is_none() && !args.every_backend {
        words.extend(parts.into_iter().map(str::to_owned));
    }
    words.extend(args.filter.clone());
    words
}
