//! What the sinks write, byte for byte.

use std::sync::Arc;

use sockpick::event::{
    Backend, Endpoint, Event, Expected, Family, GroupAddress, GroupHealth, Item, Listener,
    ListenerId, Lost, Match, MemberHealth, Netns, Other, Owner, Process, Program, Queue, Reason,
    Reuseport, SCHEMA, Stage, Time, Verdict, Via, Why,
};
use sockpick::sinks::{Sink, json::Json, summary, table::Table};

const OWN_NETNS: u32 = 4_026_531_840;

fn endpoint(text: &str) -> Endpoint {
    let address: std::net::SocketAddr = text.parse().expect("an address and a port");
    Endpoint {
        address: address.ip(),
        port: address.port(),
    }
}

fn owners(pids: std::ops::Range<u32>, comm: &str) -> Arc<[Owner]> {
    let owner = |pid| Owner {
        pid,
        comm: comm.to_owned(),
        exe: (pid > 1).then(|| format!("/usr/sbin/{comm}")),
        unit: (pid > 2).then(|| format!("{comm}.service")),
        ..Owner::default()
    };
    pids.map(owner).collect()
}

fn listener(address: &str, owners: Arc<[Owner]>) -> Listener {
    let Endpoint { address, port } = endpoint(address);
    Listener {
        address,
        port,
        family: Family::of(address),
        device: None,
        v6only: false,
        inode: Some(48_213),
        cookie: None,
        id: ListenerId(0x1f_0000_002a),
        queue: Queue {
            length: 0,
            limit: 511,
        },
        owners,
        opened: None,
        in_kernel: false,
        accepted_by: None,
        opened_by: None,
    }
}

fn syn(destination: &str, matched: Match, via: Via, listener: Option<Listener>) -> Event {
    Event {
        schema: SCHEMA,
        time: Time(1_790_000_000_123_456_789),
        ktime_ns: 987_654_321_012,
        cpu: 3,
        netns: Arc::new(Netns {
            inode: OWN_NETNS,
            cookie: None,
            name: None,
        }),
        client: endpoint("203.0.113.7:40312"),
        destination: endpoint(destination),
        ifindex: 2,
        ifname: Some("eth0".into()),
        matched,
        via,
        verdict: if listener.is_some() {
            Verdict::Ok
        } else {
            Verdict::Refused
        },
        reason: listener.is_none().then_some(Reason::NoListener),
        listener,
        reuseport: None,
        steered_by: None,
        expected: None,
        candidates: None,
        backend: Backend::Fentry,
    }
}

fn grouped() -> Event {
    let mut member = listener("0.0.0.0:8080", owners(2000..2004, "envoy"));
    member.device = Some("eth0".into());
    member.accepted_by = Some(Process {
        pid: 2002,
        comm: "envoy".into(),
        initial_pid: None,
        ended: false,
    });
    let mut event = syn(
        "10.12.114.16:8080",
        Match::Wildcard,
        Via::ReuseportHash,
        Some(member),
    );
    event.reuseport = Some(Reuseport {
        group: 1,
        size: 4,
        member: Some(2),
        program_id: None,
    });
    event.time = Time(1_790_000_000_987_654_321);
    event
}

/// An alert, with all there is to say of it.
fn uncovered() -> Event {
    let any = listener("0.0.0.0:80", owners(456..457, "nginx"));
    let mut event = syn("6.6.6.6:80", Match::Wildcard, Via::ReuseportHash, Some(any));
    event.verdict = Verdict::Uncovered;
    event.reason = Some(Reason::RestartGap);
    event.expected = Some(Box::new(Expected {
        service: Some("A".into()),
        listener: Some(Other {
            address: [6, 6, 6, 6].into(),
            port: 80,
            family: Family::Ipv4,
            device: None,
            v6only: false,
            inode: Some(47_001),
            id: None,
            opened: None,
            closed: Some(Time(1_790_000_000_000_000_000)),
            owners: owners(123..124, "nginx"),
        }),
    }));
    event
}

/// A refusal by which way the SYN came.
fn out_of_reach() -> Event {
    let mut event = syn("10.0.0.2:179", Match::None, Via::Lookup, None);
    event.ifname = Some("blue".into());
    event.reason = Some(Reason::VrfScope);
    event.expected = Some(Box::new(Expected {
        service: None,
        listener: Some(Other {
            address: [0, 0, 0, 0].into(),
            port: 179,
            family: Family::Ipv4,
            device: None,
            v6only: false,
            inode: Some(47_002),
            id: None,
            opened: None,
            closed: None,
            owners: owners(98..99, "bgpd"),
        }),
    }));
    event
}

