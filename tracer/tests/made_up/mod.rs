//! Events that nobody saw: an example, and any.

use std::net::IpAddr;
use std::sync::Arc;

use clap::ValueEnum;
use proptest::prelude::*;
use sockpick::event::Item;
use sockpick::event::{
    Backend, Endpoint, Event, Expected, Family, Listener, ListenerId, Match, Netns, Other, Owner,
    Pod, Process, Program, Queue, Reason, Reuseport, SCHEMA, Time, Verdict, Via,
};
use sockpick::sinks::{Sink, json::Json};

pub(crate) const VIA: [Via; 7] = [
    Via::Lookup,
    Via::ReuseportHash,
    Via::ReuseportBpf,
    Via::ReuseportCbpf,
    Via::SkLookup,
    Via::SkAssign,
    Via::Tproxy,
];

pub(crate) const REASONS: [Reason; 22] = [
    Reason::RestartGap,
    Reason::LegacyOrder,
    Reason::DevOrder,
    Reason::DevMismatch,
    Reason::VrfScope,
    Reason::DualStack,
    Reason::OtherFamily,
    Reason::CpuAffinity,
    Reason::WrongOwner,
    Reason::OtherNetns,
    Reason::NotListening,
    Reason::NoListener,
    Reason::BpfSkLookup,
    Reason::SkAssign,
    Reason::Tproxy,
    Reason::ReuseportBpf,
    Reason::Moved,
    Reason::AcceptOverflow,
    Reason::NotTaken,
    Reason::CookieAck,
    Reason::Migrated,
    Reason::Unknown,
];

pub(crate) fn endpoint(address: [u8; 4], port: u16) -> Endpoint {
    let address = address.into();
    Endpoint { address, port }
}

/// The event that `docs/events.md` shows.
pub(crate) fn example() -> Event {
    let owner = |pid| Owner {
        pid,
        comm: "nginx".into(),
        exe: Some("/usr/sbin/nginx".into()),
        unit: Some("nginx-b.service".into()),
        starttime: Some(1_733_804),
        ..Owner::default()
    };
    Event {
        schema: SCHEMA,
        time: Time(1_790_000_000_123_456_789),
        ktime_ns: 987_654_321_012,
        cpu: 3,
        netns: Arc::new(Netns {
            inode: 4_026_531_840,
            cookie: Some(1),
            name: None,
        }),
        client: endpoint([203, 0, 113, 7], 40312),
        destination: endpoint([6, 6, 6, 6], 80),
        ifindex: 2,
        ifname: Some("eth0".into()),
        matched: Match::Wildcard,
        via: Via::ReuseportHash,
        verdict: Verdict::Uncovered,
        reason: Some(Reason::RestartGap),
        listener: Some(Listener {
            address: [0; 4].into(),
            port: 80,
            family: Family::Ipv4,
            device: None,
            v6only: false,
            inode: Some(48_213),
            cookie: Some(77),
            id: ListenerId(0x1f_0000_002a),
            opened: None,
            queue: Queue {
                length: 0,
                limit: 511,
            },
            owners: [1234, 1240].map(owner).into(),
            in_kernel: false,
            accepted_by: Some(process(1240)),
            opened_by: Some(process(1234)),
        }),
        reuseport: Some(Reuseport {
            group: 1,
            size: 4,
            member: Some(2),
            program_id: None,
        }),
        steered_by: None,
        expected: Some(Box::new(Expected {
            service: Some("A".into()),
            listener: Some(other()),
        })),
        candidates: None,
        backend: Backend::Fentry,
    }
}

pub(crate) fn process(pid: u32) -> Process {
    Process {
        pid,
        comm: "nginx".into(),
        initial_pid: None,
        ended: false,
    }
}

pub(crate) fn other() -> Other {
    Other {
        address: [6, 6, 6, 6].into(),
        port: 80,
        family: Family::Ipv4,
        device: None,
        v6only: false,
        inode: Some(47_001),
        id: Some(ListenerId(0x1e_0000_0007)),
        opened: None,
        closed: Some(Time(1_789_999_999_500_000_000)),
        owners: Arc::from([Owner {
            pid: 900,
            comm: "nginx".into(),
            exe: Some("/usr/sbin/nginx".into()),
            unit: Some("nginx-a.service".into()),
            starttime: Some(1_733_102),
            ..Owner::default()
        }]),
    }
}

