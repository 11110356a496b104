//! Pairs of listeners that fit the same packets: who wins, and when.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Finding, Group, Kind, Scene, Severity, finding, in_bucket, kin::related};
use crate::{
    event::Family,
    judge::rules::{Algorithm, Bound, Packet},
    listeners::chain,
};

/// A more specific and a less specific group that fit a common packet.
struct Pair<'a> {
    specific: &'a Group,
    general: &'a Group,
    /// What makes the one more specific.
    by: By,
    /// Sockets seen in the port's bucket.
    in_bucket: usize,
    /// Everybody on the port.
    on_port: &'a [&'a Group],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Address,
    Device,
    /// An IPv4 socket beside a dual-stack one.
    Family,
}

pub(super) fn findings(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for groups in on_one_port(scene).values() {
        for (index, one) in groups.iter().enumerate() {
            for other in &groups[index + 1..] {
                let in_bucket = in_bucket(scene, &one.bound);
                if let Some(pair) = pair(one, other, in_bucket, groups) {
                    findings.push(pair.judge(scene));
                }
            }
        }
    }
    findings
}

/// Groups by namespace and port.
pub(super) fn on_one_port(scene: &Scene) -> BTreeMap<(u32, u16), Vec<&Group>> {
    let mut by_port: BTreeMap<_, Vec<&Group>> = BTreeMap::new();
    for group in &scene.groups {
        let key = (group.bound.netns, group.bound.port);
        by_port.entry(key).or_default().push(group);
    }
    by_port
}

fn pair<'a>(
    one: &'a Group,
    other: &'a Group,
    in_bucket: usize,
    on_port: &'a [&'a Group],
) -> Option<Pair<'a>> {
    let packet = common_packet(&one.bound, &other.bound)?;
    let (a, b) = (one.bound.fit(&packet).ok()?, other.bound.fit(&packet).ok()?);
    let (specific, general) = if a.beats(b) {
        (one, other)
    } else if b.beats(a) {
        (other, one)
    } else {
        return None;
    };
    let by = if a.address != b.address {
        By::Address
    } else if a.native != b.native {
        By::Family
    } else {
        By::Device
    };
    Some(Pair {
        specific,
        general,
        by,
        in_bucket,
        on_port,
    })
}

/// A packet that both may fit: for the more specific address, over the device.
fn common_packet(one: &Bound, other: &Bound) -> Option<Packet> {
    let takes_ipv4 = |bound: &Bound| !bound.v6only;
    let destination = match (one.is_wildcard(), other.is_wildcard()) {
        (false, false) if one.address != other.address => return None,
        (false, _) => one.address.to_canonical(),
        (_, false) => other.address.to_canonical(),
        (true, true) if takes_ipv4(one) && takes_ipv4(other) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (true, true) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let dif = match (one.device, other.device) {
        (0, device) | (device, 0) => device,
        (one, other) if one == other => one,
        _ => return None,
    };
    Some(Packet {
        netns: one.netns,
        destination,
        port: one.port,
        dif,
        sdif: 0,
        l3mdev_accept: false,
    })
}

/// Which start order gives a group the first place in a chain of its family.
fn wins(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "the one started last",
        Family::Ipv6 => "the one started first",
    }
}

