//! What a SYN meets, listener by listener: who gets it, and why the others do not. Pure.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::rules::{Bound, Fit, Packet, Ranking, Unfit};
use crate::event::Family;

/// Client of a SYN that nobody was named for: addresses for documentation (RFC 5737,
/// RFC 3849), and a port from the range for them.
pub(crate) const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const CLIENT_PORT: u16 = 40_000;
/// A listening socket, as far as its rank and its group go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Where it is bound.
    pub bound: Bound,
    /// Its user; a reuseport group has one.
    pub uid: u32,
}

/// What a SYN gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// No listener.
    Nothing,
    /// The socket at this index.
    One(usize),
    /// A member, not known which, of the group of the socket at this index.
    Group(usize),
    /// A listener that is not in the list.
    Outside,
}

/// How a candidate fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It gets the SYN.
    Picked,
    /// A member of its reuseport group gets the SYN, it or another.
    PickedGroup,
    /// Another member of its reuseport group gets the SYN.
    OtherMember,
    /// A program chose, not the tables.
    Steered,
    /// Bound to any address, and there is one bound to the packet's own.
    LessSpecific,
    /// Lower score at the same address.
    LowerScore,
    /// As good as the one picked, which stands before it in the kernel's chain.
    LaterInChain,
    /// Better than the one picked, which stands before it in the chain and has
    /// `SO_REUSEPORT`, so that the kernel looked no further.
    Overtaken,
    /// The rules known here would prefer it: something not visible from outside counted.
    Unexplained,
    /// Bound to an interface that the packet does not come through.
    Device,
    /// Takes no IPv4 (`IPV6_V6ONLY`).
    Ipv6Only,
    /// An IPv4 socket takes no IPv6.
    Ipv4Only,
    /// Not bound to an interface, and the packet comes through a VRF.
    VrfScope,
    /// It would fit, but the packet's destination is not local: the packet does not get there.
    NotLocal,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Nothing listens there that takes it.
    NoListener,
    /// No other listener takes it.
    OnlyOne,
    /// Bound to the packet's own address, which counts more than any address.
    Address,
    /// Bound to the packet's interface.
    Device,
    /// A socket of the packet's own family.
    Family,
    /// Place in the kernel's chain.
    Order,
    /// An `sk_lookup` program.
    SkLookup,
    /// The routing table: the destination is not local.
    NotLocal,
    /// Something not visible from outside.
    Unexplained,
}

/// A listener on the packet's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its index in the list given.
    pub index: usize,
    /// How it fits; `None` if it does not.
    pub fit: Option<Fit>,
    /// How it fared.
    pub outcome: Outcome,
}

/// The sockets that fit, as the kernel meets them: those bound to the packet's address in
/// chain order, then those bound to any; or all in chain order. A socket of the packet's family stands before an
/// IPv6 one for an IPv4 packet: the former are put at the head of the chain, IPv6 sockets
/// with `SO_REUSEPORT` at its tail (`__inet_hash`, `net/ipv4/inet_hashtables.c`).
fn met(packet: &Packet, sockets: &[Socket], ranking: Ranking) -> Vec<(usize, Fit)> {
    let by_address = ranking == Ranking::AddressFirst;
    let mut fitting: Vec<(usize, Fit)> = sockets
        .iter()
        .enumerate()
        .filter_map(|(index, socket)| Some((index, socket.bound.fit(packet).ok()?)))
        .collect();
    fitting.sort_by_key(|(_, fit)| (by_address && !fit.address, !fit.native));
    fitting
}

