//! Arguments of `sockpick explain`.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, Parser};

use super::shared::Output;
use crate::{judge::netns::NetnsName, settings::place::written};

/// `sockpick explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Destination of the SYN, as `6.6.6.6:80` or `[2001:db8::6]:443`, also with an interface,
    /// as listeners are shown: `127.0.0.53%lo:53`; `-` reads questions from
    /// stdin, one a line: `ADDR[%IF]:PORT [--from ADDR[:PORT]] [--dev IF] [--netns NETNS]`
    #[arg(value_name = "ADDR[%IF]:PORT|-", value_parser = target)]
    pub target: Target,
    /// What else the SYN has; with -, for the lines that do not say it themselves.
    #[command(flatten)]
    pub circumstances: Circumstances,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// What a SYN has besides its destination.
#[derive(Clone, Debug, Default, Args)]
pub struct Circumstances {
    /// Client of the SYN; only with its port is a member of a reuseport group named
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = client)]
    pub from: Option<Client>,
    /// Interface it comes through [default: the one that the route back to the client leads
    /// through; for a client on this host, or without one, the one that has the destination
    /// address]
    #[arg(long, value_name = "IF")]
    pub dev: Option<String>,
    /// Network namespace it arrives in: a name of ip netns, an inode number, a path, or
    /// pid:N [default: this one]
    #[arg(long, value_name = "NETNS", value_parser = NetnsName::parse)]
    pub netns: Option<NetnsName>,
}

/// What to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One destination.
    One(Destination),
    /// The questions on stdin.
    Stdin,
}

/// Where a SYN goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Address and port.
    pub address: SocketAddr,
    /// Interface named with it, as `127.0.0.53%lo:53` does.
    pub device: Option<String>,
}

/// Client of a SYN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Its port, if it was named.
    pub port: Option<u16>,
    /// Interface named with it, as `fe80::1%eth0` does.
    pub device: Option<String>,
}

/// One question.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub struct Question {
    /// Destination of the SYN.
    #[arg(value_name = "ADDR:PORT", value_parser = destination)]
    pub destination: Destination,
    /// What else it has.
    #[command(flatten)]
    pub circumstances: Circumstances,
}

impl Question {
    /// Reads a line of stdin; what it does not say is taken from `defaults`.
    ///
    /// # Errors
    /// What is wrong with the line, in one line.
    pub fn parse(line: &str, defaults: &Circumstances) -> Result<Self, String> {
        let mut question = Self::try_parse_from(line.split_whitespace()).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        })?;
        let said = &mut question.circumstances;
        said.from = said.from.take().or_else(|| defaults.from.clone());
        said.netns = said.netns.take().or_else(|| defaults.netns.clone());
        if said.dev.is_none() {
            said.dev.clone_from(&defaults.dev);
        }
        Ok(question)
    }
}

fn target(text: &str) -> Result<Target, String> {
    if text == "-" {
        return Ok(Target::Stdin);
    }
    destination(text).map(Target::One)
}

fn destination(text: &str) -> Result<Destination, String> {
    const FORM: &str =
        "write it as 192.0.2.1:80, [2001:db8::1]:80 or, as LISTENER has it, 127.0.0.53%lo:53";
    let wrong = |why: &str| format!("{text:?} is no destination: {why}; {FORM}");
    let written = written(text).ok_or_else(|| wrong("it is not an address with a port"))?;
    let port = match written.port {
        None => return Err(wrong("it has no port")),
        Some(port) => port.parse().ok().filter(|&port: &u16| port != 0),
    };
    let port = port.ok_or_else(|| wrong("a port is a number from 1 to 65535"))?;
    let address: IpAddr = match written.address.parse() {
        Ok(address) => address,
        Err(_) if written.address == "localhost" => {
            return Err(format!(
                "{text:?} has a name, and a SYN has an address: ask for 127.0.0.1:{port} and for \
                 [::1]:{port}, which may be different listeners"
            ));
        }
        Err(_) if written.address == "*" => {
            return Err(wrong("a SYN has one address, so name one of this host's"));
        }
        Err(_) => {
            return Err(wrong(
                "a SYN has an address and no name (getent ahosts NAME tells which)",
            ));
        }
    };
    if address.is_unspecified() {
        return Err(wrong(
            "a SYN has one address, and this stands for any: name one of this host's",
        ));
    }
    Ok(Destination {
        address: SocketAddr::new(address.to_canonical(), port),
        device: written.device.map(ToOwned::to_owned),
    })
}

