//! Units and containers, by the names of cgroups.

use super::containers::{Asked, is_id, is_pod_uid};

/// Where a process runs, as far as its cgroups tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// systemd unit of the host.
    pub(super) unit: Option<String>,
    /// Id or name of the container.
    pub(super) container: Option<String>,
    /// systemd unit of the container.
    pub(super) container_unit: Option<String>,
    /// What to look for in the files of container runtimes, if the container has an id.
    pub(super) asked: Option<Asked>,
}

/// What one path tells.
#[derive(Default)]
struct Path {
    unit: Option<String>,
    container: Option<String>,
    container_unit: Option<String>,
    /// The container's id is one that runtimes give.
    has_id: bool,
    /// Of what is before the container's part, which nobody in it can choose: the user whose
    /// session or services it is in, and the pod.
    user: Option<u32>,
    pod_uid: Option<String>,
}

/// Reads `/proc/PID/cgroup`: the first hierarchy that tells each. A name may have any bytes, and
/// one that is no text hides no other.
pub(super) fn place(text: &[u8]) -> Place {
    let text = String::from_utf8_lossy(text);
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found = Path::default();
    for path in paths.map(of_path) {
        if found.container.is_none() {
            found.has_id = path.has_id;
        }
        found.unit = found.unit.or(path.unit);
        found.container = found.container.or(path.container);
        found.container_unit = found.container_unit.or(path.container_unit);
        found.user = found.user.or(path.user);
        found.pod_uid = found.pod_uid.or(path.pod_uid);
    }
    let id = found.container.as_ref().filter(|_| found.has_id);
    let asked = id.map(|id| Asked {
        id: id.clone(),
        user: found.user,
        pod_uid: found.pod_uid,
    });
    Place {
        unit: found.unit,
        container_unit: found.container_unit,
        asked,
        container: found.container,
    }
}

/// What is before the container's part is the host's, what is behind it the container's.
fn of_path(path: &str) -> Path {
    let parts: Vec<&str> = path.split('/').collect();
    let at = (0..parts.len()).find_map(|at| Some((at, container(&parts, at)?)));
    let host = at.as_ref().map_or(parts.len(), |&(at, _)| at + 1);
    let above = &parts[..at.as_ref().map_or(parts.len(), |&(at, _)| at)];
    Path {
        unit: unit(&parts[..host]),
        container_unit: unit(&parts[host..]),
        has_id: at.as_ref().is_some_and(|&(at, _)| id(parts[at]).is_some()),
        user: above.iter().find_map(|part| user(part)),
        pod_uid: above.iter().rev().find_map(|part| pod_uid(part)),
        container: at.map(|(_, name)| name),
    }
}

/// Whose slice it is: systemd's `user-1000.slice`. Root's is the system's.
fn user(part: &str) -> Option<u32> {
    let uid = part.strip_prefix("user-")?.strip_suffix(".slice")?;
    uid.parse().ok().filter(|&uid| uid != 0)
}

/// The pod that a slice or a cgroup of the kubelet is of: `kubepods-burstable-podUID.slice`, with
/// `_` for `-` as systemd's names take it, or `podUID`.
fn pod_uid(part: &str) -> Option<String> {
    let stem = part.strip_suffix(".slice").unwrap_or(part);
    let (_, uid) = stem.rsplit_once("pod")?;
    let uid = uid.replace('_', "-");
    is_pod_uid(&uid).then_some(uid)
}

/// The id that runtimes give a container: of 64 hexadecimal digits, with a prefix and a suffix or
/// without.
fn id(part: &str) -> Option<&str> {
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    let id = stem.rsplit(['-', ':']).next().unwrap_or(stem);
    is_id(id).then_some(id)
}

/// The systemd unit: the last part that names one.
fn unit(parts: &[&str]) -> Option<String> {
    let is_unit = |part: &&&str| {
        [".service", ".scope"]
            .iter()
            .any(|kind| part.ends_with(kind))
    };
    parts.iter().rev().find(is_unit).map(ToString::to_string)
}

/// The container that a part of a path names, if it does: by an id, as every runtime of note does,
/// or by what LXC and systemd-nspawn put there.
fn container(parts: &[&str], at: usize) -> Option<String> {
    named(parts, at).filter(|name| !name.is_empty())
}

