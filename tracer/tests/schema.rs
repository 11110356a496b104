//! The JSON lines keep to `docs/event.schema.json`; the documentation names every field.

mod made_up;

use clap::ValueEnum;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use sockpick::event::{
    Backend, Event, GroupAddress, GroupHealth, Handover, Item, ListenerId, Lost, Match,
    MemberHealth, SCHEMA, Stage, Time, Verdict, Why,
};

use made_up::{REASONS, VIA, any_event, example, lines, parts};

const TEXT: &str = include_str!("../../docs/event.schema.json");
const DOCUMENTATION: &str = include_str!("../../docs/events.md");

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

proptest! {
    #[test]
    fn any_line_keeps_to_the_schema(parts in parts()) {
        let line = value(Item::Syn(any_event(parts)));
        if let Err(error) = validator().validate(&line) {
            prop_assert!(false, "{} in {}", error, line);
        }
    }
}
