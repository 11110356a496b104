//! Which SYNs are looked at.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;

use super::values::{MOST_PORTS, Ports, every_port};
use crate::{
    event::{Family, Netns},
    judge::netns::NetnsName,
};

/// What a SYN must be like; an empty part lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Destination ports.
    pub ports: Vec<Ports>,
    /// Destinations.
    pub destinations: Vec<IpNet>,
    /// Clients.
    pub sources: Vec<IpNet>,
    /// Namespaces.
    pub netns: Vec<NetnsName>,
    /// Family of the packet.
    pub family: Option<Family>,
}

impl Watch {
    /// This, with each part that says nothing as in `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        fn first<T>(one: Vec<T>, other: Vec<T>) -> Vec<T> {
            if one.is_empty() { other } else { one }
        }
        Self {
            ports: first(self.ports, other.ports),
            destinations: first(self.destinations, other.destinations),
            sources: first(self.sources, other.sources),
            netns: first(self.netns, other.netns),
            family: self.family.or(other.family),
        }
    }

    /// # Errors
    /// If there are more ports than [`MOST_PORTS`], in words for the user.
    pub(super) fn check(&self) -> Result<(), String> {
        let ports = every_port(&self.ports).len();
        if ports <= MOST_PORTS {
            return Ok(());
        }
        Err(format!(
            "--port (or ports in [watch]) names {ports} ports, and the kernel filter takes at \
             most {MOST_PORTS}; name fewer, as in --port 80,443 or --port 8000-8010, or leave it \
             out"
        ))
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it passes the filters by address, port and family.
    #[must_use]
    pub fn fits(&self, client: IpAddr, destination: SocketAddr) -> bool {
        let within = |nets: &[IpNet], address: IpAddr| {
            nets.is_empty() || nets.iter().any(|net| net.contains(&address))
        };
        let family = Family::of(destination.ip());
        let port = destination.port();
        (self.ports.is_empty() || self.ports.iter().any(|ports| ports.contains(port)))
            && within(&self.destinations, destination.ip())
            && within(&self.sources, client)
            && self.family.is_none_or(|wanted| wanted == family)
    }

    /// Whether it passes the filter by namespace.
    #[must_use]
    pub fn fits_netns(&self, netns: &Netns) -> bool {
        self.netns.is_empty() || self.netns.iter().any(|wanted| wanted.means(netns))
    }
}

/// As flags name them; nothing if everything passes.
impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.ports.iter().map(|ports| format!("port {ports}")));
        words.extend(self.destinations.iter().map(|net| format!("dst {net}")));
        words.extend(self.sources.iter().map(|net| format!("src {net}")));
        words.extend(self.netns.iter().map(|netns| format!("netns {netns}")));
        words.extend(self.family.map(|family| match family {
            Family::Ipv4 => "family ipv4".to_owned(),
            Family::Ipv6 => "family ipv6".to_owned(),
        }));
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::values::{ports, prefix};

    /// Sets a part of it.
    type Part = fn(&mut Watch, &str) -> Result<(), String>;

    #[test]
    fn the_kernel_takes_so_many_ports() -> Result<(), String> {
        let of = |text| {
            Ok::<_, String>(Watch {
                ports: vec![ports(text)?, ports("1-100")?],
                ..Watch::default()
            })
        };
        assert_eq!(of("1-4096")?.check(), Ok(()));
        let said = of("1-4097")?.check().expect_err("too many");
        assert!(
            said.contains("4097") && said.contains("--port 80,443"),
            "{said}"
        );
        Ok(())
    }

    #[test]
    fn each_part_keeps_out_what_it_does_not_name() -> Result<(), Box<dyn std::error::Error>> {
        let fits = |watch: &Watch| {
            let client = "203.0.113.7".parse().expect("an address");
            watch.fits(client, "6.6.6.6:80".parse().expect("an address"))
        };
        assert!(fits(&Watch::default()) && Watch::default().is_everything());
        let parts: [(Part, &str, &str); 3] = [
            (
                |watch, text| ports(text).map(|one| watch.ports = vec![one]),
                "79-80",
                "81",
            ),
            (
                |watch, text| prefix(text).map(|one| watch.destinations = vec![one]),
                "6.6.6.0/24",
                "6.6.7.0/24",
            ),
            (
                |watch, text| prefix(text).map(|one| watch.sources = vec![one]),
                "203.0.113.7",
                "::/0",
            ),
        ];
        for (set, right, wrong) in parts {
            for (text, expected) in [(right, true), (wrong, false)] {
                let mut watch = Watch::default();
                set(&mut watch, text)?;
                assert!(!watch.is_everything());
                assert_eq!(fits(&watch), expected, "{text}");
            }
        }
        let of = |family| Watch {
            family: Some(family),
            ..Watch::default()
        };
        assert!(fits(&of(Family::Ipv4)) && !fits(&of(Family::Ipv6)));
        Ok(())
    }
}
