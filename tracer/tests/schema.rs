//! The JSON lines keep to `docs/event.schema.json` and are what serde writes; the
//! documentation names every field.

use std::net::IpAddr;
use std::sync::Arc;

use clap::ValueEnum;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use sockpick::event::{
    Backend, Endpoint, Event, Expected, Family, GroupAddress, GroupHealth, Handover, Item,
    Listener, ListenerId, Lost, Match, MemberHealth, Netns, Other, Owner, Process, Program, Queue,
    Reason, Reuseport, SCHEMA, Stage, Time, Verdict, Via, Why,
};
use sockpick::sinks::{Sink, json::Json};

const TEXT: &str = include_str!("../../docs/event.schema.json");
const DOCUMENTATION: &str = include_str!("../../docs/events.md");
const VIA: [Via; 7] = [
    Via::Lookup,
    Via::ReuseportHash,
    Via::ReuseportBpf,
    Via::ReuseportCbpf,
    Via::SkLookup,
    Via::SkAssign,
    Via::Tproxy,
];

const REASONS: [Reason; 22] = [
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

fn schema() -> Value {
    serde_json::from_str(TEXT).expect("JSON")
}

fn validator() -> Validator {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(&schema())
        .expect("a schema")
}

fn endpoint(address: [u8; 4], port: u16) -> Endpoint {
    let address = address.into();
    Endpoint { address, port }
}

/// The event that `docs/events.md` shows.
fn example() -> Event {
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

fn process(pid: u32) -> Process {
    Process {
        pid,
        comm: "nginx".into(),
        initial_pid: None,
        ended: false,
    }
}

fn other() -> Other {
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

fn lines(items: &[Item]) -> String {
    let mut out = Vec::new();
    let mut sink = Json::new(&mut out);
    for item in items {
        sink.write(item).expect("memory takes it");
    }
    sink.flush().expect("memory takes it");
    drop(sink);
    String::from_utf8(out).expect("text")
}

fn value(item: Item) -> Value {
    serde_json::from_str(&lines(&[item])).expect("JSON")
}

#[test]
fn every_word_is_in_the_schema() {
    let validator = validator();
    let good = |event| validator.validate(&value(Item::Syn(event))).expect("valid");
    let seen = example();
    for matched in Match::value_variants().iter().copied() {
        good(Event {
            matched,
            ..seen.clone()
        });
    }
    for via in VIA {
        good(Event {
            via,
            ..seen.clone()
        });
    }
    for verdict in Verdict::value_variants().iter().copied() {
        good(Event {
            verdict,
            ..seen.clone()
        });
    }
    for reason in REASONS {
        good(Event {
            reason: Some(reason),
            ..seen.clone()
        });
    }
    for backend in [Backend::Fentry, Backend::Kprobe, Backend::Legacy] {
        good(Event {
            backend,
            ..seen.clone()
        });
    }
    let mut ordered = seen.clone();
    if let Some(listener) = &mut ordered.listener {
        listener.opened = Some(Time(1_700_000_000_000_000_000));
    }
    good(ordered);
    for stage in [Stage::Kernel, Stage::Queue, Stage::Sink] {
        let (schema, lost) = (SCHEMA, 12);
        let line = value(Item::Lost(Lost {
            schema,
            lost,
            stage,
        }));
        validator.validate(&line).expect("valid");
    }
}

#[test]
fn a_health_record_is_in_the_schema() {
    let member = MemberHealth {
        id: Some(ListenerId(0x1f_0000_002a)),
        inode: Some(48_213),
        syns: 700,
        fair: 600.0,
        unbalanced: true,
        short_lived: false,
        opened_ns: None,
        closed_ns: None,
        destroyed: 0,
    };
    let health = GroupHealth {
        schema: SCHEMA,
        health: "reuseport",
        netns: 4_026_531_840,
        listener: GroupAddress {
            address: [0; 4].into(),
            port: 80,
            device: 3,
            device_name: Some("eth0".into()),
        },
        syns: 1200,
        destroyed: 0,
        members: vec![member],
    };
    let line = lines(&[Item::Health(Box::new(health))]);
    assert!(DOCUMENTATION.contains(line.trim_end()), "{line}");
    let line = serde_json::from_str(&line).expect("JSON");
    validator().validate(&line).expect("valid");
}

#[test]
fn a_handover_is_in_the_schema() {
    let handover = |why| {
        let (event, syn_listener) = (example(), Some(ListenerId(0x1e_0000_0007)));
        Item::Handover(Box::new(Handover {
            why,
            event,
            syn_listener,
        }))
    };
    let line = lines(&[handover(Why::CookieAck)]);
    assert!(DOCUMENTATION.contains(line.trim_end()), "{line}");
    for why in [Why::CookieAck, Why::Migrated] {
        validator().validate(&value(handover(why))).expect("valid");
    }
}

#[test]
fn what_a_later_version_adds_is_let_through() {
    let mut line = value(Item::Syn(example()));
    line["added"] = json!({ "later": 1 });
    line["listener"]["added"] = json!("later");
    validator().validate(&line).expect("valid");
}

#[test]
fn broken_lines_are_refused() {
    let validator = validator();
    let whole = value(Item::Syn(example()));
    let wrong = [
        ("/schema", json!(2)),
        ("/time", json!("2026-09-21T14:13:20Z")),
        ("/ktime_ns", json!("1")),
        ("/cpu", json!(-1)),
        ("/client/port", json!(65_536)),
        ("/destination/address", json!("6.6.6.666")),
        ("/match", json!("exactly")),
        ("/via", json!(null)),
        ("/verdict", json!("fine")),
        ("/reason", json!("because")),
        ("/expected/service", json!(1)),
        ("/expected/listener/closed", json!(17)),
        ("/expected/listener/owners", json!("nginx")),
        ("/listener", json!(null)), // with a match
        ("/listener/id", json!("2a")),
        ("/listener/owners", json!(null)),
        ("/listener/owners/0/pid", json!(1.5)),
        ("/listener/accepted_by/comm", json!(1)),
        ("/listener/queue/limit", json!(true)),
        ("/reuseport/member", json!(null)),
        ("/backend", json!("xdp")),
    ];
    for (pointer, bad) in wrong {
        let mut line = whole.clone();
        *line.pointer_mut(pointer).expect("a field") = bad;
        assert!(!validator.is_valid(&line), "{pointer}");
    }
    for field in schema()["$defs"]["event"]["required"]
        .as_array()
        .expect("a list")
    {
        let mut line = whole.clone();
        let fields = line.as_object_mut().expect("an object");
        fields
            .remove(field.as_str().expect("a name"))
            .expect("a field");
        assert!(!validator.is_valid(&line), "{field}");
    }
    for line in [json!({"schema": 1, "lost": 1}), json!([]), json!({})] {
        assert!(!validator.is_valid(&line), "{line}");
    }
}

#[test]
fn the_documentation_is_complete() {
    let example = serde_json::to_string_pretty(&example()).expect("serializes");
    assert!(
        DOCUMENTATION.contains(&format!("```json\n{example}\n```\n")),
        "{example}"
    );
    for (path, words) in ["event", "lost", "health"]
        .iter()
        .flat_map(|part| fields(part, ""))
    {
        let row = format!("\n| `{path}` | ");
        assert!(DOCUMENTATION.contains(&row), "{path}");
        for word in words {
            let word = format!("`{}`", word.as_str().expect("a word"));
            assert!(DOCUMENTATION.contains(&word), "{path}: {word}");
        }
    }
}

/// The fields of a part of the schema as the documentation writes them, each with its words.
fn fields(part: &str, prefix: &str) -> Vec<(String, Vec<Value>)> {
    let mut all = Vec::new();
    let schema = schema();
    let part = &schema["$defs"][part]["properties"];
    for (name, about) in part.as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let below = [
            (&about["$ref"], "."),
            (&about["anyOf"][1]["$ref"], "."),
            (&about["items"]["$ref"], "[]."),
        ];
        for (part, mark) in below {
            let part = part.as_str().and_then(|part| part.strip_prefix("#/$defs/"));
            all.extend(
                part.into_iter()
                    .flat_map(|part| fields(part, &format!("{path}{mark}"))),
            );
        }
        let words = about["enum"].as_array().cloned();
        all.push((path, words.unwrap_or_default()));
    }
    all
}

type Parts = (
    i64,
    [u64; 3],
    [bool; 6],
    [IpAddr; 2],
    String,
    Option<Arc<[Owner]>>,
);

fn owners(count: u64, text: &str) -> Arc<[Owner]> {
    let owner = |pid| Owner {
        pid,
        comm: text.to_owned(),
        exe: (pid > 1).then(|| format!("/usr/{text}")),
        unit: None,
        container: (pid > 2).then(|| text.to_owned()),
        container_unit: (pid > 3).then(|| text.to_owned()),
        starttime: (pid > 0).then_some(u64::from(pid)),
        ended: pid == 2,
        released: pid == 3,
    };
    (0..count as u32).map(owner).collect()
}

fn any_event((time, [a, b, c], has, [from, to], text, shared): Parts) -> Event {
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
        family: if to.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        },
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

fn parts() -> impl Strategy<Value = Parts> {
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

proptest! {
    #[test]
    fn lines_are_what_serde_writes(parts in prop::collection::vec(parts(), 1..40)) {
        let events: Vec<Event> = parts.into_iter().map(any_event).collect();
        let line = |event| serde_json::to_string(event).expect("serializes") + "\n";
        let plain: String = events.iter().map(line).collect();
        let items: Vec<Item> = events.into_iter().map(Item::Syn).collect();
        prop_assert_eq!(lines(&items), plain);
    }

    #[test]
    fn any_line_keeps_to_the_schema(parts in parts()) {
        let line = value(Item::Syn(any_event(parts)));
        if let Err(error) = validator().validate(&line) {
            prop_assert!(false, "{} in {}", error, line);
        }
    }
}
