//! Anonymised recordings: the golden one, and a made-up one with every kind of name.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use sockpick::decode::Record;
use sockpick::event::{Owner, Pod, Process};
use sockpick::host::Then;
use sockpick::host::answers::{Key, Value};
use sockpick::pipeline::{End, Input};
use sockpick::recording::{Asked, Frame, Header, writer::Writer};
use sockpick_ebpf::abi::{Listener, SynRecord, kind};

use super::*;

/// Fields of an event that hold an address or a name.
const HIDDEN: [&str; 12] = [
    "address",
    "comm",
    "exe",
    "unit",
    "container",
    "container_unit",
    "container_name",
    "namespace",
    "uid",
    "name",
    "ifname",
    "device",
];

/// Takes the hidden fields out of an event, as pairs of the two recordings.
fn pair(one: &mut Json, other: &mut Json, pairs: &mut BTreeMap<String, String>) {
    match (one, other) {
        (Json::Object(one), Json::Object(other)) => {
            for (key, value) in one.iter_mut() {
                let Some(there) = other.get_mut(key) else {
                    continue;
                };
                if let (true, Json::String(now), Json::String(then)) =
                    (HIDDEN.contains(&key.as_str()), &mut *there, &mut *value)
                {
                    let known = pairs.entry(then.clone()).or_insert_with(|| now.clone());
                    assert_eq!(known, now, "{then} is two things");
                    now.clear();
                    then.clear();
                } else {
                    pair(value, there, pairs);
                }
            }
        }
        (Json::Array(one), Json::Array(other)) => {
            one.iter_mut()
                .zip(other)
                .for_each(|(one, other)| pair(one, other, pairs));
        }
        _ => {}
    }
}

/// Both say the same, but for addresses and names, of which each has one of its own.
fn says_the_same(said: &str, again: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    assert_eq!(said.lines().count(), again.lines().count());
    for (one, other) in said.lines().zip(again.lines()) {
        let parse = |line: &str| serde_json::from_str::<Json>(line).unwrap_or_default();
        let (mut one, mut other) = (parse(one), parse(other));
        pair(&mut one, &mut other, &mut pairs);
        assert_eq!(one, other);
        assert_ne!(one, Json::Null);
    }
    let mut others: Vec<&String> = pairs.values().collect();
    others.sort_unstable();
    others.dedup();
    assert_eq!(others.len(), pairs.len(), "two became one: {pairs:?}");
    pairs
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_golden_one_says_the_same_of_others() -> anyhow::Result<()> {
    let folder = Folder::new("golden")?;
    let (whole, out) = (
        PathBuf::from("tests/recordings/v1.sockpick"),
        folder.file("shared"),
    );
    let options = ["--anonymize", out.to_str().unwrap_or_default()];
    let (code, stdout, stderr) = sockpick_replay(std::slice::from_ref(&whole), &options)?;
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""));
    let (code, again, summary) = sockpick_replay(std::slice::from_ref(&out), &["-o", "json"])?;
    assert_eq!(code, 0, "{summary}");
    let pairs = says_the_same(SAID, &again);
    let kept = |one: &str| pairs.get(one).is_none_or(|other| one == other);
    assert!(kept("0.0.0.0") && kept("::"), "{pairs:?}");
    assert!(!kept("6.6.6.6") && !kept("A"), "{pairs:?}");

    let bytes = std::fs::read(&out)?;
    let address = std::net::Ipv4Addr::new(6, 6, 6, 6)
        .to_ipv6_mapped()
        .octets();
    for part in [&address[..], b"/include/t", b"eth0"] {
        assert!(contains(V1, part) && !contains(&bytes, part), "{part:?}");
    }
    let (_, header) = Reader::begin(Cursor::new(bytes), "it")?;
    assert_eq!(header.host, (String::new(), String::new()));
    let (_, original) = Reader::begin(Cursor::new(V1), "it")?;
    assert_eq!(header.kernel, original.kernel);

    // Neither the input nor anything else is written over.
    let (code, _, said) = sockpick_replay(&[whole], &options)?;
    assert!(code == 4 && said.contains("is there already"), "{said}");
    let own = ["--anonymize", "tests/recordings/v1.sockpick"];
    let (code, _, said) = sockpick_replay(&["tests/recordings/v1.sockpick".into()], &own)?;
    assert!(code == 4 && said.contains("is there already"), "{said}");
    Ok(())
}

fn address(last: u8) -> [u8; 16] {
    std::net::Ipv4Addr::new(203, 0, 113, last)
        .to_ipv6_mapped()
        .octets()
}

