//! A rule that translates or steers, and which SYNs it may concern. Pure.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// What a rule does with a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Gives it another destination.
    Dnat,
    /// Gives it this host as the destination, on another port.
    Redirect,
    /// Gives it to a listener; its destination stays.
    Tproxy,
}

/// A rule, as far as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands: `nftables chain ip nat prerouting`.
    pub place: String,
    /// What it does.
    pub action: Action,
    /// Where to, as far as the rule says it by itself.
    pub to: Option<String>,
    /// What it asks of a packet, as far as that was understood: all of these.
    pub tests: Vec<Test>,
}

/// What a rule asks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// A destination port in the range; not in it, if `invert`.
    Port {
        /// First.
        first: u16,
        /// Last.
        last: u16,
        /// All others.
        invert: bool,
    },
    /// A destination address in the prefix; not in it, if `invert`.
    Address {
        /// The prefix.
        prefix: IpNet,
        /// All others.
        invert: bool,
    },
    /// IPv4, or IPv6.
    Ipv4(bool),
    /// Not TCP.
    NotTcp,
}

/// The SYNs in question; what is empty is open.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Their destination ports.
    pub ports: Vec<u16>,
    /// Their destinations.
    pub destinations: Vec<IpNet>,
}

impl Rule {
    /// Whether it may concern one of those: `None` if it does not; else, whether it names
    /// the port.
    #[must_use]
    pub fn concerns(&self, about: &About) -> Option<bool> {
        let possible = |test: &Test| match *test {
            Test::Port {
                first,
                last,
                invert,
            } => any(&about.ports, |port| (first..=last).contains(port) != invert),
            Test::Address { prefix, invert } => any(&about.destinations, |wanted| {
                let apart = !prefix.contains(wanted) && !wanted.contains(&prefix);
                if invert {
                    !prefix.contains(wanted)
                } else {
                    !apart
                }
            }),
            Test::Ipv4(ipv4) => any(&about.destinations, |wanted| {
                wanted.addr().is_ipv4() == ipv4
            }),
            Test::NotTcp => false,
        };
        let named = self
            .tests
            .iter()
            .any(|test| matches!(test, Test::Port { invert: false, .. }));
        self.tests
            .iter()
            .all(possible)
            .then_some(named && !about.ports.is_empty())
    }

    /// What it does to such a SYN, in words: `dnat to 10.42.0.8:8000`.
    #[must_use]
    pub fn told(&self) -> String {
        let action = match self.action {
            Action::Dnat => "dnat",
            Action::Redirect => "redirect",
            Action::Tproxy => "tproxy",
        };
        match &self.to {
            Some(to) => format!("{action} to {to}"),
            None => action.to_owned(),
        }
    }
}

/// Whether it is true of one; of none given it may be.
fn any<T>(some: &[T], is: impl Fn(&T) -> bool) -> bool {
    some.is_empty() || some.iter().any(is)
}

/// `10.42.0.8:8000`, or the part of it that is known.
pub(super) fn destination(address: Option<IpAddr>, port: Option<u16>) -> Option<String> {
    let port = port.filter(|&port| port != 0);
    let address = address.filter(|address| !address.is_unspecified());
    match (address, port) {
        (None, None) => None,
        (None, Some(port)) => Some(format!(":{port}")),
        (Some(address), None) => Some(address.to_string()),
        (Some(IpAddr::V4(address)), Some(port)) => Some(format!("{address}:{port}")),
        (Some(IpAddr::V6(address)), Some(port)) => Some(format!("[{address}]:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(tests: &[Test]) -> Rule {
        Rule {
            place: "nftables chain ip nat prerouting".to_owned(),
            action: Action::Dnat,
            to: None,
            tests: tests.to_vec(),
        }
    }

    fn about(ports: &[u16], destinations: &[&str]) -> About {
        let nets = destinations.iter().filter_map(|text| text.parse().ok());
        About {
            ports: ports.to_vec(),
            destinations: nets.collect(),
        }
    }

    #[test]
    fn a_rule_concerns_what_passes_all_its_tests() {
        let port = |first, last, invert| Test::Port {
            first,
            last,
            invert,
        };
        let address = |text: &str, invert| Test::Address {
            prefix: text.parse().unwrap_or_default(),
            invert,
        };
        let syn = about(&[80], &["10.0.0.2/32"]);
        for (tests, expected) in [
            (vec![], Some(false)),
            (vec![port(80, 80, false)], Some(true)),
            (vec![port(70, 90, false)], Some(true)),
            (vec![port(81, 90, false)], None),
            (vec![port(80, 80, true)], None),
            (vec![port(443, 443, true)], Some(false)),
            (
                vec![port(80, 80, false), address("10.0.0.2/32", false)],
                Some(true),
            ),
            (
                vec![port(80, 80, false), address("10.0.0.3/32", false)],
                None,
            ),
            (vec![address("10.0.0.0/8", false)], Some(false)),
            (vec![address("10.0.0.0/8", true)], None),
            (vec![Test::Ipv4(true)], Some(false)),
            (vec![Test::Ipv4(false)], None),
            (vec![Test::NotTcp], None),
        ] {
            assert_eq!(rule(&tests).concerns(&syn), expected, "{tests:?}");
        }
        // A filter that asks for more than one, and one that is open.
        let wide = about(&[80, 443], &["10.0.0.0/24"]);
        let one = rule(&[port(443, 443, false), address("10.0.0.9/32", false)]);
        assert_eq!(one.concerns(&wide), Some(true));
        assert_eq!(one.concerns(&About::default()), Some(false));
    }

    #[test]
    fn the_new_destination_is_told_as_far_as_it_is_known() {
        let v4 = Some([10, 42, 0, 8].into());
        let told = |address, port| destination(address, port).unwrap_or_default();
        assert_eq!(told(v4, Some(8000)), "10.42.0.8:8000");
        assert_eq!(told(v4, None), "10.42.0.8");
        assert_eq!(told(None, Some(15006)), ":15006");
        assert_eq!(destination(None, Some(0)), None);
    }
}
