//! Puts the answer together. Pure.

use std::{net::SocketAddr, sync::Arc};

use super::{
    answer::{Answer, Asked, Listener, Otherwise, Told, Translation},
    choice::{choice, matched, of_found},
    notes::{depends, netfilter_notes, notes, order_notes},
    scene::{Reach, Scene, Sent},
};
use crate::{
    event::{Endpoint, Netns, Owner, SCHEMA},
    judge::explain::{self, Candidate, Outcome, Pick, Rule, Socket},
    judge::rules::Ranking,
    listeners::Listening,
    netfilter::{About, Rules},
};

/// Most rules of netfilter in an answer.
const TRANSLATIONS: usize = 16;

impl Answer {
    /// Puts the answer together; `owners` tells who holds a socket, by its inode, and whether it
    /// is the kernel.
    pub(super) fn of(
        scene: &Scene,
        sent: &Sent<'_>,
        netns: &Arc<Netns>,
        owners: &mut dyn FnMut(u64) -> (Arc<[Owner]>, bool),
    ) -> Self {
        let mut answer = Self::through_one(scene, sent, netns.clone(), owners);
        let others = scene.otherwise.iter();
        let others = others.map(|scene| Self::through_one(scene, sent, netns.clone(), owners));
        answer.otherwise = others
            .filter(|other| !other.agrees(&answer))
            .map(Otherwise::from)
            .collect();
        if !answer.otherwise.is_empty() {
            answer.notes.insert(0, depends(&answer));
        }
        answer
    }

    fn through_one(
        scene: &Scene,
        sent: &Sent<'_>,
        netns: Arc<Netns>,
        owners: &mut dyn FnMut(u64) -> (Arc<[Owner]>, bool),
    ) -> Self {
        let sockets: Vec<Socket> = scene.listeners.iter().map(socket).collect();
        let choice = choice(scene, sent, &sockets);
        let mut candidates = explain::candidates(
            &scene.packet,
            &sockets,
            choice.pick,
            choice.steered,
            scene.ranking,
        );
        let mut rule = explain::rule(&candidates, choice.pick, choice.steered);
        if let Reach::Elsewhere(_) = scene.reach {
            rule = Rule::NotLocal;
            for candidate in candidates.iter_mut().filter(|one| one.fit.is_some()) {
                candidate.outcome = Outcome::NotLocal;
            }
        }
        let mut describe = |listening: &Listening| listener(listening, scene, owners);
        let found = scene.kernel.as_ref().ok().and_then(Option::as_ref);
        let listener = match choice.pick {
            Pick::Nothing => None,
            Pick::One(index) if choice.certain => Some(describe(&scene.listeners[index])),
            Pick::One(index) | Pick::Group(index) => {
                Some(anonymous(describe(&scene.listeners[index])))
            }
            Pick::Outside => found.map(|found| describe(&of_found(found))),
        };
        let told = |one: &Candidate| Told {
            listener: describe(&scene.listeners[one.index]),
            fits: one.fit.is_some(),
            score: one.fit.map(|fit| scene.ranking.score(fit, &scene.packet)),
            outcome: one.outcome,
        };
        let told: Vec<Told> = candidates.iter().map(told).collect();
        let mut notes = notes(scene, sent, &choice);
        if scene.ranking == Ranking::PortChain {
            notes.extend(order_notes(&told, scene.algorithm));
        }
        Self {
            schema: SCHEMA,
            netns,
            client: endpoint(scene.client),
            destination: endpoint(sent.destination),
            ifindex: scene.arrival.interface.index,
            ifname: scene.arrival.interface.name.clone(),
            local: match scene.reach {
                Reach::Local => Some(true),
                Reach::Elsewhere(_) => Some(false),
                Reach::ByMark | Reach::ReversePath | Reach::Unknown => None,
            },
            asked: if scene.kernel.is_ok() {
                Asked::Kernel
            } else {
                Asked::Rules
            },
            because: scene.kernel.as_ref().err().cloned(),
            ranking: scene.ranking,
            certain: choice.certain,
            rule,
            matched: matched(scene, found, choice.pick),
            via: choice.via,
            candidates: told,
            listener,
            otherwise: Vec::new(),
            translations: Vec::new(),
            notes,
            reuseport: choice.reuseport,
            sk_lookup_programs: scene.sk_lookup.clone().unwrap_or_default(),
        }
    }

    /// Adds what netfilter may do with the SYN before its listener is looked up.
    pub(super) fn translated(&mut self, rules: &Rules) {
        let destination = self.destination;
        let about = About {
            ports: vec![destination.port],
            destinations: vec![destination.address.into()],
        };
        let found = rules.about(&about);
        let notes = netfilter_notes(&found, &rules.unread);
        self.notes.splice(0..0, notes);
        self.translations = found
            .into_iter()
            .take(TRANSLATIONS)
            .map(|(rule, names_port)| Translation {
                place: rule.place.clone(),
                action: rule.action,
                to: rule.to.clone(),
                names_port,
            })
            .collect();
    }
}

fn socket(listener: &Listening) -> Socket {
    Socket {
        bound: listener.bound,
        uid: listener.uid,
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        address: address.ip(),
        port: address.port(),
    }
}

fn listener(
    listening: &Listening,
    scene: &Scene,
    owners: &mut dyn FnMut(u64) -> (Arc<[Owner]>, bool),
) -> Listener {
    let bound = &listening.bound;
    let device = (bound.device != 0).then(|| {
        let known = scene.interfaces.indexed(bound.device);
        known.map_or_else(
            || format!("if{}", bound.device),
            |interface| interface.name.clone(),
        )
    });
    let some = |number: u64| (number != 0).then_some(number);
    let (owners, in_kernel) = owners(listening.inode);
    Listener {
        address: bound.shown_address(),
        port: bound.port,
        family: bound.family,
        device,
        v6only: bound.v6only,
        uid: listening.uid,
        inode: some(listening.inode),
        cookie: some(listening.cookie),
        queue: listening.complete.then_some(listening.queue),
        owners,
        in_kernel,
    }
}

/// Any of a group: what only one member has is left out.
fn anonymous(listener: Listener) -> Listener {
    Listener {
        inode: None,
        cookie: None,
        queue: None,
        owners: Arc::from([]),
        in_kernel: false,
        ..listener
    }
}