fn comm(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// Somebody's process, with everything that can be known of it.
fn owner() -> Owner {
    Owner {
        pid: 7,
        comm: "acme-web".to_owned(),
        exe: Some("/opt/acme/web".to_owned()),
        unit: Some("acme.service".to_owned()),
        container: Some("acme-box".to_owned()),
        container_unit: Some("acme-in.service".to_owned()),
        container_name: Some("acme-front".to_owned()),
        pod: Some(Pod {
            namespace: Some("acme-shop".to_owned()),
            name: Some("acme-front-7d9".to_owned()),
            uid: Some("acme-0a1b".to_owned()),
        }),
        starttime: Some(9),
        ended: false,
        released: false,
    }
}

fn syn(client: u8) -> SynRecord {
    SynRecord {
        kind: kind::SYN,
        ktime_ns: 5_000_000_000 + u64::from(client),
        group: 0xffff_8881_dead_beef,
        netns: 4_026_531_840,
        ifindex: 2,
        client: address(client),
        destination: address(80),
        client_port_be: 40_000_u16.to_be(),
        destination_port_be: 80_u16.to_be(),
        group_size: 1,
        family: 2,
        bound_dev_if: 2,
        has_listener: 1,
        listener: Listener {
            stamp: 11,
            inode: 12,
            netns: 4_026_531_840,
            addr: address(80),
            port: 80,
            family: 2,
            listen_pid: 7,
            listen_comm: comm("acme-opener"),
            accept_comm: comm("acme-taker"),
            ..Listener::default()
        },
        ..SynRecord::default()
    }
}

fn answers() -> Vec<(Key, u32, Value)> {
    let netns = 4_026_531_840;
    let name = |name: &str| Value::Name(Some(name.to_owned()));
    let then = Then {
        owners: Arc::from([owner()]),
        accepted_by: Some(Process {
            pid: 8,
            comm: "acme-last".into(),
            initial_pid: None,
            ended: true,
        }),
        ..Then::default()
    };
    vec![
        (Key::Netns(netns, 0), 0, name("acme-tenant")),
        (Key::Interface(netns, 2), 0, name("acme0")),
        (Key::Whose(11), 0, Value::from(&then)),
        (
            Key::SkLookup(netns),
            0,
            Value::Programs(vec![(3, "acme_steer".to_owned())]),
        ),
    ]
}

/// A recording of somebody's, where every name has the same word in it.
fn made_up(path: &Path) -> anyhow::Result<()> {
    let (_, golden) = Reader::begin(Cursor::new(V1), "it")?;
    let header = Header {
        host: ("acme-host".to_owned(), "acme-boot".to_owned()),
        filters: "port 80, dst 203.0.113.80/32, netns 4026531840".to_owned(),
        ..golden
    };
    let asked = |notes, to| {
        Frame::Input(Asked {
            starts_afresh: false,
            notes,
            to,
        })
    };
    let mut writer = Writer::begin(path, &Frame::Header(Box::new(header)))?;
    writer.put(&asked(Vec::new(), Input::Begin(0)))?;
    let mut steered = syn(3);
    steered.steer = sockpick_ebpf::abi::steer::SK_LOOKUP;
    for (notes, record) in [
        (answers(), syn(1)),
        (Vec::new(), syn(2)),
        (answers(), steered),
    ] {
        writer.put(&asked(notes, Input::Record(Record::Syn(record))))?;
    }
    let told = "acme-web(7), last accepted by acme-last(8, ended)".to_owned();
    writer.put(&Frame::End(Asked {
        starts_afresh: false,
        notes: vec![(Key::Told(11), 0, Value::Text(told))],
        to: End {
            listeners: vec![syn(1).listener],
            ..End::default()
        },
    }))?;
    writer.finish()
}

#[test]
fn no_name_and_no_address_of_anybodys_is_left() -> anyhow::Result<()> {
    let folder = Folder::new("made-up")?;
    let (original, out) = (folder.file("acme"), folder.file("shared"));
    made_up(&original)?;
    let options = ["--anonymize", out.to_str().unwrap_or_default()];
    let (code, _, said) = sockpick_replay(std::slice::from_ref(&original), &options)?;
    assert_eq!((code, said.as_str()), (0, ""));
    let bytes = std::fs::read(&out)?;
    assert!(contains(&std::fs::read(&original)?, b"acme"));
    let pointer = 0xffff_8881_dead_beef_u64;
    for part in [&b"acme"[..], b"203.0.113", &address(0)[..15]] {
        assert!(!contains(&bytes, part), "{part:?}");
    }
    let (mut reader, _) = Reader::begin(Cursor::new(bytes), "it")?;
    while let Some(frame) = reader.frame() {
        if let Frame::Input(Asked { to, .. }) = frame
            && let Input::Record(Record::Syn(syn)) = to
        {
            assert!(syn.group != pointer && syn.group != 0);
        }
    }
    let tell = |file: &PathBuf| sockpick_replay(std::slice::from_ref(file), &["-o", "json"]);
    let ((_, said, summary), (_, again, other)) = (tell(&original)?, tell(&out)?);
    assert_eq!(said.lines().count(), 4, "{said}");
    let pairs = says_the_same(&said, &again);
    for (one, other) in [
        ("acme-web", "process-"),
        ("/opt/acme/web", "exe-"),
        ("acme.service", "unit-"),
        ("acme-box", "container-"),
        ("acme-front", "container-"),
        ("acme-shop", "namespace-"),
        ("acme-front-7d9", "pod-"),
        ("acme-0a1b", "uid-"),
        ("acme-tenant", "netns-"),
        ("acme0", "interface-"),
        ("acme_steer", "program-"),
    ] {
        assert!(pairs[one].starts_with(other), "{pairs:?}");
    }
    assert!(pairs["acme.service"].ends_with(".service"));
    assert_eq!(summary.lines().count(), other.lines().count());
    assert!(other.contains("last accepted by process-"), "{other}");
    Ok(())
}

#[test]
fn a_torn_one_is_anonymised_up_to_the_tear() -> anyhow::Result<()> {
    let folder = Folder::new("torn")?;
    let (torn, out) = (folder.file("torn"), folder.file("shared.zst"));
    std::fs::write(&torn, &V1[..V1.len() - 3])?;
    let options = ["--anonymize", out.to_str().unwrap_or_default()];
    let (code, _, said) = sockpick_replay(std::slice::from_ref(&torn), &options)?;
    assert!(code == 0 && said.contains("is torn"), "{said}");
    let (_, one, _) = sockpick_replay(&[torn], &["-o", "json"])?;
    let (_, other, said) = sockpick_replay(&[out], &["-o", "json"])?;
    assert!(said.contains("ends before its session did"), "{said}");
    says_the_same(&one, &other);
    Ok(())
}
