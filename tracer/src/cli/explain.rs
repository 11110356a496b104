//! Arguments of `sockpick explain`.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, Parser};

use super::{Output, netns};

/// `sockpick explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Destination of the SYN, as `6.6.6.6:80` or `[2001:db8::6]:443`; `-` reads questions from
    /// stdin, one a line: `ADDR:PORT [--from ADDR[:PORT]] [--dev IF] [--netns NETNS]`
    #[arg(value_name = "ADDR:PORT|-", value_parser = target)]
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
    /// Interface it comes through [default: the one that has the destination address, which
    /// is also what counts when the client is on this host]
    #[arg(long, value_name = "IF")]
    pub dev: Option<String>,
    /// Network namespace it arrives in: a name of ip netns, an inode number, a path, or
    /// pid:N [default: this one]
    #[arg(long, value_name = "NETNS", value_parser = netns)]
    pub netns: Option<u32>,
}

/// What to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One destination.
    One(SocketAddr),
    /// The questions on stdin.
    Stdin,
}

/// Client of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Its port, if it was named.
    pub port: Option<u16>,
}

/// One question.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub struct Question {
    /// Destination of the SYN.
    #[arg(value_name = "ADDR:PORT", value_parser = destination)]
    pub destination: SocketAddr,
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
        said.from = said.from.or(defaults.from);
        said.netns = said.netns.or(defaults.netns);
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

fn destination(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>()
        .ok()
        .filter(|destination| destination.port() != 0 && !destination.ip().is_unspecified())
        .map(|destination| SocketAddr::new(destination.ip().to_canonical(), destination.port()))
        .ok_or_else(|| {
            format!("{text:?} is no destination; write it as 192.0.2.1:80 or [2001:db8::1]:80")
        })
}

fn client(text: &str) -> Result<Client, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(Client {
            address: address.to_canonical(),
            port: None,
        });
    }
    text.parse::<SocketAddr>()
        .ok()
        .filter(|client| client.port() != 0)
        .map(|client| Client {
            address: client.ip().to_canonical(),
            port: Some(client.port()),
        })
        .ok_or_else(|| {
            format!(
                "{text:?} is no client; write it as 192.0.2.1, 192.0.2.1:40000 or \
                 [2001:db8::1]:40000"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_and_clients_are_read() {
        assert_eq!(target("-"), Ok(Target::Stdin));
        assert!(matches!(target("6.6.6.6:80"), Ok(Target::One(_))));
        assert_eq!(
            destination("[::ffff:6.6.6.6]:80"),
            destination("6.6.6.6:80"),
            "such a packet is an IPv4 packet"
        );
        for wrong in ["", "80", "6.6.6.6", "6.6.6.6:0", "0.0.0.0:80", "::1:80x"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        let port = |text: &str| client(text).map(|client| client.port);
        assert_eq!(port("192.0.2.1"), Ok(None));
        assert_eq!(port("192.0.2.1:4000"), Ok(Some(4000)));
        assert_eq!(port("2001:db8::1"), Ok(None));
        assert_eq!(port("[2001:db8::1]"), Ok(None));
        assert_eq!(port("[2001:db8::1]:4000"), Ok(Some(4000)));
        assert!(client("192.0.2.1:0").is_err());
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
