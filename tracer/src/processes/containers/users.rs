//! Where the files of a user's own containers are, and whether they may be looked at without
//! waiting for a file server or for a program of his.

use super::files::Files;

/// Most bytes of `/etc/passwd` and of the table of mounts.
const MOST: u64 = 4 << 20;
/// File systems that answer by themselves.
const LOCAL: [&str; 10] = [
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs",
];

/// The directories that lead to a user's home, as `/etc/passwd` has it.
pub(super) fn home(files: &Files, uid: u32) -> Option<Vec<String>> {
    let table = files.read("/etc", &["passwd"], MOST)?;
    let table = String::from_utf8_lossy(&table);
    let home = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        // passwd(5)
        let [_, _, id, _, _, home, _] = fields[..] else {
            return None;
        };
        (id.parse() == Ok(uid)).then_some(home)
    })?;
    let parts: Vec<String> = home
        .strip_prefix('/')?
        .split('/')
        .filter(|part| !part.is_empty())
        .map(ToOwned::to_owned)
        .collect();
    // The table of mounts writes some characters as numbers.
    let leads_on = parts
        .iter()
        .all(|part| part != "." && part != ".." && !part.contains([' ', '\t', '\\', '#']));
    (leads_on && !parts.is_empty()).then_some(parts)
}

/// Whether a path without links, given by its parts, is on a file system that answers by itself.
pub(super) fn is_local(files: &Files, path: &[&str]) -> bool {
    let table = files.read("/proc", &["self", "mountinfo"], MOST);
    table.is_some_and(|table| is_local_by(&String::from_utf8_lossy(&table), path))
}

/// Of the mounts that the path leads through the last one counts; of two at one place the later.
fn is_local_by(table: &str, path: &[&str]) -> bool {
    let mut found = None;
    for line in table.lines() {
        // proc_pid_mountinfo(5)
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(place), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else {
            continue;
        };
        let place: Vec<&str> = place.split('/').filter(|part| !part.is_empty()).collect();
        if path.starts_with(&place) && found.is_none_or(|(depth, _)| depth <= place.len()) {
            found = Some((place.len(), kind));
        }
    }
    found.is_some_and(|(_, kind)| LOCAL.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_on_the_way_counts() {
        let table = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
            30 22 0:40 / /home rw - autofs systemd-1 rw\n\
            31 30 8:2 / /home rw - xfs /dev/sda2 rw\n\
            32 31 0:50 / /home/ann/.local rw - fuse.sshfs ann@far: rw\n\
            33 31 0:51 / /home/bob rw - nfs4 far:/bob rw\n\
            34 22 0:52 / /srv rw - autofs systemd-1 rw\n\
            torn line\n";
        for (path, local) in [
            ("home/ann", true),
            ("home/ann/.local/share", false),
            ("home/ann/.locality", true),
            ("home/bob/x", false),
            ("srv/eve", false),
            ("var/eve", true),
        ] {
            let parts: Vec<&str> = path.split('/').collect();
            assert_eq!(is_local_by(table, &parts), local, "{path}");
        }
        assert!(!is_local_by("", &["home"]));
    }
}
