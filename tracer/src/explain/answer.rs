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
pub(crate) enum Asked {
    /// The kernel's own lookup.
    Kernel,
    /// The rules, over the list of listeners.
    Rules,
}

/// Instead of an answer: the question was not understood.
#[derive(Debug, Serialize)]
pub(crate) struct Misunderstood<'a> {
    pub(crate) schema: u32,
    pub(crate) error: &'a str,
}

/// The answer to one question.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) schema: u32,
    pub(crate) netns: Arc<Netns>,
    pub(crate) client: Endpoint,
    pub(crate) destination: Endpoint,
    pub(crate) ifindex: u32,
    pub(crate) ifname: String,
    /// Whether the destination is local; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) local: Option<bool>,
    pub(crate) asked: Asked,
    /// Why not the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) because: Option<String>,
    /// How this kernel ranks listeners, by the rules.
    pub(crate) ranking: Ranking,
    /// The socket is known, not only its group.
    pub(crate) certain: bool,
    pub(crate) rule: Rule,
    #[serde(rename = "match")]
    pub(crate) matched: Match,
    pub(crate) via: Via,
    pub(crate) listener: Option<Listener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reuseport: Option<Reuseport>,
    /// The answer through other interfaces, where it is another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) otherwise: Vec<Otherwise>,
    /// Rules of netfilter that may give the SYN another destination, or a listener.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) translations: Vec<Translation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sk_lookup_programs: Vec<u32>,
    pub(crate) candidates: Vec<Told>,
    pub(crate) notes: Vec<String>,
}

/// A rule of netfilter that may concern the SYN.
#[derive(Debug, Serialize)]
pub(crate) struct Translation {
    /// Where it stands.
    pub(crate) place: String,
    pub(crate) action: Action,
    /// Where to, if the rule says it by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// It names the SYN's port; else it may concern it, for all that was understood.
    pub(crate) names_port: bool,
}

/// What a SYN gets that comes through another interface.
#[derive(Debug, Serialize)]
pub(crate) struct Otherwise {
    pub(crate) ifindex: u32,
    pub(crate) ifname: String,
    pub(crate) certain: bool,
    pub(crate) rule: Rule,
    #[serde(rename = "match")]
    pub(crate) matched: Match,
    pub(crate) via: Via,
    pub(crate) listener: Option<Listener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reuseport: Option<Reuseport>,
}

/// A listening socket.
#[derive(Debug, Serialize)]
pub(crate) struct Listener {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) family: Family,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    pub(crate) v6only: bool,
    pub(crate) uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookie: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<Queue>,
    pub(crate) owners: Arc<[Owner]>,
    /// No process holds it, and every process could be looked into.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) in_kernel: bool,
}

/// A reuseport group.
#[derive(Debug, Serialize)]
pub(crate) struct Reuseport {
    pub(crate) size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program_id: Option<u32>,
}

/// A listener on the port, and how it fared.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    #[serde(flatten)]
    pub(crate) listener: Listener,
    pub(crate) fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<u32>,
    pub(crate) outcome: Outcome,
}

impl Answer {
    /// Whether both name the same listener, as far as they name one.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let who = |answer: &Self| {
            answer.listener.as_ref().map(|listener| {
                let place = (listener.address, listener.port, listener.device.clone());
                (place, listener.uid, listener.inode)
            })
        };
        who(self) == who(other)
    }

    /// Whether a socket would get the SYN.
    pub(crate) fn would_be_picked(&self) -> bool {
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