/// Picks by the rules, as far as they are visible from outside.
///
/// `sockets` are those of the packet's namespace, within a family in the order of the
/// kernel's chains. Which have `SO_REUSEPORT` shows only in their being there side by side;
/// `SO_INCOMING_CPU`, the programs of groups and `sk_lookup` programs do not show at all.
#[must_use]
pub fn pick(packet: &Packet, sockets: &[Socket], ranking: Ranking) -> Pick {
    let met = met(packet, sockets, ranking);
    let passes: &[Option<bool>] = match ranking {
        Ranking::AddressFirst => &[Some(true), Some(false)],
        Ranking::PortChain => &[None],
    };
    for pass in passes {
        let mut best: Option<(usize, u32)> = None;
        let in_pass = |(_, fit): &&(usize, Fit)| pass.is_none_or(|exact| fit.address == exact);
        for &(index, fit) in met.iter().filter(in_pass) {
            let score = ranking.score(fit, packet);
            if best.is_some_and(|(_, best)| best >= score) {
                continue;
            }
            best = Some((index, score));
            // The first of a group that raises the score answers for good
            // (`inet_lhash2_lookup`, and the walk of the port's chain before).
            if shares(index, sockets) {
                break;
            }
        }
        if let Some((index, _)) = best {
            let members = sockets.iter().filter(|&other| *other == sockets[index]);
            return if members.count() > 1 {
                Pick::Group(index)
            } else {
                Pick::One(index)
            };
        }
    }
    Pick::Nothing
}

/// Whether a socket must have `SO_REUSEPORT`, because it listens beside another one that it
/// would be in conflict with (`inet_csk_bind_conflict`, `net/ipv4/inet_connection_sock.c`).
fn shares(index: usize, sockets: &[Socket]) -> bool {
    let one = sockets[index].bound;
    sockets.iter().enumerate().any(|(other_index, other)| {
        let other = other.bound;
        let device = one.device == 0 || other.device == 0 || one.device == other.device;
        let address = one.address == other.address || covers(&one, &other) || covers(&other, &one);
        other_index != index
            && (one.netns, one.port) == (other.netns, other.port)
            && device
            && address
    })
}

/// Whether a wildcard socket takes the packets that the other one is for.
fn covers(wildcard: &Bound, other: &Bound) -> bool {
    let ipv4 = other.family == Family::Ipv4 || other.address.to_ipv4_mapped().is_some();
    let both = other.address.is_unspecified() && !other.v6only;
    if !wildcard.is_wildcard() {
        false
    } else if wildcard.address.is_unspecified() {
        !(wildcard.v6only && ipv4)
    } else {
        ipv4 || both
    }
}

/// Every listener worth telling of: those that fit, as the kernel meets them, then those on
/// the same port and address that do not fit.
#[must_use]
pub fn candidates(
    packet: &Packet,
    sockets: &[Socket],
    pick: Pick,
    steered: bool,
    ranking: Ranking,
) -> Vec<Candidate> {
    let met = met(packet, sockets, ranking);
    // Whichever member of a group is picked, the kernel met the group at its first.
    let place = |index: usize| {
        let same = |&(other, _): &(usize, Fit)| sockets[other] == sockets[index];
        met.iter().position(same)
    };
    let mut candidates: Vec<Candidate> = met
        .iter()
        .enumerate()
        .map(|(at, &(index, fit))| Candidate {
            index,
            fit: Some(fit),
            outcome: match pick {
                Pick::One(picked) | Pick::Group(picked) if sockets[index] == sockets[picked] => {
                    among_members(pick, index)
                }
                _ if steered => Outcome::Steered,
                Pick::One(picked) | Pick::Group(picked) => match place(picked) {
                    Some(picked_at) => {
                        let rank = |(at, fit): (usize, Fit)| (at, fit, ranking.score(fit, packet));
                        lost(
                            rank((at, fit)),
                            rank((picked_at, met[picked_at].1)),
                            ranking,
                        )
                    }
                    None => Outcome::Unexplained,
                },
                Pick::Nothing | Pick::Outside => Outcome::Unexplained,
            },
        })
        .collect();
    let unfit = sockets.iter().enumerate().filter_map(|(index, socket)| {
        let unfit = socket.bound.fit(packet).err()?;
        let picked = pick == Pick::One(index);
        let outcome = if picked {
            Outcome::Picked
        } else {
            worth_telling(&socket.bound, packet, unfit)?
        };
        Some(Candidate {
            index,
            fit: None,
            outcome,
        })
    });
    candidates.extend(unfit);
    candidates
}

