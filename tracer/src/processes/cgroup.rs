//! Units and containers, by the names of cgroups.

/// Where a process runs, as far as its cgroups tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// systemd unit of the host.
    pub(super) unit: Option<String>,
    /// Id or name of the container.
    pub(super) container: Option<String>,
    /// systemd unit of the container.
    pub(super) container_unit: Option<String>,
}

/// Reads `/proc/PID/cgroup`: the first hierarchy that tells each. A name may have any bytes, and
/// one that is no text hides no other.
pub(super) fn place(text: &[u8]) -> Place {
    let text = String::from_utf8_lossy(text);
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found = Place::default();
    for path in paths {
        let Place {
            unit,
            container,
            container_unit,
        } = of_path(path);
        found.unit = found.unit.or(unit);
        found.container = found.container.or(container);
        found.container_unit = found.container_unit.or(container_unit);
    }
    found
}

/// What is before the container's part is the host's, what is behind it the container's.
fn of_path(path: &str) -> Place {
    let parts: Vec<&str> = path.split('/').collect();
    let at = (0..parts.len()).find_map(|at| Some((at, container(&parts, at)?)));
    let host = at.as_ref().map_or(parts.len(), |&(at, _)| at + 1);
    Place {
        unit: unit(&parts[..host]),
        container_unit: unit(&parts[host..]),
        container: at.map(|(_, name)| name),
    }
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

/// The container that a part of a path names, if it does: by an id of 64 hexadecimal digits,
/// as every runtime of note does, with a prefix and a suffix or without; or by what LXC and
/// systemd-nspawn put there.
fn container(parts: &[&str], at: usize) -> Option<String> {
    named(parts, at).filter(|name| !name.is_empty())
}

fn named(parts: &[&str], at: usize) -> Option<String> {
    let part = parts[at];
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    let id = stem.rsplit(['-', ':']).next().unwrap_or(stem);
    if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(id.to_owned());
    }
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