fn named(parts: &[&str], at: usize) -> Option<String> {
    let part = parts[at];
    if let Some(id) = id(part) {
        return Some(id.to_owned());
    }
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(name.to_owned());
    }
    if part == "payload" || parts.get(at + 1) != Some(&"payload") {
        return None;
    }
    let service = part.strip_prefix("systemd-nspawn@");
    let service = service.and_then(|name| name.strip_suffix(".service"));
    let scope = stem.strip_prefix("machine-").filter(|_| stem != part);
    service.or(scope).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit, container, unit in the container; `-` for none.
    fn told(path: &str) -> [String; 3] {
        let place = place(format!("4:cpu:/\n0::{path}\n").as_bytes());
        [place.unit, place.container, place.container_unit]
            .map(|name| name.unwrap_or_else(|| "-".into()))
    }

    #[test]
    fn units_and_containers_are_read_from_cgroup_paths() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (path, unit) in [
            ("/system.slice/nginx.service", "nginx.service"),
            (
                "/user.slice/user-0.slice/session-3.scope",
                "session-3.scope",
            ),
            ("/", "-"),
        ] {
            assert_eq!(told(path), [unit, "-", "-"]);
        }
        let scope = format!("docker-{id}.scope");
        assert_eq!(told(&format!("/docker/{id}")), ["-", id, "-"]);
        assert_eq!(told(&format!("/system.slice/{scope}")), [&*scope, id, "-"]);
        assert_eq!(
            told(&format!("/kubepods/pod1/cri-containerd-{id}.scope"))[1],
            id
        );
    }

    #[test]
    fn a_unit_in_a_container_is_not_the_hosts() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let unit = "nginx.service";
        let inside = "system.slice/nginx.service";
        assert_eq!(told(&format!("/docker/{id}/{inside}")), ["-", id, unit]);
        let scope = format!("libpod-{id}.scope");
        assert_eq!(
            told(&format!("/machine.slice/{scope}/container/{inside}")),
            [&*scope, id, unit]
        );
        assert_eq!(
            told(&format!("/lxc.payload.web/{inside}")),
            ["-", "web", unit]
        );
        let nspawn = "systemd-nspawn@web.service";
        assert_eq!(
            told(&format!("/machine.slice/{nspawn}/payload/{inside}")),
            [nspawn, "web", unit]
        );
        assert_eq!(
            told(&format!(
                "/machine.slice/machine-web.scope/payload/{inside}"
            )),
            ["machine-web.scope", "web", unit]
        );
        // A virtual machine is no container.
        assert_eq!(
            told("/machine.slice/machine-qemu.scope/libvirt/emulator"),
            ["machine-qemu.scope", "-", "-"]
        );
    }

    #[test]
    fn what_is_asked_for_stands_above_the_container() {
        let id = "0123456789abcdef".repeat(4);
        let other = "fedcba9876543210".repeat(4);
        let uid = "5b5e07db-f1b9-4530-81ef-b7d04d66b83e";
        let asked = |text: &str| {
            place(text.as_bytes()).asked.map(|asked| {
                assert_eq!(asked.id, id);
                (asked.user, asked.pod_uid)
            })
        };
        let pod = Some((None, Some(uid.to_owned())));
        let slice = uid.replace('-', "_");
        let slice = format!("0::/kubepods.slice/kubepods-burstable-pod{slice}.slice");
        // CRI-O has a level more from 1.29 on.
        for below in ["", "/container"] {
            assert_eq!(asked(&format!("{slice}/crio-{id}.scope{below}\n")), pod);
        }
        assert_eq!(
            asked(&format!("3:cpu:/kubepods/besteffort/pod{uid}/{id}\n")),
            pod
        );
        // As a process in a cgroup namespace of its own reads it.
        assert_eq!(
            asked(&format!("0::/../../kubepods-pod{uid}.slice/{id}\n")),
            pod
        );
        let below = "/kubepods/pod00000000-0000-0000-0000-000000000000";
        let inside = format!("0::/docker/{id}{below}/{other}\n");
        assert_eq!(asked(&inside), Some((None, None)));
        let users = "user.slice/user-1000.slice/user@1000.service/user.slice";
        let rootless = format!("0::/{users}/libpod-{id}.scope/container\n");
        assert_eq!(asked(&rootless), Some((Some(1000), None)));
        let roots = format!("0::/user.slice/user-0.slice/libpod-{id}.scope\n");
        assert_eq!(asked(&roots), Some((None, None)));
        // In a hierarchy that a user was given, too, it is his.
        let mixed = format!("4:freezer:/user/a/docker-{id}\n1:name=systemd:/{users}\n");
        assert_eq!(asked(&mixed), Some((Some(1000), None)));
        // A name is none that runtimes give.
        assert_eq!(asked(&format!("0::/lxc.payload.{id}\n")), None);
        assert_eq!(asked("0::/lxc.payload.web\n"), None);
        assert_eq!(asked("0::/system.slice/nginx.service\n"), None);
    }

    #[test]
    fn pods_are_told_by_their_uid_alone() {
        let hash = "0a1b".repeat(8);
        assert_eq!(pod_uid(&format!("pod{hash}")), Some(hash));
        let wrong = ["pod", "pod1", "kubepods.slice", "pod../../etc", "podman"];
        assert!(wrong.iter().all(|part| pod_uid(part).is_none()));
    }

    #[test]
    fn a_name_that_is_no_text_hides_no_other() {
        let place = place(b"0::/system.slice/nginx.service/\xff\n");
        assert_eq!(place.unit.as_deref(), Some("nginx.service"));
    }

    #[test]
    fn an_empty_name_is_none() {
        for path in ["/lxc.payload.", "/machine-.scope/payload"] {
            assert_eq!(told(path)[1], "-", "{path}");
        }
    }
}