/// An alert that a program caused.
fn stolen() -> Event {
    let thief = listener("127.0.0.1:99", owners(77..78, "thief"));
    let mut event = syn("6.6.6.6:80", Match::None, Via::SkLookup, Some(thief));
    event.verdict = Verdict::Misdirected;
    event.reason = Some(Reason::BpfSkLookup);
    let program = |id, name: &str| Program {
        id,
        name: name.to_owned(),
    };
    event.steered_by = Some([program(31, "dispatch"), program(32, "later")].into());
    event.expected = Some(Box::new(Expected {
        service: Some("A".into()),
        listener: None,
    }));
    event
}

fn dual_stack() -> Event {
    let any = listener("[::]:443", owners(1..2, "evil\u{1b}[2Jname"));
    let mut event = syn(
        "6.6.6.6:443",
        Match::DualStack,
        Via::ReuseportBpf,
        Some(any),
    );
    event.reuseport = Some(Reuseport {
        group: 1,
        size: 64,
        member: None,
        program_id: None,
    });
    event
}

fn steered() -> Event {
    let proxy = listener("127.0.0.1:15001", owners(0..0, ""));
    let mut event = syn("6.6.6.6:83", Match::None, Via::Tproxy, Some(proxy));
    event.verdict = Verdict::Steered;
    event.reason = Some(Reason::Tproxy);
    event.netns = Arc::new(Netns {
        inode: 4_026_532_281,
        cookie: Some(5),
        name: Some("tenant-a".into()),
    });
    event.ifname = None;
    event
}

fn exact(client: &str, address: &str, netns: u32) -> Event {
    let chosen = listener(address, owners(1234..1235, "nginx"));
    let mut event = syn(address, Match::Exact, Via::Lookup, Some(chosen));
    event.client = endpoint(client);
    event.netns = Arc::new(Netns {
        inode: netns,
        cookie: None,
        name: None,
    });
    event
}

fn lost(lost: u64, stage: Stage) -> Item {
    Item::Lost(Lost {
        schema: SCHEMA,
        lost,
        stage,
    })
}

fn session() -> Vec<Item> {
    let slaac = "[2001:db8:1234:5678:216:3eff:fe12:3456]:51234";
    let syns = [
        exact("203.0.113.7:40312", "6.6.6.6:80", OWN_NETNS),
        grouped(),
        uncovered(),
        stolen(),
        out_of_reach(),
        dual_stack(),
        syn("6.6.6.6:81", Match::None, Via::Lookup, None),
        syn("6.6.6.6:82", Match::None, Via::SkLookup, None),
        steered(),
        exact(slaac, "[2001:db8:6::6]:443", OWN_NETNS + 1),
        exact("100.100.100.100:65535", "100.100.100.200:65535", OWN_NETNS),
    ];
    let mut items: Vec<Item> = syns.map(Item::Syn).into();
    items.extend([lost(12, Stage::Queue), lost(1, Stage::Kernel)]);
    let last = exact("203.0.113.7:40312", "6.6.6.6:80", OWN_NETNS);
    items.push(Item::Syn(last));
    items
}

fn written(sink: &mut dyn Sink, items: &[Item]) {
    for item in items {
        sink.write(item).expect("memory takes it");
    }
    sink.flush().expect("memory takes it");
}

fn table(color: bool) -> String {
    let mut out = Vec::new();
    let mut table = Table::new(&mut out, color, OWN_NETNS).in_zone(jiff::tz::TimeZone::UTC);
    written(&mut table, &session());
    drop(table);
    String::from_utf8(out).expect("text")
}

fn json(items: &[Item]) -> String {
    let mut out = Vec::new();
    written(&mut Json::new(&mut out), items);
    String::from_utf8(out).expect("text")
}

#[test]
fn table_lines() {
    insta::assert_snapshot!(table(false));
}

#[test]
fn table_colours() {
    let table = table(true);
    assert!(!table.contains("\u{1b}[2J"));
    insta::assert_snapshot!(table.replace('\u{1b}', "ESC"));
}

#[test]
fn table_head_stands_before_the_first_syn() {
    let mut out = Vec::new();
    written(&mut Table::new(&mut out, false, OWN_NETNS), &[]);
    assert!(out.starts_with(b"TIME "));
}

#[test]
fn json_lines() {
    insta::assert_snapshot!(json(&session()));
}