fn client(text: &str) -> Result<Client, String> {
    let wrong = || {
        format!(
            "{text:?} is no client; write it as 192.0.2.1, 192.0.2.1:40000, \
             [2001:db8::1]:40000 or fe80::1%eth0"
        )
    };
    let written = written(text).ok_or_else(wrong)?;
    let address: IpAddr = written.address.parse().map_err(|_| wrong())?;
    let port = match written.port {
        None => None,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(wrong()),
            Ok(port) => Some(port),
        },
    };
    Ok(Client {
        address: address.to_canonical(),
        port,
        device: written.device.map(ToOwned::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_and_clients_are_read() {
        assert_eq!(target("-"), Ok(Target::Stdin));
        assert!(matches!(target("6.6.6.6:80"), Ok(Target::One(_))));
        for (text, address, device) in [
            ("127.0.0.53%lo:53", "127.0.0.53:53", Some("lo")),
            ("[fe80::1]%eth0:7000", "[fe80::1]:7000", Some("eth0")),
            ("[fe80::1%eth0]:7000", "[fe80::1]:7000", Some("eth0")),
            ("[2001:db8::6]:443", "[2001:db8::6]:443", None),
        ] {
            let read = destination(text).map(|read| (read.address.to_string(), read.device));
            let expected = (address.to_owned(), device.map(ToOwned::to_owned));
            assert_eq!(read, Ok(expected), "{text}");
        }
        assert_eq!(
            destination("[::ffff:6.6.6.6]:80"),
            destination("6.6.6.6:80"),
            "such a packet is an IPv4 packet"
        );
        for (wrong, told) in [
            ("", "no port"),
            ("80", "no port"),
            ("6.6.6.6", "no port"),
            ("::1", "no port"),
            ("6.6.6.6:0", "1 to 65535"),
            ("6.6.6.6:http", "1 to 65535"),
            ("0.0.0.0:80", "any"),
            ("*:80", "one of this host's"),
            ("::1:80x", "1 to 65535"),
            ("www.example.com:80", "getent"),
            ("localhost:3000", "127.0.0.1:3000 and for [::1]:3000"),
        ] {
            let said = target(wrong).err().unwrap_or_default();
            assert!(said.contains(told), "{wrong}: {said}");
        }
        let port = |text: &str| client(text).map(|client| client.port);
        assert_eq!(port("192.0.2.1"), Ok(None));
        assert_eq!(port("192.0.2.1:4000"), Ok(Some(4000)));
        assert_eq!(port("2001:db8::1"), Ok(None));
        assert_eq!(port("[2001:db8::1]"), Ok(None));
        assert_eq!(port("[2001:db8::1]:4000"), Ok(Some(4000)));
        assert!(client("192.0.2.1:0").is_err());
        let device = client("fe80::1%eth0").map(|client| client.device);
        assert_eq!(device, Ok(Some("eth0".to_owned())));
    }

    #[test]
    fn a_line_is_read_and_takes_the_rest_from_the_command_line() -> Result<(), String> {
        let defaults = Circumstances {
            from: client("192.0.2.9").ok(),
            dev: Some("eth0".to_owned()),
            netns: None,
        };
        let question = Question::parse("6.6.6.6:80 --dev eth1", &defaults)?;
        assert_eq!(question.circumstances.dev.as_deref(), Some("eth1"));
        assert_eq!(question.circumstances.from, defaults.from);
        let error = Question::parse("6.6.6.6", &defaults).err();
        assert!(error.is_some_and(|error| error.contains("6.6.6.6") && !error.contains('\n')));
        assert!(Question::parse("6.6.6.6:80 --what", &defaults).is_err());
        Ok(())
    }
}
