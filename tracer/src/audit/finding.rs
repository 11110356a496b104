//! What is found, as it is told.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    hash::Hash,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{scene::Party, view::View};
use crate::{
    event::{Endpoint, Netns},
    words,
};

/// Version of the JSON output.
pub const SCHEMA: u32 = 1;
/// Further cases of one situation that a finding names.
const MOST_EXAMPLES: usize = 4;
/// Most listeners of one case that a finding names.
const MOST_PARTIES: usize = 8;
/// Most clients that a finding names.
pub(super) const MOST_CLIENTS: usize = 5;

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A less specific listener beside a more specific one.
    Overlap,
    /// A group bound to a device beside an unbound one.
    DevOrder,
    /// Sockets that look like one group and are several.
    SplitGroup,
    /// One group whose sockets belong to processes that have nothing in common.
    MixedGroup,
    /// A reuseport group whose program chooses, or refuses.
    GroupProgram,
    /// Connections that nobody accepts, or a listener that nobody holds.
    NoAcceptor,
    /// A connection held by a process whose listener is the less specific one.
    Evidence,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Overlap,
        Self::DevOrder,
        Self::SplitGroup,
        Self::MixedGroup,
        Self::GroupProgram,
        Self::NoAcceptor,
        Self::Evidence,
    ];

    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::DevOrder => "dev_order",
            Self::SplitGroup => "split_group",
            Self::MixedGroup => "mixed_group",
            Self::GroupProgram => "group_program",
            Self::NoAcceptor => "no_acceptor",
            Self::Evidence => "evidence",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How bad it is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; common on purpose
    Info,
    /// Connections can reach the wrong process, or did
    Warning,
    /// They do now, or nobody serves them
    Critical,
}

impl Severity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Something found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// [`SCHEMA`]
    pub schema: u32,
    /// The same for the same situation: made of kind, namespace and bindings.
    pub id: String,
    /// What kind of thing.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub netns: Arc<Netns>,
    /// How often it is so: pairs, groups or listeners in the same situation.
    pub count: usize,
    /// The listeners concerned; for a pair, the one at a disadvantage by right first: the
    /// more specific one. Then those of a few further cases.
    pub listeners: Vec<Party>,
    /// How many connections show it (`evidence`) or wait (`no_acceptor`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Some of them, from the client's side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Endpoint>,
    /// One sentence or two: what, and why.
    pub cause: String,
    /// What to do.
    pub remedy: String,
    /// How many of the listeners are those of the first case.
    #[serde(skip)]
    pub of_first: usize,
}

impl Finding {
    /// Where the listeners of the first case are bound, and how many cases more there are.
    #[must_use]
    pub fn places(&self) -> String {
        let parties = self.listeners.iter().take(self.of_first);
        let places: Vec<String> = parties
            .map(|party| words::bound_at(party.address, party.port, party.device.as_deref()))
            .collect();
        let mut text = places.join(" and ");
        if self.count > 1 {
            // Writing to a string does not fail.
            let _ = write!(text, ", and {} more", self.count - 1);
        }
        text
    }
}

/// Cases by what makes them one situation, in the order in which the first of each came.
pub(super) fn fold<K: Clone + Eq + Hash, C>(
    cases: impl IntoIterator<Item = (K, C)>,
) -> Vec<(K, Vec<C>)> {
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut folded: Vec<(K, Vec<C>)> = Vec::new();
    for (key, case) in cases {
        let place = *places.entry(key.clone()).or_insert(folded.len());
        match folded.get_mut(place) {
            Some((_, alike)) => alike.push(case),
            None => folded.push((key, vec![case])),
        }
    }
    folded
}

/// One case, or several that are one situation, before it is told.
pub(super) struct Situation<'a> {
    pub(super) kind: Kind,
    pub(super) severity: Severity,
    /// What makes it one situation, for the id of a finding of several cases.
    pub(super) key: String,
    /// The groups of each case: at least one case of one group.
    pub(super) cases: &'a [Vec<usize>],
}

/// A finding without connections.
pub(super) fn finding(
    view: &View<'_>,
    situation: &Situation<'_>,
    mut cause: String,
    remedy: String,
) -> Finding {
    let Situation {
        kind,
        severity,
        key,
        cases,
    } = situation;
    let (first, rest) = (&cases[0], &cases[1..]);
    let netns = view.group(first[0]).netns.clone();
    let parties = &first[..first.len().min(MOST_PARTIES)];
    let mut told: Vec<usize> = parties.to_vec();
    for &index in rest.iter().take(MOST_EXAMPLES).flatten() {
        if !told.contains(&index) {
            told.push(index);
        }
    }
    if !rest.is_empty() {
        cause += &alike(view, first, rest);
    }
    let mut identity = format!("{kind} {}", words::namespace(&netns));
    if rest.is_empty() {
        for &index in first {
            let group = view.group(index);
            let (bound, uid) = (&group.bound, group.uid);
            let (family, v6only) = (bound.family, bound.v6only);
            // Writing to a string does not fail.
            let _ = write!(identity, " {} {family:?} {v6only} {uid}", group.endpoint());
        }
    } else {
        identity += key;
    }
    Finding {
        schema: SCHEMA,
        id: format!("{kind}-{:08x}", hash(&identity)),
        kind: *kind,
        severity: *severity,
        netns,
        count: cases.len(),
        listeners: told.iter().map(|&index| view.party(index)).collect(),
        connections: None,
        clients: Vec::new(),
        cause,
        remedy,
        of_first: parties.len(),
    }
}

/// The other cases of a situation: how many, and some by name.
fn alike(view: &View<'_>, first: &[usize], rest: &[Vec<usize>]) -> String {
    let name = |case: &Vec<usize>| {
        let (one, others) = (view.group(case[0]), &case[1..]);
        // What all have in common need not be said again.
        if others == &first[1..] || others.is_empty() {
            return one.endpoint();
        }
        let others: Vec<String> = others
            .iter()
            .map(|&index| view.group(index).endpoint())
            .collect();
        format!("{} beside {}", one.endpoint(), others.join(" and "))
    };
    let names: Vec<String> = rest.iter().take(MOST_EXAMPLES).map(name).collect();
    let more = if rest.len() > names.len() {
        ", …"
    } else {
        ""
    };
    format!(
        " The same holds for {} more: {}{more}.",
        rest.len(),
        names.join(", ")
    )
}

/// FNV-1a: the same in every build and release, which the standard library's is not.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