/// Lines of JSON.
pub(crate) fn lines(items: &[Item]) -> String {
    let mut out = Vec::new();
    let mut sink = Json::new(&mut out);
    for item in items {
        sink.write(item).expect("memory takes it");
    }
    sink.flush().expect("memory takes it");
    drop(sink);
    String::from_utf8(out).expect("text")
}

pub(crate) type Parts = (
    i64,
    [u64; 3],
    [bool; 6],
    [IpAddr; 2],
    String,
    Option<Arc<[Owner]>>,
);

pub(crate) fn owners(count: u64, text: &str) -> Arc<[Owner]> {
    let owner = |pid| Owner {
        pid,
        comm: text.to_owned(),
        exe: (pid > 1).then(|| format!("/usr/{text}")),
        unit: None,
        container: (pid > 2).then(|| text.to_owned()),
        container_unit: (pid > 3).then(|| text.to_owned()),
        container_name: (pid > 2).then(|| text.to_owned()),
        pod: (pid > 2).then(|| Pod {
            namespace: (pid > 3).then(|| text.to_owned()),
            name: (pid > 3).then(|| text.to_owned()),
            uid: Some(text.to_owned()),
        }),
        starttime: (pid > 0).then_some(u64::from(pid)),
        ended: pid == 2,
        released: pid == 3,
    };
    (0..count as u32).map(owner).collect()
}

pub(crate) fn any_event((time, [a, b, c], has, [from, to], text, shared): Parts) -> Event {
    let mut event = example();
    event.time = Time(time);
    (event.ktime_ns, event.cpu, event.ifindex) = (a, b as u32, c as u32);
    let (inode, name) = (a as u32, has[1].then(|| text.clone()));
    event.netns = Arc::new(Netns {
        inode,
        cookie: has[0].then_some(b),
        name,
    });
    event.client = Endpoint {
        address: from,
        port: a as u16,
    };
    event.destination = Endpoint {
        address: to,
        port: c as u16,
    };
    event.ifname = has[2].then(|| text.as_str().into());
    event.via = VIA[(b % 7) as usize];
    let (length, limit) = (a as u32, c as u32);
    event.listener = event.listener.filter(|_| a % 8 > 0).map(|chosen| Listener {
        address: to,
        family: Family::of(to),
        device: has[1].then(|| text.as_str().into()),
        v6only: has[2],
        inode: has[3].then_some(b),
        cookie: has[4].then_some(c),
        id: ListenerId(a),
        queue: Queue { length, limit },
        in_kernel: has[0],
        accepted_by: has[5].then(|| Process {
            pid: length,
            comm: text.as_str().into(),
            initial_pid: has[1].then_some(limit),
            ended: has[2],
        }),
        opened_by: has[0].then(|| process(limit)),
        owners: shared.unwrap_or_else(|| owners(a % 5, &text)),
        ..chosen
    });
    event.verdict = Verdict::value_variants()[(c % 5) as usize];
    event.reason = has[0].then(|| REASONS[(c % REASONS.len() as u64) as usize]);
    let program = |id| Program {
        id,
        name: text.clone(),
    };
    event.steered_by = has[1].then(|| (0..b as u32 % 3).map(program).collect());
    event.expected = event
        .expected
        .filter(|_| has[0] && has[2])
        .map(|mut expected| {
            expected.service = has[3].then(|| text.as_str().into());
            expected
        });
    event.candidates = (has[0] && has[4]).then(|| (0..a % 3).map(|_| other()).collect());
    event.matched = if event.listener.is_some() {
        Match::DualStack
    } else {
        Match::None
    };
    let (member, program_id) = (has[4].then_some(c as u16), has[5].then_some(b as u32));
    event.reuseport = has[3].then_some(Reuseport {
        group: limit,
        size: b as u16,
        member,
        program_id,
    });
    event
}

pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let pool = vec![owners(4, "nginx"), owners(1, "\"\u{1b}\\é"), owners(0, "")];
    let time = prop_oneof![any::<i64>(), 0..3_000_000_000_i64];
    let shared = prop::option::of(prop::sample::select(pool));
    (
        time,
        any::<[u64; 3]>(),
        any::<[bool; 6]>(),
        any::<[IpAddr; 2]>(),
        ".{0,9}",
        shared,
    )
}
