//! Whether sockpick sees at all: an alert like others, for that nothing is told means nothing
//! while it does not. It counts no SYN, and ends when sockpick sees again, not by quiet.

use super::{
    Alerts, Evidence, Identity, Now, Resolution,
    life::{Sign, Way},
};

/// What a self-check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It passed.
    Sees,
    /// It failed, and why.
    Blind(String),
    /// There is none any more, so nobody would find out that it passes again.
    Unchecked,
}

impl Alerts {
    /// Takes what a self-check came to.
    pub fn sight(&mut self, sight: Sight, now: Now) {
        let why = match sight {
            Sight::Sees => Resolution::Recovered,
            Sight::Unchecked => Resolution::Reconfigured,
            Sight::Blind(why) => {
                let sign = Sign {
                    time: now.wall,
                    evidence: Evidence::Check(why),
                    way: Way::default(),
                };
                self.shown(Identity::Blind, sign, now);
                return;
            }
        };
        if let Some(firing) = self.firing.get_mut(&Identity::Blind)
            && firing.ending.is_none()
        {
            firing.end_at(now.ktime_ns, why);
            self.end_due(now);
        }
    }
}
