//! How who holds a listener is written: `nginx(192) +2 systemd(1)`.

use std::fmt::Write as _;

use crate::{
    event::{Listener, Owner, Pod, Process, counting},
    words::printable::printable,
};

/// Most names that are written; who has another is in the number behind them.
const MOST_NAMES: usize = 4;
/// A socket of the kernel's own.
pub const KERNEL: &str = "kernel";
/// It cannot be told.
pub const UNKNOWN: &str = "?";

/// Processes of one name.
struct Named<'a> {
    first: &'a Owner,
    more: usize,
    /// Among them is process 1, which holds sockets for others.
    init: bool,
}

/// Who holds a socket, of those that differ by name one each and how many more have it, process
/// 1 last. Empty for nobody.
#[must_use]
pub fn owners(owners: &[Owner]) -> String {
    holders(owners, None)
}

/// As [`owners`], with the process `first` before the others, if it is among them.
#[must_use]
pub fn holders(owners: &[Owner], first: Option<u32>) -> String {
    let named = named(owners, first);
    let mut text = String::new();
    for one in named.iter().take(MOST_NAMES) {
        if !text.is_empty() {
            text.push(' ');
        }
        let Owner {
            pid, comm, ended, ..
        } = one.first;
        text += &process(*pid, comm, *ended);
        if one.more > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, " +{}", one.more);
        }
    }
    let rest = named.iter().skip(MOST_NAMES);
    let rest: usize = rest.map(|one| 1 + one.more).sum();
    if rest > 0 {
        let _ = write!(text, " and {rest} more");
    }
    text
}

fn named(owners: &[Owner], first: Option<u32>) -> Vec<Named<'_>> {
    let mut named: Vec<Named<'_>> = Vec::new();
    let ahead = counting(owners).filter(|owner| Some(owner.pid) == first);
    let others = counting(owners).filter(|owner| Some(owner.pid) != first);
    for owner in ahead.chain(others) {
        let init = owner.pid == 1;
        match named.iter_mut().find(|one| one.first.comm == owner.comm) {
            Some(one) => {
                one.more += 1;
                one.init |= init;
            }
            None => named.push(Named {
                first: owner,
                more: 0,
                init,
            }),
        }
    }
    named.sort_by_key(|one| one.init);
    named
}

/// Who holds a listener, or what else is known of whose it is.
#[must_use]
pub fn holder(listener: &Listener) -> String {
    let acceptor = listener.accepted_by.as_ref();
    if !listener.owners.is_empty() {
        return holders(&listener.owners, acceptor.map(|process| process.pid));
    }
    if listener.in_kernel {
        return KERNEL.to_owned();
    }
    unseen(acceptor, listener.opened_by.as_ref())
}

/// Whose a listener is of which no holder is known: the kernel told who took connections from
/// it, or who opened it.
#[must_use]
fn unseen(accepted_by: Option<&Process>, opened_by: Option<&Process>) -> String {
    let outside = |process: &&Process| process.pid == 0;
    let known = accepted_by.filter(outside).or(opened_by);
    known.map_or_else(|| UNKNOWN.to_owned(), brief)
}

/// Who holds a listener, for its line at the end: and who took the last connection from it, if
/// that was none of the names.
#[must_use]
pub fn holder_at_end(
    owners: &[Owner],
    in_kernel: bool,
    accepted_by: Option<&Process>,
    opened_by: Option<&Process>,
) -> String {
    let acceptor = accepted_by.map(|process| process.pid);
    let (mut text, named) = match owners {
        [] if in_kernel => (KERNEL.to_owned(), None),
        [] => (unseen(accepted_by, opened_by), opened_by),
        owners => (holders(owners, acceptor), None),
    };
    let is_named = |by: &Process| {
        let holds = owners.iter().any(|owner| *owner.comm == *by.comm);
        holds || named.is_some_and(|named| named.comm == by.comm)
    };
    // Of one out of sight only a thread's name is known, which may be a holder's.
    if let Some(process) = accepted_by
        && process.pid != 0
        && !is_named(process)
    {
        let _ = write!(text, ", last accepted by {}", brief(process));
    }
    text
}

/// Who holds a socket, as [`owners`], and what the container is called that all of them run in:
/// `nginx(342) in container web of pod shop/web-1`.
#[must_use]
pub fn located(owners: &[Owner]) -> String {
    let text = self::owners(owners);
    let mut places = counting(owners).map(called);
    match places.next().flatten() {
        Some(place) if places.all(|other| other.as_ref() == Some(&place)) => {
            format!("{text} in {place}")
        }
        _ => text,
    }
}

/// What the container of a process, and its pod, is called.
fn called(owner: &Owner) -> Option<String> {
    let pod = owner.pod.as_ref().and_then(Pod::full_name);
    let text = match (&owner.container_name, pod) {
        (Some(name), Some(pod)) => format!("container {name} of pod {pod}"),
        (Some(name), None) => format!("container {name}"),
        (None, Some(pod)) => format!("pod {pod}"),
        (None, None) => return None,
    };
    Some(printable(&text).into_owned())
}

/// Where a process runs: its unit, or its container, by which a unit in it is told from the
/// host's of that name. A container is told by its pod, else by its name, else by its id. Empty
/// for neither.
#[must_use]
pub fn place(owner: &Owner) -> String {
    let pod = owner.pod.as_ref().and_then(Pod::full_name);
    let container = pod
        .or_else(|| owner.container_name.clone())
        .or_else(|| owner.container.as_deref().map(short));
    let text = match (container, &owner.container_unit) {
        (Some(container), Some(unit)) => format!("{container}/{unit}"),
        (Some(container), None) => container,
        (None, _) => owner.unit.clone().unwrap_or_default(),
    };
    printable(&text).into_owned()
}

