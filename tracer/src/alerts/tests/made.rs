//! Events and times, made up.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::audit::{self, Finding, Kind, Party, Severity};
use crate::event::{
    Backend, Event, Expected, Family, Listener, ListenerId, Match, Netns, Other, Queue, SCHEMA, Via,
};
use crate::pipeline::{Fed, GroupBalance, Is, Starvation};

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const MINUTE: u64 = 60 * SECOND;
/// What the wall clock is ahead of the other.
const AHEAD: i64 = 1_790_000_000_000_000_000;

/// By a wall clock that nobody sets.
pub(super) fn at(ktime_ns: u64) -> Now {
    Now {
        ktime_ns,
        wall: Time(AHEAD + i64::try_from(ktime_ns).expect("not that long")),
    }
}

pub(super) fn endpoint(last: u8) -> Endpoint {
    Endpoint {
        address: tenant(last),
        port: 80,
    }
}

fn tenant(last: u8) -> IpAddr {
    Ipv4Addr::new(6, 6, 6, last).into()
}

/// A group in the namespace of this name, one of whose members starves.
pub(super) fn starving(netns: &str) -> GroupBalance {
    let fed = |inode, syns| Fed {
        inode,
        syns,
        fair: 500,
        owners: Arc::default(),
    };
    GroupBalance {
        netns: netns.to_owned(),
        listener: "*:80".to_owned(),
        is: Is::Starved(Starvation {
            members: 2,
            syns: 1_000,
            starving: 1,
            starved: vec![fed(2, 3)],
            most: fed(1, 997),
        }),
    }
}

/// A listener on a tenant's address; 0: on any.
pub(super) fn listener(last: u8) -> Listener {
    let any = Ipv4Addr::UNSPECIFIED.into();
    Listener {
        address: if last == 0 { any } else { tenant(last) },
        port: 80,
        family: Family::Ipv4,
        device: None,
        v6only: false,
        inode: None,
        cookie: None,
        id: ListenerId(last.into()),
        opened: None,
        queue: Queue {
            length: 0,
            limit: 128,
        },
        owners: Arc::default(),
        in_kernel: false,
        accepted_by: None,
        opened_by: None,
    }
}

fn other(last: u8) -> Other {
    let listener = listener(last);
    Other {
        address: listener.address,
        port: listener.port,
        family: listener.family,
        device: None,
        v6only: false,
        inode: None,
        id: None,
        opened: None,
        closed: None,
        owners: Arc::default(),
    }
}

/// A SYN for the tenant's address that its listener takes.
pub(super) fn right(last: u8, now: Now) -> Event {
    Event {
        schema: SCHEMA,
        time: now.wall,
        ktime_ns: now.ktime_ns,
        cpu: 0,
        netns: Arc::new(Netns {
            inode: 4,
            cookie: None,
            name: None,
        }),
        client: endpoint(250),
        destination: endpoint(last),
        ifindex: 2,
        ifname: None,
        matched: Match::Exact,
        via: Via::Lookup,
        verdict: Verdict::Ok,
        reason: None,
        listener: Some(listener(last)),
        reuseport: None,
        steered_by: None,
        expected: None,
        candidates: None,
        backend: Backend::Fentry,
    }
}

/// A SYN for the tenant's address that goes wrong: the wildcard has it.
pub(super) fn wrong(last: u8, verdict: Verdict, reason: Reason, now: Now) -> Event {
    let refused = verdict == Verdict::Refused;
    Event {
        matched: Match::Wildcard,
        verdict,
        reason: Some(reason),
        listener: (!refused).then(|| listener(0)),
        expected: Some(Box::new(Expected {
            service: None,
            listener: Some(other(last)),
        })),
        ..right(last, now)
    }
}

/// The tenant's listener is gone.
pub(super) fn gap(last: u8, now: Now) -> Event {
    wrong(last, Verdict::Uncovered, Reason::RestartGap, now)
}

/// A finding of this id.
pub(super) fn found(id: &str) -> Finding {
    Finding {
        schema: audit::SCHEMA,
        id: id.to_owned(),
        kind: Kind::NoAcceptor,
        severity: Severity::Warning,
        netns: Arc::new(Netns {
            inode: 4,
            cookie: None,
            name: None,
        }),
        count: 2,
        listeners: vec![Party {
            address: tenant(1),
            port: 80,
            family: Family::Ipv4,
            device: None,
            v6only: false,
            uid: 0,
            inodes: Vec::new(),
            owners: Vec::new(),
        }],
        connections: None,
        clients: Vec::new(),
        cause: "Nobody accepts.".to_owned(),
        remedy: "See why.".to_owned(),
        of_first: 1,
    }
}

/// How the SYNs of the alert go wrong.
pub(super) fn situation(alert: &Alert) -> &Situation {
    alert.identity.situation().expect("it is about SYNs")
}

pub(super) fn told(alerts: &mut Alerts) -> Vec<(Occasion, Option<String>)> {
    let notices = alerts.notices();
    notices
        .map(|notice| (notice.occasion, situation(&notice.alert).expected.clone()))
        .collect()
}

pub(super) fn occasions(alerts: &mut Alerts) -> Vec<Occasion> {
    alerts.notices().map(|notice| notice.occasion).collect()
}

/// As an engine does: each time-out when it is due.
pub(super) fn run(alerts: &mut Alerts, until_ns: u64) -> Vec<(u64, Notice)> {
    let mut notices = Vec::new();
    while let Some(due_ns) = alerts.next_timeout().filter(|&due_ns| due_ns <= until_ns) {
        alerts.timeout(at(due_ns));
        notices.extend(alerts.notices().map(|notice| (due_ns, notice)));
    }
    notices
}
