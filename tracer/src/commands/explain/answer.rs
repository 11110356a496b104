//! The answer, as JSON has it (docs/explain.md). Pure.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::Serialize;

use super::{
    choice::{choice, matched},
    notes::{depends, netfilter_notes, notes, order_notes},
    scene::{Reach, Scene, Sent},
};
use crate::{
    event::{Endpoint, Family, Match, Netns, Owner, Queue, SCHEMA, Via},
    judge::{
        self,
        explain::{self, Candidate, Outcome, Pick, Rule, Socket},
        rules::{Bound, Ranking},
    },
    listeners::Listening,
    netfilter::{About, Action, Rules},
    probes::ask::Found,
};

/// Most rules of netfilter in an answer.
const TRANSLATIONS: usize = 16;

/// Who was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    /// The kernel's own lookup.
    Kernel,
    /// The rules, over the list of listeners.
    Rules,
}

/// The answer to one question.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) schema: u32,
    pub(super) netns: Arc<Netns>,
    pub(super) client: Endpoint,
    pub(super) destination: Endpoint,
    pub(super) ifindex: u32,
    pub(super) ifname: String,
    /// Whether the destination is local; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local: Option<bool>,
    pub(super) asked: Asked,
    /// Why not the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) because: Option<String>,
    /// How this kernel ranks listeners, by the rules.
    pub(super) ranking: Ranking,
    /// The socket is known, not only its group.
    pub(super) certain: bool,
    pub(super) rule: Rule,
    #[serde(rename = "match")]
    pub(super) matched: Match,
    pub(super) via: Via,
    pub(super) listener: Option<Listener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reuseport: Option<Reuseport>,
    /// The answer through other interfaces, where it is another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) otherwise: Vec<Otherwise>,
    /// Rules of netfilter that may give the SYN another destination, or a listener.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) translations: Vec<Translation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sk_lookup_programs: Vec<u32>,
    pub(super) candidates: Vec<Told>,
    pub(super) notes: Vec<String>,
}

/// A rule of netfilter that may concern the SYN.
#[derive(Debug, Serialize)]
pub(super) struct Translation {
    /// Where it stands.
    pub(super) place: String,
    pub(super) action: Action,
    /// Where to, if the rule says it by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
    /// It names the SYN's port; else it may concern it, for all that was understood.
    pub(super) names_port: bool,
}

/// What a SYN gets that comes through another interface.
#[derive(Debug, Serialize)]
pub(super) struct Otherwise {
    pub(super) ifindex: u32,
    pub(super) ifname: String,
    pub(super) certain: bool,
    pub(super) rule: Rule,
    #[serde(rename = "match")]
    pub(super) matched: Match,
    pub(super) via: Via,
    pub(super) listener: Option<Listener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reuseport: Option<Reuseport>,
}

/// A listening socket.
#[derive(Debug, Serialize)]
pub(super) struct Listener {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) family: Family,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    pub(super) v6only: bool,
    pub(super) uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cookie: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue: Option<Queue>,
    pub(super) owners: Arc<[Owner]>,
}

/// A reuseport group.
#[derive(Debug, Serialize)]
pub(super) struct Reuseport {
    pub(super) size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) member: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) program_id: Option<u32>,
}

/// A listener on the port, and how it fared.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    pub(super) listener: Listener,
    pub(super) fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) score: Option<u32>,
    pub(super) outcome: Outcome,
}

impl Answer {
    /// Puts the answer together; `owners` tells who holds a socket, by its inode.
    pub(super) fn of(
        scene: &Scene,
        sent: &Sent<'_>,
        netns: &Arc<Netns>,
        owners: &mut dyn FnMut(u64) -> Arc<[Owner]>,
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
        owners: &mut dyn FnMut(u64) -> Arc<[Owner]>,
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

    /// Whether both name the same listener, as far as they name one.
    fn agrees(&self, other: &Self) -> bool {
        let who = |answer: &Self| {
            answer.listener.as_ref().map(|listener| {
                let place = (listener.address, listener.port, listener.device.clone());
                (place, listener.uid, listener.inode)
            })
        };
        who(self) == who(other)
    }

    /// Whether a socket would get the SYN.
    pub(super) fn would_be_picked(&self) -> bool {
        self.listener.is_some()
    }
}

impl From<Answer> for Otherwise {
    fn from(answer: Answer) -> Self {
        Self {
            ifindex: answer.ifindex,
            ifname: answer.ifname,
            certain: answer.certain,
            rule: answer.rule,
            matched: answer.matched,
            via: answer.via,
            listener: answer.listener,
            reuseport: answer.reuseport,
        }
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

/// What the kernel said of a listener that is not in the list.
pub(super) fn of_found(found: &Found) -> Listening {
    let listener = &found.listener;
    Listening {
        bound: Bound {
            netns: listener.netns,
            address: listener.addr.into(),
            port: listener.port,
            family: judge::family(listener),
            device: listener.bound_dev_if,
            v6only: listener.v6only != 0,
        },
        inode: listener.inode,
        cookie: listener.cookie,
        uid: listener.uid,
        queue: found.queue,
        complete: true,
    }
}

fn listener(
    listening: &Listening,
    scene: &Scene,
    owners: &mut dyn FnMut(u64) -> Arc<[Owner]>,
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
        owners: owners(listening.inode),
    }
}

/// Any of a group: what only one member has is left out.
fn anonymous(listener: Listener) -> Listener {
    Listener {
        inode: None,
        cookie: None,
        queue: None,
        owners: Arc::from([]),
        ..listener
    }
}