/// A container's id as the runtimes' own tools shorten it; a name as it is.
fn short(id: &str) -> String {
    if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        id[..12].to_owned()
    } else {
        id.to_owned()
    }
}

fn brief(by: &Process) -> String {
    process(by.pid, &by.comm, by.ended)
}

fn process(pid: u32, comm: &str, ended: bool) -> String {
    let comm = printable(comm);
    match (pid, ended) {
        (0, _) => format!("{comm}({UNKNOWN})"),
        (pid, true) => format!("{comm}({pid}, ended)"),
        (pid, false) => format!("{comm}({pid})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pid: u32, comm: &str) -> Owner {
        Owner {
            pid,
            comm: comm.to_owned(),
            ..Owner::default()
        }
    }

    fn by(pid: u32, comm: &str) -> Process {
        Process {
            pid,
            comm: comm.into(),
            initial_pid: None,
            ended: false,
        }
    }

    #[test]
    fn those_that_differ_by_name_are_named() {
        let nginx: Vec<Owner> = (191..194).map(|pid| owner(pid, "nginx")).collect();
        assert_eq!(owners(&nginx), "nginx(191) +2");
        assert_eq!(holders(&nginx, Some(192)), "nginx(192) +2");
        assert_eq!(holders(&nginx, Some(7)), "nginx(191) +2");
        let handed = [owner(1, "systemd"), owner(184, "sshd"), owner(190, "sshd")];
        assert_eq!(owners(&handed), "sshd(184) +1 systemd(1)");
        assert_eq!(owners(&handed[..1]), "systemd(1)");
        assert_eq!(owners(&[]), "");
        let many: Vec<Owner> = (2..9).map(|pid| owner(pid, &format!("p{pid}"))).collect();
        assert_eq!(owners(&many), "p2(2) p3(3) p4(4) p5(5) and 3 more");
    }

    #[test]
    fn who_ended_or_is_out_of_sight_is_marked() {
        let mut gone = owner(44, "appA");
        gone.ended = true;
        let heir = owner(45, "rinetd");
        assert_eq!(owners(&[heir, gone.clone()]), "rinetd(45)");
        assert_eq!(owners(&[gone]), "appA(44, ended)");
        assert_eq!(owners(&[owner(0, "appA")]), "appA(?)");
        assert_eq!(unseen(None, None), "?");
        assert_eq!(unseen(Some(&by(0, "a")), Some(&by(0, "b"))), "a(?)");
        assert_eq!(unseen(Some(&by(9, "a")), Some(&by(3, "b"))), "b(3)");
    }

    #[test]
    fn a_unit_in_a_container_is_not_the_hosts() {
        let mut nginx = owner(9, "nginx");
        assert_eq!(place(&nginx), "");
        nginx.unit = Some("nginx.service".into());
        assert_eq!(place(&nginx), "nginx.service");
        nginx.unit = Some("docker-0123.scope".into());
        nginx.container = Some("0123456789abcdef".repeat(4));
        assert_eq!(place(&nginx), "0123456789ab");
        nginx.container_unit = Some("nginx.service".into());
        assert_eq!(place(&nginx), "0123456789ab/nginx.service");
        nginx.container = Some("web-1".into());
        assert_eq!(place(&nginx), "web-1/nginx.service");
    }

    #[test]
    fn a_container_is_told_by_its_pod_or_its_name() {
        let mut nginx = owner(9, "nginx");
        nginx.container = Some("0123456789abcdef".repeat(4));
        let mut pod = Pod {
            uid: Some("5b5e07db-f1b9-4530-81ef-b7d04d66b83e".into()),
            ..Pod::default()
        };
        nginx.pod = Some(pod.clone());
        assert_eq!(place(&nginx), "0123456789ab");
        assert_eq!(located(&[nginx.clone()]), "nginx(9)");
        nginx.container_name = Some("web".into());
        assert_eq!(place(&nginx), "web");
        assert_eq!(located(&[nginx.clone()]), "nginx(9) in container web");
        (pod.namespace, pod.name) = (Some("shop".into()), Some("web-1".into()));
        nginx.pod = Some(pod);
        assert_eq!(place(&nginx), "shop/web-1");
        let both = [nginx.clone(), nginx.clone()];
        let told = "nginx(9) +1 in container web of pod shop/web-1";
        assert_eq!(located(&both), told);
        nginx.container_name = None;
        let told = "nginx(9) in pod shop/web-1";
        assert_eq!(located(&[nginx.clone()]), told);
        // They are not all in there.
        let strangers = [nginx, owner(1, "systemd")];
        assert_eq!(located(&strangers), "nginx(9) systemd(1)");
        assert_eq!(located(&[]), "");
    }

    #[test]
    fn the_end_tells_who_took_the_last_connection_where_that_is_another() {
        let held = [owner(45, "rinetd")];
        let end = |by: &Process| holder_at_end(&held, false, Some(by), None);
        assert_eq!(end(&by(45, "rinetd")), "rinetd(45)");
        assert_eq!(end(&by(46, "rinetd")), "rinetd(45)");
        let mut app = by(44, "appA");
        app.ended = true;
        assert_eq!(end(&app), "rinetd(45), last accepted by appA(44, ended)");
        assert_eq!(holder_at_end(&[], true, None, None), "kernel");
        assert_eq!(holder_at_end(&[], false, Some(&by(0, "a")), None), "a(?)");
    }
}
