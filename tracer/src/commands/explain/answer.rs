//! The answer, as JSON has it (docs/explain.md).

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;

use crate::{
    event::{Endpoint, Family, Match, Netns, Owner, Queue, Via},
    judge::{
        explain::{Outcome, Rule},
        rules::Ranking,
    },
    netfilter::Action,
};

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
    /// No process holds it, and every process could be looked into.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) in_kernel: bool,
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
    /// Whether both name the same listener, as far as they name one.
    pub(super) fn agrees(&self, other: &Self) -> bool {
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
