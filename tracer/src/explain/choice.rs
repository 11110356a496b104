//! Who gets the SYN, before it is put into words: the kernel's word, or that of the rules.
//! Pure.

use super::{
    answer::Reuseport,
    scene::{Reach, Scene, Sent},
};
use crate::{
    event::{Match, Via},
    judge::{
        self,
        explain::{self, Pick, Socket},
        rules::{ANY_MAPPED, mapped},
    },
    listeners::Listening,
    probes::ask::Found,
};

/// What is known of the choice before it is put into words.
pub(super) struct Choice {
    pub(super) pick: Pick,
    pub(super) steered: bool,
    pub(super) via: Via,
    pub(super) certain: bool,
    pub(super) reuseport: Option<Reuseport>,
}

/// Who gets the SYN, by the kernel's word or by the rules.
pub(super) fn choice(scene: &Scene, sent: &Sent<'_>, sockets: &[Socket]) -> Choice {
    if let Reach::Elsewhere(_) = scene.reach {
        return Choice {
            pick: Pick::Nothing,
            steered: false,
            via: Via::Lookup,
            certain: true,
            reuseport: None,
        };
    }
    let by_rules = explain::pick(&scene.packet, sockets, scene.ranking);
    let programs = scene.sk_lookup.as_deref().unwrap_or_default();
    let Ok(found) = &scene.kernel else {
        return by_the_rules(by_rules, sockets, !programs.is_empty());
    };
    let pick = match found {
        None => Pick::Nothing,
        Some(found) => scene
            .listeners
            .iter()
            .position(|listener| listener.inode == found.listener.inode)
            .map_or(Pick::Outside, Pick::One),
    };
    // What the tables would give is known from the rules; they only err where something is
    // not visible, so a program must be there too.
    let steered = !programs.is_empty() && !same(pick, by_rules, sockets);
    let Some(group) = found.as_ref().and_then(|found| found.group) else {
        return Choice {
            pick,
            steered,
            via: if steered { Via::SkLookup } else { Via::Lookup },
            certain: true,
            reuseport: None,
        };
    };
    let named = sent.named.and_then(|client| client.port) == Some(scene.client.port());
    let by_hash = group.via == Via::ReuseportHash;
    let certain = by_hash && (named || group.size == 1);
    Choice {
        pick: match pick {
            Pick::One(index) if !certain => Pick::Group(index),
            pick => pick,
        },
        steered,
        via: if steered { Via::SkLookup } else { group.via },
        certain,
        reuseport: Some(Reuseport {
            size: group.size.into(),
            member: group.member.filter(|_| certain),
            program_id: group.program_id,
        }),
    }
}

fn by_the_rules(pick: Pick, sockets: &[Socket], programs: bool) -> Choice {
    let group = match pick {
        Pick::Group(index) => sockets.iter().filter(|&one| *one == sockets[index]).count(),
        _ => 0,
    };
    Choice {
        pick,
        steered: false,
        via: if group > 1 {
            Via::ReuseportHash
        } else {
            Via::Lookup
        },
        certain: group == 0 && !programs,
        reuseport: (group > 1).then_some(Reuseport {
            size: group,
            member: None,
            program_id: None,
        }),
    }
}

/// Whether two picks name one socket, or members of one group.
fn same(one: Pick, other: Pick, sockets: &[Socket]) -> bool {
    let of = |pick| match pick {
        Pick::One(index) | Pick::Group(index) => Some(sockets[index]),
        _ => None,
    };
    match (of(one), of(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

pub(super) fn matched(scene: &Scene, found: Option<&Found>, pick: Pick) -> Match {
    let bound = match pick {
        Pick::Nothing => return Match::None,
        Pick::One(index) | Pick::Group(index) => scene.listeners[index].bound,
        Pick::Outside => match found {
            Some(found) => of_found(found).bound,
            None => return Match::None,
        },
    };
    let destination = scene.packet.destination;
    if bound.port != scene.packet.port {
        Match::None
    } else if bound.address == mapped(destination) {
        Match::Exact
    } else if destination.is_ipv4() && bound.address == ANY_MAPPED {
        Match::Wildcard
    } else if bound.address.is_unspecified() {
        if destination.is_ipv4() {
            Match::DualStack
        } else {
            Match::Wildcard
        }
    } else {
        Match::None
    }
}

/// What the kernel said of a listener that is not in the list.
pub(super) fn of_found(found: &Found) -> Listening {
    let listener = &found.listener;
    Listening {
        bound: judge::bound(listener),
        inode: listener.inode,
        cookie: listener.cookie,
        uid: listener.uid,
        queue: found.queue,
        complete: true,
    }
}
