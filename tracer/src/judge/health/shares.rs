//! Whether each member of a group is given what the hash should give it: how much is next to
//! nothing, and how much is enough.

/// Of a fair share of fewer SYNs than this nothing is said. To be given next to none of so many
/// happens by chance to fewer than one member in 10^12.
pub const LEAST_FAIR: f64 = 40.0;
/// A member is starved that is given no more than this of its fair share.
pub const NEXT_TO_NONE: f64 = 0.1;
/// A member is not starved any more that is given as much of it.
pub const ENOUGH: f64 = 0.5;

/// How a group's SYNs were shared out over the window.
#[derive(Clone, Debug, PartialEq)]
pub enum Shares {
    /// Each member was given enough of its share.
    Even,
    /// Some are starved.
    Starved(Starved),
    /// Some were starved when it was looked at last, and nobody listens there any more.
    Gone,
}

/// Who is starved, and who is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Starved {
    /// Members that listen.
    pub members: usize,
    /// SYNs that the group was given.
    pub syns: u64,
    /// The starved ones, in order of their inode numbers.
    pub starved: Vec<Share>,
    /// The one that was given the most.
    pub most: Share,
}

/// What a member was given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Inode number of the socket.
    pub inode: u64,
    /// SYNs.
    pub syns: u64,
    /// SYNs that it would have been given had the hash been fair while it was there.
    pub fair: f64,
}

impl Share {
    fn is_told(&self) -> bool {
        self.fair >= LEAST_FAIR
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn has(&self, part: f64) -> bool {
        self.syns as f64 > self.fair * part
    }
}

/// How the SYNs of a group were shared out; `None`: too few came to say so.
pub(super) fn judge(mut all: Vec<Share>, syns: u64) -> Option<Shares> {
    all.sort_unstable_by_key(|share| share.inode);
    let most = *all.iter().max_by_key(|share| share.syns)?;
    let members = all.len();
    let is_even = all.iter().all(|share| share.is_told() && share.has(ENOUGH));
    all.retain(|share| share.is_told() && !share.has(NEXT_TO_NONE));
    if all.is_empty() {
        return is_even.then_some(Shares::Even);
    }
    Some(Shares::Starved(Starved {
        members,
        syns,
        starved: all,
        most,
    }))
}
