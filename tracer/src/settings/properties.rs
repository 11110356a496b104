//! Whatever is written, it is read or refused; and what is read is written back as the same.
//! `PROPTEST_CASES=10000000` for the long run.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use proptest::{
    collection::{hash_set, vec},
    option,
    prelude::*,
    sample::select,
};

use super::{
    AlertSettings, DaemonSettings, Given, MetricsSettings, OnUntraceable, PushSettings, Settings,
    SinkSettings, SpoolSettings, Stream, Watch,
    change::{Changes, changes},
    feed::{HttpTarget, Kind, Listen},
    file::keys::{OF_EVERY_SINK, TABLES},
    sink::kind::{SINKS, SinkKind},
    url::Url,
    values::{bytes, bytes_text, duration, duration_text, ports},
};
use crate::{
    event::{Family, Reason, Verdict},
    judge::{
        expectations::{Address, Expectations, OwnerRule, Service},
        netns::NetnsName,
        rules::Protocol,
    },
};

fn read(text: &str) -> Result<Settings, String> {
    Settings::new(&Given::default(), Some(text))
}

fn watch() -> impl Strategy<Value = Watch> {
    let some_ports = (1..1000u16, 0..100u16)
        .prop_map(|(first, more)| ports(&format!("{first}-{}", first + more)).expect("ports"));
    let net = (any::<std::net::IpAddr>(), 0..=32u8)
        .prop_map(|(address, length)| ipnet::IpNet::new(address, length).expect("a prefix"));
    (
        vec(some_ports, 0..3),
        vec(net.clone(), 0..3),
        vec(net, 0..3),
        vec(namespace(), 0..3),
        option::of(select(&[Family::Ipv4, Family::Ipv6][..])),
    )
        .prop_map(|(ports, destinations, sources, netns, family)| Watch {
            ports,
            destinations,
            sources,
            netns,
            family,
        })
}

/// Those that a text may name.
fn namespace() -> impl Strategy<Value = NetnsName> {
    let name = "(/run/netns/|/var/run/netns/|/proc/|pid:|)([0-9]{1,9}|\\PC{1,9})";
    name.prop_filter_map("names none", |text| NetnsName::parse(&text).ok())
}

fn services() -> impl Strategy<Value = Vec<Service>> {
    let service = (
        ".{1,8}",
        vec((option::of(any::<std::net::IpAddr>()), 1..=u16::MAX), 1..3),
        option::of(namespace()),
        [".*", ".*", ".*"].map(option::of),
        option::of(any::<u32>()),
    );
    let service = service.prop_map(|(name, listen, netns, [unit, exe, comm], uid)| Service {
        name: name.into(),
        listen: listen
            .into_iter()
            .map(|(address, port)| Address {
                protocol: Protocol::Tcp,
                address,
                port,
            })
            .collect(),
        netns,
        owner: OwnerRule {
            unit,
            exe,
            comm,
            uid,
        },
    });
    vec(service, 0..4)
}

/// A time that a text may name, between two.
fn time(range: std::ops::RangeInclusive<Duration>) -> impl Strategy<Value = Duration> {
    let (least, most) = (range.start().as_millis(), range.end().as_millis());
    (least..=most).prop_map(|ms| Duration::from_millis(u64::try_from(ms).expect("in range")))
}

fn alerts() -> impl Strategy<Value = AlertSettings> {
    let verdicts = [Verdict::Misdirected, Verdict::Refused];
    let reasons = [Reason::AcceptOverflow, Reason::Moved, Reason::Unknown];
    let kind = (
        option::of(select(verdicts.to_vec())),
        option::of(select(reasons.to_vec())),
    );
    let kind = kind.prop_filter_map("cannot be written", |(verdict, reason)| {
        let is_both = verdict == Some(Verdict::Refused) && reason == Some(Reason::AcceptOverflow);
        let is_any = verdict.is_none() && reason.is_none();
        (!is_both && !is_any).then_some(Kind { verdict, reason })
    });
    (
        vec(kind, 0..4),
        any::<bool>(),
        time(AlertSettings::RESEND),
        time(AlertSettings::QUIET),
        AlertSettings::MAX_ACTIVE,
        option::of(path()),
    )
        .prop_map(
            |(on, on_groups, resend, quiet, max_active, state)| AlertSettings {
                on,
                on_groups,
                resend,
                quiet: quiet.max(resend),
                max_active,
                state,
            },
        )
}

