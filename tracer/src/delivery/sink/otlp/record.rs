//! An alert as OpenTelemetry names things: this host stands at the SYN's end, so the client is
//! the peer.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use crate::{
    alerts::{Alert, Notice, Sample},
    delivery::told::{Teller, kind, over, resolution, words},
    event::{Owner, Time},
    otlp::{
        AnyValue, KeyValue, Scope, Value,
        logs::{ExportLogsServiceRequest, LogRecord, ResourceLogs, ScopeLogs},
        number, text,
    },
};

/// Name of the event; some backends drop the field, so it is an attribute too.
const EVENT: &str = "sockpick.alert";

/// Severity numbers of the protocol, with the words for them.
const ERROR: (i32, &str) = (17, "ERROR");
const WARN: (i32, &str) = (13, "WARN");
const INFO: (i32, &str) = (9, "INFO");

pub(super) fn request(teller: &Teller, notices: &[&Notice]) -> ExportLogsServiceRequest {
    let scope_logs = ScopeLogs {
        scope: Some(Scope::own()),
        log_records: notices.iter().map(|notice| record(notice)).collect(),
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(teller.resource()),
            scope_logs: vec![scope_logs],
        }],
    }
}

fn record(notice: &Notice) -> LogRecord {
    let alert = &notice.alert;
    let over = over(alert);
    let (severity_number, severity_text) = match over {
        Some(_) => INFO,
        None if kind(alert).is_critical => ERROR,
        None => WARN,
    };
    LogRecord {
        time_unix_nano: unix(over.map_or(alert.since, |(at, _)| at)),
        observed_time_unix_nano: unix(notice.at),
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue {
            value: Some(Value::Text(words(alert).title)),
        }),
        attributes: attributes(alert),
        event_name: EVENT.to_owned(),
    }
}

fn unix(time: Time) -> u64 {
    u64::try_from(time.0).unwrap_or_default()
}

fn attributes(alert: &Alert) -> Vec<KeyValue> {
    let state = over(alert).map_or("firing", |_| "resolved");
    let mut all = vec![text("event.name", EVENT), text("sockpick.state", state)];
    let pairs = kind(alert).about.pairs();
    all.extend(pairs.map(|(key, value)| text(&format!("sockpick.{key}"), value)));
    all.extend(course(alert));
    if let Some(sample) = alert.sample() {
        all.extend(connection(sample));
        let owner = crate::event::counting(&sample.owners).next();
        all.extend(owner.into_iter().flat_map(process));
    }
    all
}

/// Since when, how often, and what became of it.
fn course(alert: &Alert) -> impl Iterator<Item = KeyValue> {
    let over = over(alert);
    let resolution = over.map(|(_, why)| resolution(why).to_owned());
    let texts = [
        ("sockpick.since", Some(alert.since.to_string())),
        ("sockpick.resolution", resolution),
        ("sockpick.description", Some(words(alert).text)),
    ];
    let count = number(
        "sockpick.count",
        i64::try_from(alert.count).unwrap_or(i64::MAX),
    );
    let texts = texts.into_iter();
    texts
        .filter_map(|(key, value)| Some(text(key, value?)))
        .chain([count])
}

fn connection(sample: &Sample) -> [KeyValue; 6] {
    let (client, destination) = (sample.client, sample.destination);
    let family = match destination.address {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    };
    [
        text("network.peer.address", client.address.to_string()),
        number("network.peer.port", client.port.into()),
        text("network.local.address", destination.address.to_string()),
        number("network.local.port", destination.port.into()),
        text("network.transport", "tcp"),
        text("network.type", family),
    ]
}

/// Who holds the listener that was given the SYNs: one process of them.
fn process(owner: &Owner) -> impl Iterator<Item = KeyValue> {
    let name = owner.exe.as_deref().and_then(|exe| exe.rsplit('/').next());
    let process = [
        number("process.pid", owner.pid.into()),
        text("process.executable.name", name.unwrap_or(&owner.comm)),
    ];
    process.into_iter().chain(container(owner))
}

/// The container it runs in, and the pod.
fn container(owner: &Owner) -> impl Iterator<Item = KeyValue> {
    let is_id = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let told = owner.container.as_deref();
    let id = told.filter(is_id);
    let name = owner.container_name.as_deref();
    let pod = owner.pod.clone().unwrap_or_default();
    let in_pod = name.filter(|_| owner.pod.is_some());
    let texts = [
        ("container.id", id.map(str::to_owned)),
        (
            "container.name",
            name.or(told.filter(|_| id.is_none())).map(str::to_owned),
        ),
        ("k8s.container.name", in_pod.map(str::to_owned)),
        ("k8s.pod.uid", pod.uid),
        ("k8s.pod.name", pod.name),
        ("k8s.namespace.name", pod.namespace),
    ];
    let texts = texts.into_iter();
    texts.filter_map(|(key, value)| Some(text(key, value?)))
}
