//! What outlives a restart: which alerts last, since when, and when they were told.
//!
//! The text is one line of a head and one of JSON; the head has the version and a checksum of the
//! JSON. A file that is torn, foreign or of another version is refused as a whole.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    active::Alerts,
    alert::{Alert, Evidence, Identity, Now, State as Is},
    life::{Firing, OVER_FOR_NS, Over, Rules, Way},
};
use crate::{
    event::{Owner, Time},
    settings::AlertSettings,
};

/// Most bytes of a state: what is longer is no state. A kibibyte, which is enough for one without
/// its processes, for each of the alerts that may last, as many that are over, and those beside.
pub const MAX_BYTES: usize = 2 * (*AlertSettings::MAX_ACTIVE.end() + Identity::BESIDE.len()) * 1024;
/// The version that is written, and the only one that is read.
const VERSION: u32 = 2;
const NAME: &str = "sockpick-alerts";
/// Most processes of a listener that are written: a message names no more.
const MAX_OWNERS: usize = 8;

/// The alerts at a time, to be written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    alerts: Vec<Saved>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Saved {
    alert: Alert,
    /// When it was told last.
    told: Time,
    /// CPU and interface of the last SYN.
    way: (u32, u32),
}

/// Why a text is no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// It is longer than [`MAX_BYTES`].
    TooLong,
    /// It does not begin as one.
    Foreign,
    /// It is of another version.
    Version(u32),
    /// It is not what was written.
    Damaged,
    /// It is what was written, and cannot be understood.
    Malformed(String),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "it is longer than {MAX_BYTES} bytes"),
            Self::Foreign => write!(f, "it does not begin with `{NAME}` and a version"),
            Self::Version(version) => write!(
                f,
                "it is of version {version}, and this sockpick reads version {VERSION}"
            ),
            Self::Damaged => f.write_str("it is torn or was changed: its checksum is another"),
            Self::Malformed(why) => write!(f, "it cannot be understood: {why}"),
        }
    }
}

impl std::error::Error for StateError {}

impl State {
    /// How many alerts it has, those that are over among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.alerts.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }

    /// As it is written. Never longer than [`MAX_BYTES`]: what would be is written without the
    /// processes and the words of findings, and then without the last alerts.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut state = self.clone();
        loop {
            // Strings, numbers and lists of them: JSON has a form for each.
            let body = serde_json::to_string(&state).unwrap_or_default();
            let sum = crc32fast::hash(body.as_bytes());
            let text = format!("{NAME} {VERSION} {sum:08x}\n{body}\n");
            if text.len() <= MAX_BYTES || state.is_empty() {
                return text;
            }
            state.shorten();
        }
    }

    fn shorten(&mut self) {
        let mut held = false;
        for saved in &mut self.alerts {
            match &mut saved.alert.evidence {
                Evidence::Syn(sample) => {
                    held |= !sample.owners.is_empty() || !sample.expected_owners.is_empty();
                    (sample.owners, sample.expected_owners) = Default::default();
                }
                // The next look has it again.
                Evidence::Finding(report) => {
                    held |= !report.cause.is_empty() || !report.remedy.is_empty();
                    (report.cause, report.remedy) = Default::default();
                }
                Evidence::Group(starvation) => {
                    held |= starvation.forget_owners();
                }
                Evidence::Check(_) => {}
            }
        }
        if !held {
            self.alerts.truncate(self.alerts.len() / 2);
        }
    }

    /// As it was written.
    ///
    /// # Errors
    /// If the text is not what [`State::to_text`] wrote.
    pub fn from_text(text: &str) -> Result<Self, StateError> {
        if text.len() > MAX_BYTES {
            return Err(StateError::TooLong);
        }
        let (head, body) = text.split_once('\n').ok_or(StateError::Foreign)?;
        let mut words = head.split(' ');
        let name = words.next();
        let version = words.next().and_then(|word| word.parse().ok());
        let version: u32 = version
            .filter(|_| name == Some(NAME))
            .ok_or(StateError::Foreign)?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let body = body.strip_suffix('\n').ok_or(StateError::Damaged)?;
        let sum = format!("{:08x}", crc32fast::hash(body.as_bytes()));
        if words.next() != Some(&*sum) || words.next().is_some() {
            return Err(StateError::Damaged);
        }
        serde_json::from_str(body).map_err(|error| StateError::Malformed(error.to_string()))
    }
}