fn path() -> impl Strategy<Value = PathBuf> {
    "/[^\u{0}]{0,12}".prop_map(PathBuf::from)
}

fn metrics() -> impl Strategy<Value = MetricsSettings> {
    let tcp = any::<SocketAddr>().prop_filter_map("cannot be written", |address| match address {
        // A scope is written as its number, and flow information not at all.
        SocketAddr::V6(v6) if v6.flowinfo() != 0 || v6.scope_id() != 0 => None,
        address => (address.port() != 0).then_some(Listen::Tcp(address)),
    });
    let listen = prop_oneof![tcp, path().prop_map(Listen::Unix)];
    (
        option::of(listen),
        MetricsSettings::MAX_SERIES,
        option::of(pushes()),
    )
        .prop_map(|(listen, max_series, otlp)| MetricsSettings {
            listen,
            max_series,
            otlp,
        })
}

fn pushes() -> impl Strategy<Value = PushSettings> {
    (target(), time(PushSettings::INTERVAL)).prop_map(|(mut target, interval)| {
        target.timeout = target.timeout.min(interval);
        PushSettings { target, interval }
    })
}

fn stream() -> impl Strategy<Value = Stream> {
    let sample = (2..=u64::MAX).prop_map(Stream::Sample);
    prop_oneof![Just(Stream::Alerts), Just(Stream::All), sample]
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("a url")
}

fn target() -> impl Strategy<Value = HttpTarget> {
    (
        "https://[a-z0-9]{1,8}(:[1-9][0-9]{0,3})?(/[a-z]{0,3}){0,3}",
        option::of(path()),
        option::of(path()),
        time(HttpTarget::TIMEOUT),
    )
        .prop_map(|(text, ca_file, bearer_file, timeout)| HttpTarget {
            url: url(&text),
            ca_file,
            bearer_file,
            timeout,
        })
}

fn kind() -> impl Strategy<Value = SinkKind> {
    let urls = hash_set("http://[a-z]{1,9}", 0..3);
    let many = (target(), urls).prop_map(|(target, urls)| {
        let other = |text: String| HttpTarget {
            url: url(&text),
            ..target.clone()
        };
        let others = urls.into_iter().map(other);
        SinkKind::Alertmanager([target.clone()].into_iter().chain(others).collect())
    });
    let hook = (target(), option::of(path())).prop_map(|(target, secret_file)| SinkKind::Webhook {
        target,
        secret_file,
    });
    let file = (path(), option::of(SinkKind::ROTATE), SinkKind::KEEP);
    let file = file.prop_map(|(path, rotate_bytes, keep)| SinkKind::File {
        path,
        rotate_bytes,
        keep,
    });
    prop_oneof![
        many,
        hook,
        target().prop_map(SinkKind::Otlp),
        file,
        Just(SinkKind::Journald),
        Just(SinkKind::Stdout),
    ]
}

fn spool() -> impl Strategy<Value = SpoolSettings> {
    let spool = (path(), SpoolSettings::BYTES, time(SpoolSettings::AGE));
    spool.prop_map(|(path, bytes, age)| SpoolSettings { path, bytes, age })
}

fn sinks() -> impl Strategy<Value = Vec<SinkSettings>> {
    let name = "[a-zA-Z0-9._-]{1,64}";
    let sink = (name, SinkSettings::QUEUE, option::of(spool()), kind());
    let sink = sink.prop_map(|(name, queue, spool, to)| SinkSettings {
        name,
        queue,
        spool: spool.filter(|_| to.is_told_once()),
        to,
    });
    vec(sink, 0..4)
}