fn among_members(pick: Pick, index: usize) -> Outcome {
    match pick {
        Pick::One(picked) if picked == index => Outcome::Picked,
        Pick::One(_) => Outcome::OtherMember,
        _ => Outcome::PickedGroup,
    }
}

/// Why one that fits lost to the one picked, each given by its place, fit and score.
fn lost(one: (usize, Fit, u32), picked: (usize, Fit, u32), ranking: Ranking) -> Outcome {
    if ranking == Ranking::AddressFirst && one.1.address != picked.1.address {
        return if picked.1.address {
            Outcome::LessSpecific
        } else {
            Outcome::Unexplained
        };
    }
    let later = one.0 > picked.0;
    match one.2.cmp(&picked.2) {
        std::cmp::Ordering::Less => Outcome::LowerScore,
        std::cmp::Ordering::Equal if later => Outcome::LaterInChain,
        std::cmp::Ordering::Greater if later => Outcome::Overtaken,
        _ => Outcome::Unexplained,
    }
}

/// A socket that does not fit is told of where somebody might wonder.
fn worth_telling(bound: &Bound, packet: &Packet, unfit: Unfit) -> Option<Outcome> {
    match unfit {
        Unfit::Netns | Unfit::Port | Unfit::Address => None,
        Unfit::Family if !bound.is_wildcard() => None,
        Unfit::Family if packet.destination.is_ipv4() => Some(Outcome::Ipv6Only),
        Unfit::Family => Some(Outcome::Ipv4Only),
        Unfit::Device => Some(Outcome::Device),
        Unfit::VrfScope => Some(Outcome::VrfScope),
    }
}

/// What decided for the one picked: the closest of those that lost tells.
#[must_use]
pub fn rule(candidates: &[Candidate], pick: Pick, steered: bool) -> Rule {
    if steered {
        return Rule::SkLookup;
    }
    let (Pick::One(picked) | Pick::Group(picked)) = pick else {
        return if pick == Pick::Nothing {
            Rule::NoListener
        } else {
            Rule::Unexplained
        };
    };
    let any = |outcomes: &[Outcome]| {
        candidates
            .iter()
            .find(|candidate| outcomes.contains(&candidate.outcome))
    };
    let winner = candidates
        .iter()
        .find(|candidate| candidate.index == picked)
        .and_then(|candidate| candidate.fit);
    if any(&[Outcome::Unexplained]).is_some() {
        Rule::Unexplained
    } else if any(&[Outcome::LaterInChain, Outcome::Overtaken]).is_some() {
        // IPv4 sockets stand before IPv6 ones in a chain, whichever were started first.
        let native = |fit: Option<Fit>| fit.is_some_and(|fit| fit.native);
        let by_order = |candidate: &&Candidate| {
            matches!(
                candidate.outcome,
                Outcome::LaterInChain | Outcome::Overtaken
            )
        };
        let mut behind = candidates.iter().filter(by_order);
        if native(winner) && behind.all(|candidate| !native(candidate.fit)) {
            Rule::Family
        } else {
            Rule::Order
        }
    } else if let Some(lower) = any(&[Outcome::LowerScore]) {
        let device = |fit: Option<Fit>| fit.is_some_and(|fit| fit.device);
        let address = |fit: Option<Fit>| fit.is_some_and(|fit| fit.address);
        if address(winner) && !address(lower.fit) {
            Rule::Address
        } else if device(winner) && !device(lower.fit) {
            Rule::Device
        } else {
            Rule::Family
        }
    } else if any(&[Outcome::LessSpecific]).is_some() {
        Rule::Address
    } else {
        Rule::OnlyOne
    }
}

#[cfg(test)]
mod tests;
