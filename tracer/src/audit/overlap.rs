//! Pairs of listeners that fit the same packets: who wins, and when.

use std::net::Ipv6Addr;

use super::{
    finding::{Finding, Kind, Severity, Situation, finding, fold},
    pairs::{By, Pair, pairs},
    view::View,
};
use crate::{
    event::Family,
    judge::rules::{Algorithm, Bound},
    listeners::chain::{self, Order},
};

/// More groups on a port than this, and those that a finding is not about stand in its
/// chain as others.
const MOST_NAMED: usize = 12;

/// How the two stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Course {
    /// The specific one wins while it is alive; on any kernel, or on this one.
    RestartGap { never: bool },
    /// One chain for all addresses of the port: the first reuseport socket that fits wins.
    StartOrder { robbed: bool },
    /// Within one address the first group in the chain ends the walk, on every kernel.
    Device { robbed: bool },
}

/// What makes several pairs one situation: the same course beside the same listener, or
/// beside listeners of the same processes that differ in their ports only.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    netns: u32,
    course: Course,
    one_service: bool,
    families: (Family, Family),
    address: Ipv6Addr,
    device: u32,
    v6only: bool,
    who: usize,
    /// Interface that common packets come through; 0: any, or the device is what it is about.
    through: u32,
}

pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    let pairs = view.index.ports().flat_map(|on_port| pairs(view, on_port));
    let cases = pairs.map(|pair| (key(view, pair), pair));
    fold(cases)
        .into_iter()
        .map(|(key, pairs)| Told { view, key, pairs }.finding())
        .collect()
}

fn key(view: &View<'_>, pair: Pair) -> Key {
    let general = &view.group(pair.general).bound;
    let robbed = view.stands_before(pair.general, pair.specific);
    let families = pair.families(view);
    // An IPv4 socket goes before every IPv6 one, so a dual-stack socket never robs it.
    let never = pair.by == By::Family || families == (Family::Ipv4, Family::Ipv6);
    let course = if pair.by == By::Device {
        Course::Device { robbed }
    } else if never || view.by_address(pair.specific) {
        Course::RestartGap { never }
    } else {
        Course::StartOrder { robbed }
    };
    Key {
        netns: general.netns,
        course,
        one_service: view.related(pair.specific, pair.general),
        families,
        address: general.address,
        device: general.device,
        v6only: general.v6only,
        who: view.who(pair.general),
        through: match course {
            Course::Device { .. } => 0,
            _ => general.device.max(view.group(pair.specific).bound.device),
        },
    }
}

/// Pairs that are one situation. The first is told, the others are named after it.
struct Told<'a> {
    view: &'a View<'a>,
    key: Key,
    pairs: Vec<Pair>,
}

