//! The configuration file as it is written.

mod alerts;
mod daemon;
pub(super) mod keys;
mod metrics;
pub(super) mod number;
mod sink;
mod stream;
pub(super) mod target;
mod written;

use std::{
    collections::HashSet,
    fmt::{self, Display},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use self::{
    alerts::AlertsTable,
    daemon::DaemonTable,
    metrics::MetricsTable,
    sink::sinks,
    stream::StreamTable,
    written::{line, list},
};
use super::{
    checked::Settings,
    place::expected_address,
    sink::kind::SinkTable,
    values::{Ports, ports, prefix},
    watch::Watch,
};
use crate::{
    event::Family,
    judge::{
        expectations::{Address, Expectations, OwnerRule, Service},
        netns::NetnsName,
    },
};

/// Half of the characters that are told of what is wrong.
const LONGEST_HALF: usize = 400;

/// Unknown keys are refused: a misspelt expectation would otherwise never alert.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    watch: WatchTable,
    #[serde(default)]
    service: Vec<ServiceTable>,
    #[serde(default)]
    learn: Learn,
    #[serde(default)]
    alerts: AlertsTable,
    #[serde(default)]
    metrics: MetricsTable,
    #[serde(default)]
    stream: StreamTable,
    #[serde(default)]
    daemon: DaemonTable,
    #[serde(default)]
    sink: Vec<Spanned<SinkTable>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WatchTable {
    #[serde(deserialize_with = "some_ports")]
    ports: Vec<Ports>,
    #[serde(deserialize_with = "prefixes")]
    dst: Vec<IpNet>,
    #[serde(deserialize_with = "prefixes")]
    src: Vec<IpNet>,
    #[serde(deserialize_with = "namespaces")]
    netns: Vec<NetnsName>,
    family: Option<Family>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    name: String,
    #[serde(deserialize_with = "addresses")]
    listen: Vec<Address>,
    #[serde(default, deserialize_with = "namespace")]
    netns: Option<NetnsName>,
    unit: Option<String>,
    exe: Option<String>,
    comm: Option<String>,
    uid: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Learn {
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default = "hold", deserialize_with = "time")]
    hold: Duration,
}

impl Default for Learn {
    fn default() -> Self {
        Self {
            enabled: true,
            hold: Expectations::HOLD,
        }
    }
}

/// What the file says, by its text.
///
/// # Errors
/// The place in it, and what is wrong.
pub(super) fn parse(text: &str) -> Result<Settings, String> {
    checked(text).map_err(|wrong| shortened(&wrong))
}

/// What is wrong may be told with a value that is as long as the file: the beginning and the end,
/// which has the remedy, are enough.
fn shortened(wrong: &str) -> String {
    let number = wrong.chars().count();
    if number <= 2 * LONGEST_HALF {
        return wrong.to_owned();
    }
    let begin: String = wrong.chars().take(LONGEST_HALF).collect();
    let end: String = wrong.chars().skip(number - LONGEST_HALF).collect();
    format!("{begin} […] {end}")
}

fn checked(text: &str) -> Result<Settings, String> {
    keys::check(text)?;
    let file: Written = toml::from_str(text).map_err(|error| told(text, &error))?;
    let alerts = file.alerts.checked()?;
    Ok(Settings {
        watch: file.watch.into(),
        expectations: Expectations {
            services: services(file.service)?,
            hold: file.learn.enabled.then_some(file.learn.hold),
        },
        sinks: sinks(file.sink, text, alerts.state.as_deref())?,
        alerts,
        metrics: file.metrics.checked(text)?,
        stream: file.stream.events,
        daemon: file.daemon.into(),
    })
}

/// The error with its line and key, and not the line itself: it may hold a secret.
fn told(text: &str, error: &toml::de::Error) -> String {
    let message = unquoted(error.message());
    let Some(span) = error.span() else {
        return message;
    };
    let number = line(text, span.start);
    let written = text.lines().nth(number - 1).unwrap_or_default();
    match keys::given(written) {
        Some(key) => format!("line {number}: {key}: {message}"),
        None => format!("line {number}: {message}"),
    }
}

/// A value of the wrong type is quoted by serde, a text as "text" and all else as `12`; it may be a
/// secret in the wrong place.
fn unquoted(message: &str) -> String {
    let parts = message.split_once(['"', '`']);
    let parts = parts.filter(|(head, _)| head.starts_with("invalid "));
    let parts = parts.and_then(|(head, rest)| Some((head, rest.rsplit_once(", expected")?.1)));
    match parts {
        Some((head, tail)) => format!("{}, expected{tail}", head.trim_end()),
        None => message.trim_end().to_owned(),
    }
}

fn services(tables: Vec<ServiceTable>) -> Result<Vec<Service>, String> {
    let mut names = HashSet::new();
    let mut claimed = HashSet::new();
    let mut services = Vec::new();
    for table in tables {
        let name = &table.name;
        if name.is_empty() {
            return Err("a [[service]] has an empty name".to_owned());
        }
        if !names.insert(name.clone()) {
            return Err(format!("two services are named {name:?}"));
        }
        if table.listen.is_empty() {
            return Err(format!(
                "service {name:?} listens nowhere; write listen = [\"192.0.2.1:80\"]"
            ));
        }
        for address in &table.listen {
            if !claimed.insert((table.netns.clone(), *address)) {
                return Err(format!(
                    "service {name:?}: {address} is another service's, too"
                ));
            }
        }
        services.push(table.into());
    }
    Ok(services)
}

impl From<ServiceTable> for Service {
    fn from(table: ServiceTable) -> Self {
        Self {
            name: table.name.into(),
            listen: table.listen,
            netns: table.netns,
            owner: OwnerRule {
                unit: table.unit,
                exe: table.exe,
                comm: table.comm,
                uid: table.uid,
            },
        }
    }
}

impl From<WatchTable> for Watch {
    fn from(table: WatchTable) -> Self {
        Self {
            ports: table.ports,
            destinations: table.dst,
            sources: table.src,
            netns: table.netns,
            family: table.family,
        }
    }
}

fn yes() -> bool {
    true
}

fn hold() -> Duration {
    Expectations::HOLD
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    list(deserializer, expected_address)
}

fn prefixes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    list(deserializer, prefix)
}

fn namespaces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NetnsName>, D::Error> {
    list(deserializer, NetnsName::parse)
}

fn namespace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NetnsName>, D::Error> {
    let text = String::deserialize(deserializer)?;
    NetnsName::parse(&text).map(Some).map_err(de::Error::custom)
}

/// A number, or a range as text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "not a port; write ports as [80, \"8000-8010\"]")]
enum Port {
    Number(i64),
    Text(String),
}

fn some_ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ports>, D::Error> {
    let written = Vec::<Port>::deserialize(deserializer)?;
    let read = |port: &Port| match port {
        Port::Number(number) => ports(&number.to_string()),
        Port::Text(text) => ports(text),
    };
    let written = written.iter();
    written
        .map(|port| read(port).map_err(de::Error::custom))
        .collect()
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = number::time_text(deserializer)?;
    number::with_unit(&text).map_err(de::Error::custom)
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match self.address {
            None => write!(f, "*:{port}"),
            Some(IpAddr::V4(address)) => write!(f, "{address}:{port}"),
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
        }
    }
}

#[cfg(test)]
mod tests;
