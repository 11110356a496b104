//! The configuration file as it is written.

use std::{
    collections::HashSet,
    fmt::{self, Display},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use super::{
    Settings, Watch,
    place::expected_address,
    values::{Ports, duration, ports, prefix},
};
use crate::{
    event::Family,
    judge::{
        expectations::{Address, Expectations, OwnerRule, Service},
        netns::NetnsName,
    },
};

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
    let file: Written =
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let mut names = HashSet::new();
    let mut claimed = HashSet::new();
    let mut services = Vec::new();
    for table in file.service {
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
        services.push(Service {
            name: table.name.into(),
            listen: table.listen,
            netns: table.netns,
            owner: OwnerRule {
                unit: table.unit,
                exe: table.exe,
                comm: table.comm,
                uid: table.uid,
            },
        });
    }
    let WatchTable {
        ports,
        dst,
        src,
        netns,
        family,
    } = file.watch;
    Ok(Settings {
        watch: Watch {
            ports,
            destinations: dst,
            sources: src,
            netns,
            family,
        },
        expectations: Expectations {
            services,
            hold: file.learn.enabled.then_some(file.learn.hold),
        },
        ..Settings::default()
    })
}

fn yes() -> bool {
    true
}

fn hold() -> Duration {
    Expectations::HOLD
}

/// Each text of a list, by a parser that says what is wrong.
fn list<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let texts = texts.iter();
    texts
        .map(|text| parse(text).map_err(de::Error::custom))
        .collect()
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
    let text = String::deserialize(deserializer)?;
    duration(&text).map_err(de::Error::custom)
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
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let read = parse(
            r#"
            [[service]]
            name = "A"
            listen = ["6.6.6.6:80", "[2001:db8::6]:443", "*:81"]
            unit = "nginx-a.service"

            [learn]
            hold = "30s"
            "#,
        )
        .expect("a good file");
        let read = read.expectations;
        assert_eq!(read.hold, Some(Duration::from_secs(30)));
        let [service] = read.services.as_slice() else {
            panic!("{read:?}");
        };
        assert_eq!(&*service.name, "A");
        let listen: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["6.6.6.6:80", "[2001:db8::6]:443", "*:81"]);
        assert_eq!(service.owner.unit.as_deref(), Some("nginx-a.service"));
        assert_eq!(parse(""), Ok(Settings::default()));
        let off = parse("[learn]\nenabled = false");
        assert_eq!(off.map(|read| read.expectations.hold), Ok(None));
    }

    #[test]
    fn two_services_may_share_an_address_in_two_namespaces() {
        let service = |name, netns| {
            format!("[[service]]\nname = '{name}'\nlisten = ['*:80']\nnetns = '{netns}'\n")
        };
        let two = service("A", "web") + &service("B", "db");
        assert_eq!(
            parse(&two).map(|read| read.expectations.services.len()),
            Ok(2)
        );
        let one = service("A", "web") + &service("B", "/run/netns/web");
        assert!(parse(&one).is_err(), "one namespace, named twice");
    }

    #[test]
    fn a_bad_file_is_refused_and_the_place_named() {
        let cases = [
            ("[[servce]]\nname = 'A'", "servce"),
            ("[[service]]\nname = 'A'\nlisten = []", "listens nowhere"),
            ("[[service]]\nname = 'A'", "listen"),
            ("[[service]]\nname = 'A'\nlisten = ['6.6.6.6']", "6.6.6.6"),
            (
                "[[service]]\nname = ''\nlisten = ['6.6.6.6:80']",
                "empty name",
            ),
            (
                "[[service]]\nname = 'A'\nlisten = ['*:80']\nunits = 'x'",
                "units",
            ),
            (
                "[[service]]\nname='A'\nlisten=['*:1']\n[[service]]\nname='A'\nlisten=['*:2']",
                "two services",
            ),
            (
                "[[service]]\nname='A'\nlisten=['*:1']\n[[service]]\nname='B'\nlisten=['*:1']",
                "another service's",
            ),
            ("[watch]\nport = [80]", "`ports`"),
            ("[watch]\nports = [0]", "\"0\" is no port"),
            ("[watch]\nports = ['90-80']", "90-80"),
            ("[watch]\nports = [1.5]", "write ports as"),
            ("[watch]\ndst = ['6.6.6.6/99']", "6.6.6.6/99"),
            ("[watch]\nnetns = ['pid:x']", "pid:x"),
            ("[watch]\nfamily = 'ipx'", "ipx"),
            (
                "[[service]]\nname='A'\nlisten=['*:1']\nnetns = ''",
                "write it as",
            ),
            ("[learn]\nhold = 'soon'", "soon"),
            ("[learn]\nhold = 10", "hold"),
        ];
        for (text, part) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
