//! Whether the members of reuseport groups are given their shares, over the last minutes: what a
//! daemon looks at once a minute.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::enrich::Enricher;
use crate::{
    event::{Owner, Time},
    judge::{
        health::{
            Health, Look,
            shares::{Share, Shares, Starved},
        },
        rules::Bound,
    },
    stock::TakeStock,
    words,
};

/// Starved members of a group that are told one by one.
const MOST_NAMED: usize = 4;

/// What a look found.
#[derive(Clone, Debug)]
pub struct Balance {
    /// When, on `CLOCK_MONOTONIC` in nanoseconds.
    pub ktime_ns: u64,
    /// The same by the wall clock.
    pub time: Time,
    /// Groups of which there is something to say.
    pub groups: Vec<GroupBalance>,
}

/// How a group's SYNs were shared out.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupBalance {
    /// Namespace: its name, or its inode number where it has none.
    pub netns: String,
    /// Where its members are bound, as `ss` writes it.
    pub listener: String,
    /// How.
    pub is: Is,
}

/// How it is with a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Is {
    /// Every member was given enough of its share.
    Even,
    /// Some members are starved.
    Starved(Starvation),
    /// Some were starved, and nobody listens there any more.
    Gone,
}

/// Who is starved, and who is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starvation {
    /// Members that listen.
    pub members: u64,
    /// SYNs that they were given.
    pub syns: u64,
    /// How many members are starved.
    pub starving: u64,
    /// The first of them.
    pub starved: Vec<Fed>,
    /// The one that was given the most.
    pub most: Fed,
}

/// What a member was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fed {
    /// Inode number of its socket.
    pub inode: u64,
    /// SYNs.
    pub syns: u64,
    /// SYNs that would have been its fair share.
    pub fair: u64,
    /// Processes that hold it.
    pub owners: Arc<[Owner]>,
}

impl Starvation {
    /// Everybody who is named.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Fed> {
        self.starved.iter_mut().chain([&mut self.most])
    }

    /// Leaves out who holds the sockets; whether any was named.
    pub fn forget_owners(&mut self) -> bool {
        let owners = self.all_mut().map(|fed| std::mem::take(&mut fed.owners));
        owners.filter(|owners| !owners.is_empty()).count() > 0
    }
}

/// Looks at the groups, if it is time; the window of their health goes on then.
pub(super) fn look(
    health: &mut Health,
    enricher: &mut Enricher,
    present: &mut dyn TakeStock,
) -> Option<Balance> {
    let now_ns = health.due()?;
    let mut looks = health.look();
    let is_starved = |look: &Look| matches!(look.shares, Shares::Starved(_));
    if looks.iter().any(is_starved) {
        // Of a closing that the programs missed there is a member left that nobody feeds.
        let stock = present.take_stock();
        health.retain(|bound, inode| stock.may_be_there(bound, inode));
        looks = health.look();
    }
    health.roll();
    Some(Balance {
        ktime_ns: now_ns,
        time: enricher.time(now_ns),
        groups: looks
            .into_iter()
            .map(|look| named(enricher, look))
            .collect(),
    })
}

fn named(enricher: &mut Enricher, look: Look) -> GroupBalance {
    let Bound {
        netns,
        port,
        device,
        ..
    } = look.bound;
    let device = enricher.device(netns, device);
    let address = look.bound.shown_address();
    GroupBalance {
        netns: words::namespace(&enricher.netns(netns)).into_owned(),
        listener: words::bound_at(address, port, device.as_deref()),
        is: match look.shares {
            Shares::Even => Is::Even,
            Shares::Gone => Is::Gone,
            Shares::Starved(starved) => Is::Starved(starvation(enricher, &starved)),
        },
    }
}

fn starvation(enricher: &mut Enricher, starved: &Starved) -> Starvation {
    let Starved {
        members,
        syns,
        starved,
        most,
    } = starved;
    let named = starved.iter().take(MOST_NAMED);
    Starvation {
        members: *members as u64,
        syns: *syns,
        starving: starved.len() as u64,
        starved: named.map(|share| fed(enricher, share)).collect(),
        most: fed(enricher, most),
    }
}

fn fed(enricher: &mut Enricher, share: &Share) -> Fed {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of SYNs, and not negative"
    )]
    let fair = share.fair.round() as u64;
    Fed {
        inode: share.inode,
        syns: share.syns,
        fair,
        owners: enricher.living(share.inode),
    }
}