impl Pair<'_> {
    fn judge(&self, scene: &Scene) -> Finding {
        if self.by == By::Device {
            return self.by_device();
        }
        let one_service = related(
            &self.specific.owners(),
            &self.general.owners(),
            &scene.relations,
        );
        // An IPv4 socket goes before every IPv6 one, so a dual-stack socket never robs it.
        let never = self.by == By::Family || self.specific_is_always_first();
        if never || chain::by_address(scene.algorithm, self.in_bucket) {
            self.restart_gap(never, one_service, scene.algorithm)
        } else {
            self.by_start_order(scene.algorithm, one_service)
        }
    }

    fn specific_is_always_first(&self) -> bool {
        (self.specific.bound.family, self.general.bound.family) == (Family::Ipv4, Family::Ipv6)
    }

    fn general_stands_first(&self) -> bool {
        chain::stands_before(self.general.place(), self.specific.place())
    }

    /// The specific one wins while it is alive.
    fn restart_gap(&self, never: bool, one_service: bool, algorithm: Algorithm) -> Finding {
        let (specific, general) = (self.specific.named(), self.general.named());
        let why = if never {
            "an IPv4 socket goes before an IPv6 one"
        } else {
            "this kernel looks the packet's address up first"
        };
        let whose = if one_service {
            ". Both belong to one service"
        } else {
            ""
        };
        let crowd = if !never && algorithm == Algorithm::Hybrid {
            format!(
                " That holds while the port's bucket has more than ten sockets, and {} are seen \
                 in it now; with ten or fewer the order of start decides.",
                self.in_bucket
            )
        } else {
            String::new()
        };
        let cause = format!(
            "{general} also fits what {specific} is for. While {specific} listens it gets all \
             of that ({why}); while it does not, as in a restart, {general} gets \
             it{whose}.{crowd}"
        );
        let remedy = "None is needed if that is meant. Otherwise keep a socket of the specific \
             listener open across restarts (socket activation, or start the new process before \
             the old one ends), or bind the other one to its own addresses.";
        self.finding(Kind::Overlap, Severity::Info, cause, remedy.into())
    }

    /// One chain for all addresses of the port: the first reuseport socket that fits wins.
    fn by_start_order(&self, algorithm: Algorithm, one_service: bool) -> Finding {
        let same_family = self.specific.bound.family == self.general.bound.family;
        let order = if same_family {
            format!("of the two, {} wins", wins(self.specific.bound.family))
        } else {
            "an IPv4 socket goes before an IPv6 one in any order".into()
        };
        let hybrid = algorithm == Algorithm::Hybrid;
        let limit = if hybrid {
            format!(
                " while the port's bucket holds at most ten sockets ({} are seen in it now; with \
                 more it looks the address up first)",
                self.in_bucket
            )
        } else {
            String::new()
        };
        let first = self.general_stands_first();
        let severity = match (one_service, first) {
            (true, _) => Severity::Info,
            (false, true) => Severity::Critical,
            (false, false) => Severity::Warning,
        };
        let cause = format!(
            "This kernel walks one chain per port{limit} and takes the first reuseport socket \
             that fits: {order}. {}. {}.",
            self.chain(),
            self.next_restart(first, same_family)
        );
        let remedy = self.legacy_remedy(first && same_family, hybrid);
        self.finding(Kind::Overlap, severity, cause, remedy)
    }

    /// Who stands before whom on the port.
    fn chain(&self) -> String {
        let members = |group: &&'_ Group| -> Vec<(Bound, usize, String)> {
            let of = |place| (group.bound, place, group.endpoint());
            group
                .members
                .iter()
                .map(|member| of(member.place))
                .collect()
        };
        let mut sockets: Vec<_> = self.on_port.iter().flat_map(members).collect();
        sockets.sort_by(|one, other| {
            let before = |a: &(Bound, usize, String), b: &(Bound, usize, String)| {
                chain::stands_before((&a.0, a.1), (&b.0, b.1))
            };
            before(other, one).cmp(&before(one, other))
        });
        let names: Vec<String> = sockets.into_iter().map(|(_, _, name)| name).collect();
        chain::told(self.specific.bound.port, &names)
    }

    /// Who gets the connections now, and whose restart changes that.
    fn next_restart(&self, robbed: bool, same_family: bool) -> String {
        let (specific, general) = (self.specific.named(), self.general.named());
        let (endpoint, family) = (self.specific.endpoint(), self.specific.bound.family);
        match (robbed, family) {
            (true, _) if !same_family => {
                format!("{general} gets the connections for {endpoint}, and no restart helps")
            }
            (true, Family::Ipv4) => format!(
                "{general} stands first and gets the connections for {endpoint} until \
                 {specific} restarts"
            ),
            (true, Family::Ipv6) => format!(
                "{general} stands first and gets the connections for {endpoint} until \
                 {general} restarts"
            ),
            (false, Family::Ipv4) => format!(
                "{specific} stands first now; at the next restart of {general} that one takes the \
                 connections for {endpoint} from it"
            ),
            (false, Family::Ipv6) => format!(
                "{specific} stands first now; when it restarts next, {general} takes the \
                 connections for {endpoint} from it"
            ),
        }
    }

    fn legacy_remedy(&self, robbed: bool, hybrid: bool) -> String {
        let (specific, general) = (self.specific.named(), self.general.named());
        let family = self.specific.bound.family;
        let now = self.for_now(robbed);
        let cures = chain::cures(&specific, &general, family, hybrid);
        format!("{now}For good: {cures}")
    }

    /// Within one address the first group in the chain ends the walk, on every kernel.
    fn by_device(&self) -> Finding {
        let family = self.specific.bound.family;
        let first = self.general_stands_first();
        let (winner, loser) = if first {
            (self.general, self.specific)
        } else {
            (self.specific, self.general)
        };
        let device = self.specific.device.as_deref().unwrap_or("the device");
        let cause = format!(
            "A packet that comes through {device} fits both, and the kernel takes the first \
             reuseport group in the chain instead of the one bound to the device: {} wins. \
             {} stands first now, so {} gets {}.",
            wins(family),
            winner.named(),
            loser.named(),
            if first {
                "nothing"
            } else {
                "only what comes through other devices"
            }
        );
        let remedy = format!(
            "{}For good, give the two different ports, or bind both to devices.",
            self.for_now(first)
        );
        self.finding(Kind::DevOrder, Severity::Warning, cause, remedy)
    }

    /// What turns the order round until the next restart.
    fn for_now(&self, robbed: bool) -> String {
        match (robbed, self.specific.bound.family) {
            (false, _) => String::new(),
            (true, Family::Ipv4) => format!(
                "For now, restart {}: started last, it wins. ",
                self.specific.named()
            ),
            (true, Family::Ipv6) => format!(
                "For now, restart {}: started last, it loses. ",
                self.general.named()
            ),
        }
    }

    fn finding(&self, kind: Kind, severity: Severity, cause: String, remedy: String) -> Finding {
        finding(
            kind,
            severity,
            &[self.specific, self.general],
            cause,
            remedy,
        )
    }
}
