//! What a session is to do, as a checked value: from the command line and from the configuration
//! file alike. Text goes in, and nothing is asked of the machine; the file is read and namespaces
//! are looked up elsewhere.
#![forbid(unsafe_code)]

pub mod change;
mod checked;
pub mod feed;
mod file;
pub mod place;
pub mod sink;
mod text;
pub mod url;
pub mod values;
mod watch;
mod writer;

use crate::judge::expectations::{OwnerRule, Service};

pub use checked::Settings;
pub use feed::{
    AlertSettings, DaemonSettings, MetricsSettings, OnUntraceable, PushSettings, Stream,
};
pub use place::Expect;
pub use sink::{SinkSettings, SpoolSettings};
pub use watch::Watch;

/// Most services: what metrics say of each is held against every listener.
pub const MOST_SERVICES: usize = 1024;

/// Most bytes of a file: more is a file of something else, or one without an end.
pub const MOST_BYTES: usize = 4 << 20;

/// What the command line says; it goes before the file.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Which SYNs: each part that says something takes the place of the file's.
    pub watch: Watch,
    /// Services beside those of the file.
    pub expect: Vec<Expect>,
}

impl Settings {
    /// What the command line and the text of the file say together.
    ///
    /// # Errors
    /// What is wrong, and where, in words for the user.
    pub fn new(given: &Given, file: Option<&str>) -> Result<Self, String> {
        let mut settings = match file {
            Some(text) => file::parse(text)?,
            None => Self::default(),
        };
        settings.watch = given.watch.clone().or(settings.watch);
        let expected = given.expect.iter().map(service);
        settings.expectations.services.splice(0..0, expected);
        settings.watch.check()?;
        bounded(&settings.expectations.services)?;
        Ok(settings)
    }
}

fn service(expect: &Expect) -> Service {
    Service {
        name: expect.name.as_str().into(),
        listen: vec![expect.address],
        netns: None,
        owner: OwnerRule::default(),
    }
}

fn bounded(services: &[Service]) -> Result<(), String> {
    let number = services.len();
    if number <= MOST_SERVICES {
        return Ok(());
    }
    Err(format!(
        "there are {number} services ([[service]] in the file, and --expect), and at most \
         {MOST_SERVICES} may be; give one several addresses in `listen`, or leave some out: what \
         is seen to listen is expected without ([learn])"
    ))
}

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod documented;
#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::netns::NetnsName;

    #[test]
    fn flags_and_file_make_the_same_value() -> Result<(), String> {
        let given = Given {
            watch: Watch {
                ports: vec![values::ports("80")?, values::ports("8000-8010")?],
                destinations: vec![values::prefix("6.6.6.0/24")?],
                sources: vec![values::prefix("2001:db8::1")?],
                netns: vec![NetnsName::parse("web")?, NetnsName::parse("7")?],
                family: Some(crate::event::Family::Ipv6),
            },
            expect: vec![place::expect("6.6.6.6:80=A")?],
        };
        let file = r#"
            [watch]
            ports = [80, "8000-8010"]
            dst = ["6.6.6.0/24"]
            src = ["2001:db8::1"]
            netns = ["web", "7"]
            family = "ipv6"

            [[service]]
            name = "A"
            listen = ["6.6.6.6:80"]
            "#;
        let settings = Settings::new(&Given::default(), Some(file))?;
        assert_eq!(settings, Settings::new(&given, None)?);
        assert_eq!(
            settings.watch.to_string(),
            "port 80, port 8000-8010, dst 6.6.6.0/24, src 2001:db8::1/128, netns web, netns 7, \
             family ipv6"
        );
        Ok(())
    }

    #[test]
    fn a_flag_wins_over_the_file() -> Result<(), String> {
        let file = r#"
            [watch]
            ports = [80]
            netns = ["web"]
            [[service]]
            name = "A"
            listen = ["6.6.6.6:80"]
            "#;
        let given = Given {
            watch: Watch {
                ports: vec![values::ports("443")?],
                ..Watch::default()
            },
            expect: vec![place::expect("6.6.6.6:80=B")?],
        };
        let settings = Settings::new(&given, Some(file))?;
        assert_eq!(settings.watch.to_string(), "port 443, netns web");
        let names = settings.expectations.services.iter();
        let names: Vec<&str> = names.map(|service| &*service.name).collect();
        assert_eq!(names, ["B", "A"], "of two for one address the first counts");
        Ok(())
    }

    #[test]
    fn services_of_file_and_flags_together_have_a_bound() -> Result<(), String> {
        use std::fmt::Write as _;
        let mut file = String::new();
        for number in 0..MOST_SERVICES {
            let port = number + 1;
            let _ = writeln!(
                file,
                "[[service]]\nname = 'A{number}'\nlisten = ['*:{port}']"
            );
        }
        let none = Given::default();
        let services = Settings::new(&none, Some(&file))?.expectations.services;
        assert_eq!(services.len(), MOST_SERVICES);
        let given = Given {
            expect: vec![place::expect("6.6.6.6:80=B")?],
            ..Given::default()
        };
        let said = Settings::new(&given, Some(&file)).expect_err("one too many");
        assert!(
            said.starts_with("there are 1025 services") && said.contains("leave some out"),
            "{said}"
        );
        Ok(())
    }

    #[test]
    fn every_namespace_is_named_anew_or_the_first_error_told() -> Result<(), String> {
        let file = r#"
            [watch]
            netns = ["/proc/1/ns/net", "web"]
            [[service]]
            name = "A"
            listen = ["6.6.6.6:80"]
            netns = "pid:1"
            "#;
        let settings = Settings::new(&Given::default(), Some(file))?;
        let fixed = settings.clone().with_netns(|name| {
            Ok::<_, String>(match name {
                NetnsName::Name(_) => name.clone(),
                _ => NetnsName::Inode(7),
            })
        })?;
        assert_eq!(fixed.watch.to_string(), "netns 7, netns web");
        let of_service = fixed.expectations.services[0].netns.clone();
        assert_eq!(of_service, Some(NetnsName::Inode(7)));
        let refused = settings.with_netns(|name| Err(name.to_string()));
        assert_eq!(refused, Err("/proc/1/ns/net".to_owned()));
        Ok(())
    }
}
