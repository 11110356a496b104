//! `[alerts]`

use std::{path::PathBuf, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer as _, value::Error as Unknown},
};

use super::{
    number::{number, some_path, within},
    written::list,
};
use crate::{
    event::{Reason, Verdict},
    settings::{
        feed::{AlertSettings, Kind},
        values::duration_text,
    },
};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AlertsTable {
    #[serde(deserialize_with = "on")]
    on: On,
    #[serde(deserialize_with = "resend")]
    resend: Duration,
    #[serde(deserialize_with = "quiet")]
    quiet: Duration,
    #[serde(deserialize_with = "max_active")]
    max_active: usize,
    #[serde(deserialize_with = "some_path")]
    state: Option<PathBuf>,
}

/// What is an alert: kinds of SYNs, and whether the health of groups is.
#[derive(Debug)]
struct On {
    kinds: Vec<Kind>,
    groups: bool,
}

impl Default for AlertsTable {
    fn default() -> Self {
        let AlertSettings {
            on: kinds,
            on_groups: groups,
            resend,
            quiet,
            max_active,
            state,
        } = AlertSettings::default();
        Self {
            on: On { kinds, groups },
            resend,
            quiet,
            max_active,
            state,
        }
    }
}

impl AlertsTable {
    /// # Errors
    /// If an alert would be over before it is told again.
    pub(super) fn checked(self) -> Result<AlertSettings, String> {
        if self.quiet < self.resend {
            let [quiet, resend] = [self.quiet, self.resend].map(duration_text);
            return Err(format!(
                "[alerts] quiet = \"{quiet}\" is shorter than resend = \"{resend}\": an alert \
                 would be over before it is told again; write quiet = \"{resend}\" or longer"
            ));
        }
        Ok(AlertSettings {
            on: self.on.kinds,
            on_groups: self.on.groups,
            resend: self.resend,
            quiet: self.quiet,
            max_active: self.max_active,
            state: self.state,
        })
    }
}

fn resend<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    within(deserializer, &AlertSettings::RESEND)
}

fn quiet<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    within(deserializer, &AlertSettings::QUIET)
}

fn max_active<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, &AlertSettings::MAX_ACTIVE)
}

fn on<'de, D: Deserializer<'de>>(deserializer: D) -> Result<On, D::Error> {
    let is_groups = |text: &str| text == AlertSettings::GROUPS;
    let named = list(deserializer, |text| {
        (!is_groups(text)).then(|| kind(text)).transpose()
    })?;
    Ok(On {
        groups: named.iter().any(Option::is_none),
        kinds: named.into_iter().flatten().collect(),
    })
}

/// `VERDICT`, `VERDICT/REASON` or `REASON`.
fn kind(text: &str) -> Result<Kind, String> {
    let wrong = || {
        format!(
            "{text:?} is no verdict and no reason; write it as misdirected, refused/restart_gap \
             or accept_overflow (docs/verdicts.md has them all), or group_health"
        )
    };
    if let Some((verdict, reason)) = text.split_once('/') {
        let verdict = word::<Verdict>(verdict).ok_or_else(wrong)?;
        let reason = word(reason).ok_or_else(wrong)?;
        return Ok(pair(verdict, reason));
    }
    if let Some(reason) = word(text) {
        return Ok(Kind {
            verdict: None,
            reason: Some(reason),
        });
    }
    match word(text).ok_or_else(wrong)? {
        Verdict::Ok => Err(
            "\"ok\" would make an alert of every SYN that is right; name a reason, as in \
             accept_overflow or ok/moved"
                .to_owned(),
        ),
        verdict => Ok(Kind::verdict(verdict)),
    }
}

/// A full accept queue drops a SYN that got the right listener, so its verdict is `ok`; to the
/// client it is refused. Who writes `refused/accept_overflow` means those SYNs, and would
/// otherwise hear of none.
fn pair(verdict: Verdict, reason: Reason) -> Kind {
    let is_dropped = verdict == Verdict::Refused && reason == Reason::AcceptOverflow;
    Kind {
        verdict: (!is_dropped).then_some(verdict),
        reason: Some(reason),
    }
}

/// The value that the word is for in the JSON output.
fn word<'de, T: Deserialize<'de>>(text: &'de str) -> Option<T> {
    let text: de::value::StrDeserializer<'de, Unknown> = text.into_deserializer();
    T::deserialize(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_a_verdict_a_reason_or_both() {
        let of = |verdict, reason| Ok(Kind { verdict, reason });
        let overflow = Some(Reason::AcceptOverflow);
        for (text, expected) in [
            ("uncovered", of(Some(Verdict::Uncovered), None)),
            ("accept_overflow", of(None, overflow)),
            ("refused/accept_overflow", of(None, overflow)),
            ("ok/accept_overflow", of(Some(Verdict::Ok), overflow)),
            (
                "refused/restart_gap",
                of(Some(Verdict::Refused), Some(Reason::RestartGap)),
            ),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
        let contract = kind("refused/accept_overflow").expect("the contract's example");
        assert!(
            contract.is(Verdict::Ok, overflow),
            "what a full accept queue is judged as"
        );
        for wrong in [
            "",
            "ok",
            "Refused",
            "refused/",
            "/moved",
            "refused/x",
            "a/b/c",
            "any",
        ] {
            assert!(kind(wrong).is_err(), "{wrong}");
        }
    }
}
