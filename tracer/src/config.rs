//! The configuration file, and `--expect`: text in, checked expectations out.
#![forbid(unsafe_code)]

use std::{collections::HashSet, fs, net::IpAddr, path::Path, time::Duration};

use serde::{Deserialize, Deserializer, de};

use crate::{
    cli::{Expect, duration, expected_address},
    failure::Failure,
    judge::expectations::{Address, Expectations, OwnerRule, Service},
    namespaces,
};

/// The file, as it is written. Unknown keys are refused: a misspelt expectation would
/// otherwise never alert.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    service: Vec<ServiceTable>,
    #[serde(default)]
    learn: Learn,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    name: String,
    #[serde(deserialize_with = "addresses")]
    listen: Vec<Address>,
    netns: Option<String>,
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

/// What the command line and the file say together; the command line comes first.
///
/// # Errors
/// A usage [`Failure`] that names the file, the place in it and what is wrong.
pub fn expectations(file: Option<&Path>, expect: &[Expect]) -> Result<Expectations, Failure> {
    let mut expectations = match file {
        Some(path) => read(path)?,
        None => Expectations::default(),
    };
    let given = expect.iter().map(|expect| Service {
        name: expect.name.as_str().into(),
        listen: vec![expect.address],
        netns: None,
        owner: OwnerRule::default(),
    });
    expectations.services.splice(0..0, given);
    Ok(expectations)
}

fn read(path: &Path) -> Result<Expectations, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read the configuration {shown}: {error}"))
    })?;
    parse(&text).map_err(|error| Failure::usage(format!("{shown}: {error}")))
}

fn parse(text: &str) -> Result<Expectations, String> {
    let file: File =
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
        let netns = table.netns.as_deref().map(namespaces::named).transpose();
        let netns = netns.map_err(|error| format!("service {name:?}: {error:#}"))?;
        for address in &table.listen {
            if !claimed.insert((netns, *address)) {
                return Err(format!(
                    "service {name:?}: {address} is another service's, too"
                ));
            }
        }
        services.push(Service {
            name: table.name.into(),
            listen: table.listen,
            netns,
            owner: OwnerRule {
                unit: table.unit,
                exe: table.exe,
                comm: table.comm,
                uid: table.uid,
            },
        });
    }
    Ok(Expectations {
        services,
        hold: file.learn.enabled.then_some(file.learn.hold),
    })
}

fn yes() -> bool {
    true
}

fn hold() -> Duration {
    Expectations::HOLD
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let address = |text: &String| expected_address(text).map_err(de::Error::custom);
    texts.iter().map(address).collect()
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration(&text).map_err(de::Error::custom)
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
        assert_eq!(read.hold, Some(Duration::from_secs(30)));
        let [service] = read.services.as_slice() else {
            panic!("{read:?}");
        };
        assert_eq!(&*service.name, "A");
        let listen: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["6.6.6.6:80", "[2001:db8::6]:443", "*:81"]);
        assert_eq!(service.owner.unit.as_deref(), Some("nginx-a.service"));
        assert_eq!(parse(""), Ok(Expectations::default()));
        assert_eq!(parse("[learn]\nenabled = false").map(|e| e.hold), Ok(None));
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
            ("[learn]\nhold = 'soon'", "soon"),
            ("[learn]\nhold = 10", "hold"),
        ];
        for (text, part) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
