//! Whether sockpick sees at all: an alert like others, for that nothing is told means nothing
//! while it does not. It counts no SYN, and ends when sockpick sees again, not by quiet.

use super::{
    active::Alerts,
    alert::{Evidence, Identity, Now, Resolution},
    life::{Sign, Way},
};

/// Whether it sees, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A self-check passed.
    Sees,
    /// One failed, and why.
    Blind(String),
    /// This host cannot be traced, and why.
    Untraced(String),
    /// Nobody looks whether it sees, so nobody would find out that it does again.
    Unchecked,
}

impl Alerts {
    /// Takes whether it sees.
    pub fn sight(&mut self, sight: Sight, now: Now) {
        match sight {
            Sight::Sees => {
                self.sees(&Identity::Blind, Resolution::Recovered, now);
                self.sees(&Identity::Untraced, Resolution::Recovered, now);
            }
            Sight::Blind(why) => {
                self.shown(Identity::Blind, sign(why, now), now);
                self.sees(&Identity::Untraced, Resolution::Recovered, now);
            }
            Sight::Untraced(why) => {
                self.shown(Identity::Untraced, sign(why, now), now);
                self.sees(&Identity::Blind, Resolution::Reconfigured, now);
            }
            Sight::Unchecked => {
                self.sees(&Identity::Blind, Resolution::Reconfigured, now);
                self.sees(&Identity::Untraced, Resolution::Reconfigured, now);
            }
        }
    }

    fn sees(&mut self, identity: &Identity, why: Resolution, now: Now) {
        if let Some(firing) = self.firing.get_mut(identity)
            && firing.ending.is_none()
        {
            firing.end_at(now.ktime_ns, why);
            self.end_due(now);
        }
    }
}

fn sign(why: String, now: Now) -> Sign {
    Sign {
        time: now.wall,
        evidence: Evidence::Check(why),
        way: Way::default(),
    }
}