impl Alerts {
    /// What is to outlive a restart, as of now.
    #[must_use]
    pub fn save(&self) -> State {
        let firing = self.firing.values();
        let firing = firing.map(|one| Saved::new(&one.alert, one.told, Some(one.way)));
        let over = self.over.values();
        let over = over.map(|one| Saved::new(&one.alert, one.told, None));
        State {
            alerts: firing.chain(over).collect(),
        }
    }

    /// Goes on where another run of sockpick ended. Nothing is told of it at once. All that lasted
    /// goes on, even if there are more than these settings allow.
    ///
    /// Only the wall clock is comparable with that run's, and it may have been set meanwhile. So
    /// an alert is given the whole quiet time and its shortest life once more from now on, and
    /// the rest is never taken to be longer ago, or longer to wait for, than it can be.
    #[must_use]
    pub fn restore(settings: &AlertSettings, state: State, now: Now) -> Self {
        let mut alerts = Self::new(settings);
        for saved in state.alerts {
            saved.restore(&mut alerts, now);
        }
        alerts.by_rules(now);
        alerts
    }

    /// Whether such an alert has room among those that are over.
    fn may_be_over(&self, identity: &Identity) -> bool {
        !self.firing.contains_key(identity) && self.over.len() < self.most_over()
    }
}

impl Saved {
    fn new(alert: &Alert, told: Now, way: Option<Way>) -> Self {
        let mut alert = alert.clone();
        match &mut alert.evidence {
            Evidence::Syn(sample) => {
                shorten(&mut sample.owners);
                shorten(&mut sample.expected_owners);
            }
            Evidence::Group(starvation) => {
                let all = starvation.all_mut();
                all.for_each(|fed| shorten(&mut fed.owners));
            }
            Evidence::Check(_) | Evidence::Finding(_) => {}
        }
        Self {
            alert,
            told: told.wall,
            way: way.map_or((0, 0), |way| (way.cpu, way.ifindex)),
        }
    }

    fn restore(self, alerts: &mut Alerts, now: Now) {
        let identity = self.alert.identity.clone();
        let told = self.told_at(&alerts.rules, now);
        match self.alert.state {
            Is::Firing => {
                let (cpu, ifindex) = self.way;
                alerts.over.remove(&identity);
                let firing = Firing {
                    alert: self.alert,
                    way: Way { cpu, ifindex },
                    began_ns: now.ktime_ns,
                    last_ns: now.ktime_ns,
                    told,
                    ending: None,
                };
                alerts.firing.insert(identity, firing);
            }
            Is::Resolved { at, .. } if alerts.may_be_over(&identity) => {
                let left_ns = OVER_FOR_NS - ago(at, now, OVER_FOR_NS);
                let over = Over {
                    alert: self.alert,
                    until_ns: now.ktime_ns.saturating_add(left_ns),
                    told,
                };
                alerts.over.insert(identity, over);
            }
            // It fires anew, or there is no room by these settings.
            Is::Resolved { .. } => {}
        }
    }

    /// When it was told last, by this run's clock.
    fn told_at(&self, rules: &Rules, now: Now) -> Now {
        let ago_ns = ago(self.told, now, rules.resend_ns);
        Now {
            ktime_ns: now.ktime_ns.saturating_sub(ago_ns),
            wall: self.told,
        }
    }
}

/// How long ago it was by the wall clock, within bounds: it may have been set.
fn ago(then: Time, now: Now, most_ns: u64) -> u64 {
    let ago = now.wall.0.saturating_sub(then.0);
    u64::try_from(ago).unwrap_or(0).min(most_ns)
}

fn shorten(owners: &mut Arc<[Owner]>) {
    if owners.len() > MAX_OWNERS {
        let counting = crate::event::counting(owners);
        *owners = counting.take(MAX_OWNERS).cloned().collect();
    }
}