impl Told<'_> {
    fn finding(&self) -> Finding {
        match self.key.course {
            Course::RestartGap { never } => self.restart_gap(never),
            Course::StartOrder { robbed } => self.start_order(robbed),
            Course::Device { robbed } => self.device(robbed),
        }
    }

    /// The two of the first pair, as they are named.
    fn names(&self) -> (String, String) {
        let Pair {
            specific, general, ..
        } = self.pairs[0];
        (self.view.named(specific), self.view.named(general))
    }

    /// The interface that the packets in question come through, if it has to be a certain one.
    fn through(&self) -> String {
        if self.key.through == 0 {
            return String::new();
        }
        let Pair {
            specific, general, ..
        } = self.pairs[0];
        let bound = [specific, general].map(|index| self.view.group(index).device.as_deref());
        let device = bound.into_iter().flatten().next();
        device.map_or_else(String::new, |device| format!(" through {device}"))
    }

    fn in_bucket(&self) -> usize {
        self.view.in_bucket(self.pairs[0].specific)
    }

    fn is_hybrid(&self) -> bool {
        self.view.scene.algorithm == Algorithm::Hybrid
    }

    fn restart_gap(&self, never: bool) -> Finding {
        let (specific, general) = self.names();
        let why = if never {
            "an IPv4 socket goes before an IPv6 one"
        } else {
            "this kernel looks the packet's address up first"
        };
        let whose = if self.key.one_service {
            ". Both belong to one service"
        } else {
            ""
        };
        let crowd = if !never && self.is_hybrid() {
            format!(
                " That holds while the port's bucket has more than ten sockets, and {} are seen \
                 in it now; with ten or fewer the order of start decides.",
                self.in_bucket()
            )
        } else {
            String::new()
        };
        let through = match self.through() {
            any if any.is_empty() => any,
            through => format!(" and comes{through}"),
        };
        let cause = format!(
            "{general} also fits what {specific} is for{through}. While {specific} listens it \
             gets all of that ({why}); while it does not, as in a restart, {general} gets \
             it{whose}.{crowd}"
        );
        let remedy = "None is needed if that is meant. Otherwise keep a socket of the specific \
             listener open across restarts (socket activation, or start the new process before \
             the old one ends), or bind the other one to its own addresses.";
        self.told(Kind::Overlap, Severity::Info, cause, remedy.into())
    }

    fn start_order(&self, robbed: bool) -> Finding {
        let order = order(self.key.families);
        let rule = match order {
            Order::StartedLast => "of the two, the one started last wins",
            Order::StartedFirst => "of the two, the one started first wins",
            Order::Never => "an IPv4 socket stands before every IPv6 one, whichever started first",
        };
        let limit = if self.is_hybrid() {
            format!(
                " while the port's bucket holds at most ten sockets ({} are seen in it now; with \
                 more it looks the address up first)",
                self.in_bucket()
            )
        } else {
            String::new()
        };
        let severity = match (self.key.one_service, robbed) {
            (true, _) => Severity::Info,
            (false, true) => Severity::Critical,
            (false, false) => Severity::Warning,
        };
        let cause = format!(
            "This kernel walks one chain per port{limit} and takes the first reuseport socket \
             that fits: {rule}. {}. {}.",
            self.chain(),
            self.next_restart(order, robbed)
        );
        let (specific, general) = self.names();
        let cures = chain::cures(&specific, &general, order, self.is_hybrid());
        let remedy = format!("{}For good: {cures}", self.for_now(order, robbed));
        self.told(Kind::Overlap, severity, cause, remedy)
    }

    /// Who stands before whom on the port.
    fn chain(&self) -> String {
        let Pair {
            specific, general, ..
        } = self.pairs[0];
        let bound = &self.view.group(specific).bound;
        let on_port = self.view.index.port(bound.netns, bound.port);
        let groups: Vec<usize> = on_port.iter().flat_map(|on_port| on_port.all()).collect();
        let crowded = groups.len() > MOST_NAMED;
        let mut sockets: Vec<(&Bound, usize, String)> = Vec::new();
        for index in groups {
            let group = self.view.group(index);
            let name = if crowded && index != specific && index != general {
                "others".to_owned()
            } else {
                group.endpoint()
            };
            let members = group.members.iter();
            sockets.extend(members.map(|member| (&group.bound, member.place, name.clone())));
        }
        sockets.sort_by_key(|(bound, place, _)| chain::rank(bound, *place));
        let names: Vec<String> = sockets.into_iter().map(|(_, _, name)| name).collect();
        chain::told(bound.port, &names)
    }

    /// Who gets the connections now, and whose restart changes that.
    fn next_restart(&self, order: Order, robbed: bool) -> String {
        let (specific, general) = self.names();
        let endpoint = self.view.group(self.pairs[0].specific).endpoint() + &self.through();
        match (robbed, order) {
            (true, Order::Never) => {
                format!("{general} gets the connections for {endpoint}, and no restart helps")
            }
            (true, Order::StartedLast) => format!(
                "{general} stands first and gets the connections for {endpoint} until \
                 {specific} restarts"
            ),
            (true, Order::StartedFirst) => format!(
                "{general} stands first and gets the connections for {endpoint} until \
                 {general} restarts"
            ),
            (false, Order::StartedFirst) => format!(
                "{specific} stands first now; when it restarts next, {general} takes the \
                 connections for {endpoint} from it"
            ),
            (false, _) => format!(
                "{specific} stands first now; at the next restart of {general} that one takes the \
                 connections for {endpoint} from it"
            ),
        }
    }

    fn device(&self, robbed: bool) -> Finding {
        let order = order(self.key.families);
        let Pair {
            specific, general, ..
        } = self.pairs[0];
        let (winner, loser) = if robbed {
            (general, specific)
        } else {
            (specific, general)
        };
        let device = self.view.group(specific).device.as_deref();
        let cause = format!(
            "A packet that comes through {} fits both, and the kernel takes the first \
             reuseport group in the chain instead of the one bound to the device: {} wins. \
             {} stands first now, so {} gets {}.",
            device.unwrap_or("the device"),
            if order == Order::StartedFirst {
                "the one started first"
            } else {
                "the one started last"
            },
            self.view.named(winner),
            self.view.named(loser),
            if robbed {
                "nothing"
            } else {
                "only what comes through other devices"
            }
        );
        let remedy = format!(
            "{}For good, give the two different ports, or bind both to devices.",
            self.for_now(order, robbed)
        );
        self.told(Kind::DevOrder, Severity::Warning, cause, remedy)
    }

    /// What turns the order round until the next restart.
    fn for_now(&self, order: Order, robbed: bool) -> String {
        let (specific, general) = self.names();
        match (robbed, order) {
            (false, _) | (true, Order::Never) => String::new(),
            (true, Order::StartedLast) => {
                format!("For now, restart {specific}: started last, it wins. ")
            }
            (true, Order::StartedFirst) => {
                format!("For now, restart {general}: started last, it loses. ")
            }
        }
    }

    fn told(&self, kind: Kind, severity: Severity, cause: String, remedy: String) -> Finding {
        let cases: Vec<Vec<usize>> = self
            .pairs
            .iter()
            .map(|pair| vec![pair.specific, pair.general])
            .collect();
        let general = self.view.group(self.pairs[0].general);
        let Key {
            course,
            one_service,
            families,
            ..
        } = &self.key;
        let situation = Situation {
            kind,
            severity,
            key: format!(
                " {course:?} {one_service} {families:?} {} {} {}{}",
                general.endpoint(),
                general.bound.v6only,
                general.uid,
                self.through()
            ),
            cases: &cases,
        };
        finding(self.view, &situation, cause, remedy)
    }
}

/// What decides between two of these families, the more specific one's first, in one chain.
fn order((specific, general): (Family, Family)) -> Order {
    chain::order_of(specific, general)
}