fn settings() -> impl Strategy<Value = Settings> {
    let hold = "[0-9]{1,9}(\\.[0-9]{1,9})?(ms|s|m|h|d)";
    let hold = hold.prop_filter_map("is no time", |text| duration(&text).ok());
    let expectations = (services(), option::of(hold));
    let expectations = expectations.prop_map(|(services, hold)| Expectations { services, hold });
    let self_check = option::of(time(DaemonSettings::SELF_CHECK));
    let audit = time(DaemonSettings::AUDIT);
    let daemon = (self_check, select(&OnUntraceable::ALL[..]), audit);
    let daemon = daemon.prop_map(|(self_check, on_untraceable, audit)| DaemonSettings {
        self_check,
        on_untraceable,
        audit,
    });
    (
        watch(),
        expectations,
        alerts(),
        metrics(),
        stream(),
        daemon,
        sinks(),
    )
        .prop_map(
            |(watch, expectations, alerts, metrics, stream, daemon, sinks)| Settings {
                watch,
                expectations,
                alerts,
                metrics,
                stream,
                daemon,
                sinks,
            },
        )
}

/// Text that gets further than noise does: known keys with values of every type.
fn nearly_a_file() -> impl Strategy<Value = String> {
    let tables = TABLES.iter().map(|(table, _)| *table).chain(["sink"]);
    let tables = tables.flat_map(|table| [format!("[{table}]"), format!("[[{table}]]")]);
    let keys = TABLES.iter().chain(&SINKS).flat_map(|(_, keys)| *keys);
    let keys = keys.chain(&OF_EVERY_SINK).map(ToString::to_string);
    let types = SINKS.iter().map(|(kind, _)| format!("type = '{kind}'"));
    let values = prop_oneof![
        "'[^'\n]{0,12}'",
        "-?[0-9]{1,20}",
        "[0-9]{1,3}(ms|s|m|h)".prop_map(|time| format!("'{time}'")),
        "'https?://[a-z:@?]{0,9}'",
        "\\['[a-z:0-9/]{0,9}'\\]",
        Just("true".to_owned()),
        "\\PC{0,12}",
    ];
    let key = (select(keys.collect::<Vec<_>>()), values)
        .prop_map(|(key, value)| format!("{key} = {value}"));
    let line = prop_oneof![
        2 => select(tables.collect::<Vec<_>>()),
        1 => select(types.collect::<Vec<_>>()),
        4 => key,
    ];
    vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

/// What a text comes to is what its own text comes to.
fn comes_back(text: &str) -> Result<(), TestCaseError> {
    if let Ok(settings) = read(text) {
        let written = settings.to_toml();
        prop_assert_eq!(read(&written), Ok(settings), "{}", written);
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(settings in settings()) {
        let written = settings.to_toml();
        match read(&written) {
            Ok(read) => {
                prop_assert_eq!(changes(&settings, &read), Changes::default());
                prop_assert_eq!(read, settings, "{}", written);
            }
            // Made-up services and sinks may stand in each other's way, and in nothing else.
            Err(wrong) => prop_assert!(
                ["two services", "another service's", "another sink", "writes there", "is state"]
                    .iter()
                    .any(|way| wrong.contains(way)),
                "{}: {}", wrong, written
            ),
        }
    }

    #[test]
    fn whatever_is_given_is_read_or_refused(text in "\\PC*|.*") {
        comes_back(&text)?;
    }

    #[test]
    fn what_is_nearly_a_file_is_read_or_refused(text in nearly_a_file()) {
        comes_back(&text)?;
    }

    #[test]
    fn a_time_is_written_as_it_is_read(text in "[0-9]{1,22}(\\.[0-9]{1,12})?(ms|s|m|h|d|)") {
        if let Ok(time) = duration(&text) {
            prop_assert_eq!(duration(&duration_text(time)), Ok(time));
        }
    }

    #[test]
    fn a_size_is_written_as_it_is_read(size in any::<u64>(), zeros in 0..64u32) {
        let size = size << zeros;
        prop_assert_eq!(bytes(&bytes_text(size)), Some(size));
    }
}

#[test]
fn times_and_sizes_are_written_as_people_do() {
    for text in ["500ms", "30s", "90m", "1h", "2d", "1.5s", "61s"] {
        assert_eq!(duration(text).map(duration_text).as_deref(), Ok(text));
    }
    for text in ["100M", "1G", "4K", "4097"] {
        assert_eq!(bytes(text).map(bytes_text).as_deref(), Some(text));
    }
}