fn line(
    endpoint: &str,
    group: Option<u32>,
    member: Option<u16>,
    syns: u64,
) -> summary::ListenerLine {
    summary::ListenerLine {
        netns: OWN_NETNS,
        endpoint: endpoint.to_owned(),
        group,
        member,
        syns,
        queue: Some(Queue {
            length: 2,
            limit: 511,
        }),
        owner: format!("nginx({})", 1200 + member.unwrap_or(0)),
        ..summary::ListenerLine::default()
    }
}

#[test]
fn summary_of_a_session() {
    let mut closed = line("*:80", Some(1), Some(1), 5);
    closed.closed = true;
    closed.queue = None;
    let mut busiest = line("*:80", Some(1), Some(0), 600);
    busiest.over = Some(1.2);
    let once = |id| {
        let mut once = line("6.6.6.6:8888", Some(10 + id as u32), Some(0), 2);
        (once.id, once.closed) = (id, true);
        once.owner = format!("once({id})");
        once
    };
    let mut other = line(
        "[2001:db8:1234:5678:216:3eff:fe12:3456]%eth0:443",
        None,
        None,
        12,
    );
    other.netns += 1;
    other.netns_name = "tenant-a".to_owned();
    other.owner =
        "a-long-process-name(1234567) +3 and whatever else it says about itself".to_owned();
    let summary = summary::Summary {
        own_netns: OWN_NETNS,
        seconds: 60.04,
        totals: summary::Totals {
            syns: 1255,
            shown: 1200,
            filtered: 30,
            own: 5,
            not_shown: 10,
            refused: 7,
            lost: vec![(Stage::Kernel, 1), (Stage::Queue, 9), (Stage::Sink, 0)],
        },
        verdicts: vec![
            ((Verdict::Ok, None), 1100),
            ((Verdict::Misdirected, Some(Reason::DevOrder)), 3),
            ((Verdict::Uncovered, Some(Reason::RestartGap)), 90),
            ((Verdict::Uncovered, Some(Reason::DualStack)), 2),
            ((Verdict::Refused, Some(Reason::NoListener)), 7),
        ],
        overflowed: 4,
        not_taken: 1,
        handovers: vec![(Why::CookieAck, 3)],
        listeners: vec![
            line("6.6.6.6:80", None, None, 216),
            line("*:80", Some(1), Some(1), 400),
            busiest,
            closed,
            line("*:80", Some(1), None, 0),
            other,
            once(7),
            once(9),
            once(8),
            line("6.6.6.6:8888", Some(20), Some(0), 1),
        ],
        health: vec![health()],
        notes: vec![
            "short.".to_owned(),
            "one that goes on ".repeat(10) + "and then ends.",
        ],
    };
    let text = summary.to_string();
    assert!(
        text.lines().all(|line| line.chars().count() <= 120),
        "{text}"
    );
    insta::assert_snapshot!(text);
}

fn health() -> GroupHealth {
    let member = |syns, unbalanced, short_lived| MemberHealth {
        id: Some(ListenerId(0x1f_0000_002a)),
        inode: None,
        syns,
        fair: 500.0,
        unbalanced,
        short_lived,
        opened_ns: None,
        closed_ns: None,
        destroyed: 0,
    };
    GroupHealth {
        schema: SCHEMA,
        health: "reuseport",
        netns: OWN_NETNS,
        listener: GroupAddress {
            address: [0; 4].into(),
            port: 80,
            device: 4,
            device_name: Some("red".into()),
        },
        syns: 1005,
        destroyed: 3,
        members: vec![
            member(600, true, false),
            member(400, false, false),
            member(5, false, true),
        ],
    }
}

#[test]
fn summary_of_nothing() {
    let seconds = 3.21;
    let summary = summary::Summary {
        own_netns: OWN_NETNS,
        seconds,
        ..Default::default()
    };
    insta::assert_snapshot!(summary.to_string(), @"no SYN reached a listener lookup in 3.2 s");
}

#[test]
fn summary_that_does_not_add_up() {
    let text = |syns, shown| {
        let totals = summary::Totals {
            syns,
            shown,
            ..Default::default()
        };
        summary::Summary {
            own_netns: OWN_NETNS,
            seconds: 1.0,
            totals,
            ..Default::default()
        }
        .to_string()
    };
    insta::assert_snapshot!(text(12, 10), @"
    12 SYNs in 1.0 s = 10 shown + 0 filtered + 0 own + 0 not shown + 0 lost
    the sum is wrong: 2 SYNs unaccounted for
    ");
    insta::assert_snapshot!(text(0, 1), @"
    0 SYNs in 1.0 s = 1 shown + 0 filtered + 0 own + 0 not shown + 0 lost
    the sum is wrong: 1 SYN more than the kernel counted
    ");
}
