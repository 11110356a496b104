//! Was it the right socket, and if not, why? Pure: the SYN, the picture of the listeners
//! at its time, and what is expected go in, a judgement comes out. `docs/verdicts.md`
//! explains every verdict and reason.

use std::{net::IpAddr, sync::Arc};

use super::{
    expectations::{Claim, Expectations},
    picture::{Gone, Live, Near, Picture, Place},
    rules::{Algorithm, Bound, Fit, Packet, Unfit},
    steering::Steered,
};
use crate::event::{Netns, Owner, Reason, Verdict, Via};

/// A kernel that looks the address up first cannot pass over a specific listener for a
/// wildcard. If it seems to have, the listener opened while the SYN was under way; one
/// that listened longer than this did not.
const RACE_NS: u64 = 1_000_000_000;

/// A SYN, as far as the judgement goes.
#[derive(Clone, Copy, Debug)]
pub struct Syn<'a> {
    /// The packet.
    pub packet: Packet,
    /// Its namespace, as it was named when the SYN came.
    pub netns: &'a Netns,
    /// `CLOCK_MONOTONIC` ns at which its socket was known.
    pub ktime_ns: u64,
    /// CPU it was received on.
    pub cpu: u32,
    /// What chose.
    pub via: Via,
    /// A program or a rule chose before the listeners were walked through, also where a group's
    /// program has the last word (`via`).
    pub is_steered: bool,
    /// The socket it was given; `None`: refused.
    pub chosen: Option<Chosen<'a>>,
}

/// The socket that a SYN was given.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// Where it is bound.
    pub bound: Bound,
    /// `listener.id`
    pub id: u64,
    /// Owner of the socket, in the initial user namespace.
    pub uid: u32,
    /// Processes that hold it.
    pub owners: &'a [Owner],
}

/// What is to be said of a SYN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement<'a> {
    /// The verdict.
    pub verdict: Verdict,
    /// Its cause; `None` for `ok`.
    pub reason: Option<Reason>,
    /// Name of the service that was expected.
    pub service: Option<&'a Arc<str>>,
    /// The listener that was.
    pub listener: Option<Expected<'a>>,
    /// With [`Reason::Unknown`]: every place that the packet fits.
    pub candidates: Vec<&'a Place>,
}

/// A listener that should have had a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Where it is bound.
    pub bound: &'a Bound,
    /// The socket, or one of its group.
    pub socket: &'a Live,
    /// Its closing, if it is gone.
    pub gone: Option<&'a Gone>,
}

impl<'a> Judgement<'a> {
    pub(crate) const OK: Self = Self {
        verdict: Verdict::Ok,
        reason: None,
        service: None,
        listener: None,
        candidates: Vec::new(),
    };

    fn new(verdict: Verdict, reason: Reason) -> Self {
        Self {
            verdict,
            reason: Some(reason),
            ..Self::OK
        }
    }

    fn expecting(self, claim: Option<Claim<'a>>, listener: Option<Expected<'a>>) -> Self {
        Self {
            service: claim.map(|claim| &claim.service.name),
            listener,
            ..self
        }
    }
}

/// What a judge knows.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// The listeners at the time of the SYN.
    pub picture: &'a Picture,
    /// What earlier SYNs showed of steering.
    pub steered: &'a Steered,
    /// What should be where.
    pub expectations: &'a Expectations,
    /// How this kernel looks listeners up.
    pub algorithm: Algorithm,
}

impl<'a> Judge<'a> {
    /// Judges one SYN.
    #[must_use]
    pub fn judge(&self, syn: &Syn<'_>) -> Judgement<'a> {
        let case = self.case(syn);
        case.judge(case.claim())
    }

    /// Whether it is right for the listener to be given this SYN, and any other that came the
    /// same way to the same address: whoever sends it and whenever, until a listener comes or
    /// goes or something else is expected or steered.
    #[must_use]
    pub fn is_plain(&self, syn: &Syn<'_>) -> bool {
        let case = self.case(syn);
        let chosen = syn.chosen.as_ref().filter(|_| steered(syn.via).is_none());
        let fit = chosen.and_then(|chosen| Some((chosen, chosen.bound.fit(&syn.packet).ok()?)));
        fit.is_some_and(|(chosen, fit)| case.is_plain(chosen, fit, case.claim()))
    }

    fn case<'b>(&self, syn: &'b Syn<'b>) -> Case<'a, 'b> {
        Case {
            judge: *self,
            syn,
            near: self.picture.near(&syn.packet),
        }
    }
}

/// A SYN being judged.
struct Case<'a, 'b> {
    judge: Judge<'a>,
    syn: &'b Syn<'b>,
    /// Looked up once.
    near: Near<'a>,
}

impl<'a> Case<'a, '_> {
    fn claim(&self) -> Option<Claim<'a>> {
        let expectations = self.judge.expectations;
        expectations.claim(self.syn.netns, &self.syn.packet)
    }

    fn judge(&self, claim: Option<Claim<'a>>) -> Judgement<'a> {
        let packet = &self.syn.packet;
        let Some(chosen) = &self.syn.chosen else {
            return self.refused(claim);
        };
        if let Some(reason) = steered(self.syn.via) {
            return self.steered(chosen, claim, reason);
        }
        let Ok(fit) = chosen.bound.fit(packet) else {
            // Something chose that no hook here tells of.
            let judgement = Judgement::new(Verdict::Steered, Reason::Unknown);
            return self.with_candidates(judgement);
        };
        if self.is_plain(chosen, fit, claim) && self.was_steered().is_none() {
            return Judgement::OK;
        }
        self.weigh(chosen, fit, claim)
    }

    /// Everything that there may be to say of a listener that fits.
    fn weigh(&self, chosen: &Chosen<'_>, fit: Fit, claim: Option<Claim<'a>>) -> Judgement<'a> {
        self.passed_over(chosen, fit)
            .or_else(|| self.claimed(chosen, fit, claim))
            .or_else(|| self.uncovered(chosen, fit, claim))
            .unwrap_or(Judgement::OK)
    }

    fn is_plain(&self, chosen: &Chosen<'_>, fit: Fit, claim: Option<Claim<'a>>) -> bool {
        claim.is_none() && !self.is_contested(chosen, fit)
    }

    /// Whether somebody listens or listened near who may have more right to the SYN: of nearly
    /// all nobody does, which takes one look at each.
    fn is_contested(&self, chosen: &Chosen<'_>, fit: Fit) -> bool {
        let mut others = self.near.all().filter(|place| place.bound != chosen.bound);
        others.any(|place| match place.bound.fit(&self.syn.packet) {
            Ok(other) => other.beats(fit),
            Err(why) => matches!(why, Unfit::Device | Unfit::VrfScope),
        })
    }

    /// No listener: was one expected?
    fn refused(&self, claim: Option<Claim<'a>>) -> Judgement<'a> {
        if self.syn.via == Via::ReuseportBpf {
            // The group that the walk came to first; no walk led to one that was chosen.
            let group = self.most_specific().filter(|_| !self.syn.is_steered);
            return Judgement::new(Verdict::Refused, Reason::ReuseportBpf)
                .expecting(claim, group.and_then(|(place, _)| expected_live(place)));
        }
        if let Some(reason) = steered(self.syn.via) {
            return Judgement::new(Verdict::Refused, reason).expecting(claim, None);
        }
        let (reason, listener) = self
            .was_there(None)
            .or_else(|| self.was_steered())
            .or_else(|| self.out_of_reach(true))
            .or_else(|| {
                let place = self.judge.picture.other_family(&self.syn.packet).next()?;
                Some((Reason::OtherFamily, expected_live(place)))
            })
            .unwrap_or(match claim {
                Some(_) => (Reason::NotListening, None),
                None => (Reason::NoListener, None),
            });
        Judgement::new(Verdict::Refused, reason).expecting(claim, listener)
    }

    /// A program or TPROXY chose: on purpose, unless a service says otherwise.
    fn steered(
        &self,
        chosen: &Chosen<'_>,
        claim: Option<Claim<'a>>,
        reason: Reason,
    ) -> Judgement<'a> {
        let purpose = Judgement::new(Verdict::Steered, reason);
        let Some(claim) = claim.filter(|claim| claim.exact) else {
            return purpose;
        };
        let rule = &claim.service.owner;
        let there = chosen
            .bound
            .fit(&self.syn.packet)
            .is_ok_and(|fit| fit.address);
        let right_owner = rule.admits(chosen.owners, chosen.uid);
        if right_owner && (there || !rule.is_empty()) {
            return purpose;
        }
        let live = self.live().max_by_key(|(_, fit)| fit.address);
        let listener = live.filter(|(_, fit)| fit.address).map(|(place, _)| place);
        Judgement::new(Verdict::Misdirected, reason)
            .expecting(Some(claim), listener.and_then(expected_live))
    }

    /// A live listener that is more specific, and was not chosen.
    fn passed_over(&self, chosen: &Chosen<'_>, fit: Fit) -> Option<Judgement<'a>> {
        let better = self
            .live()
            .filter(|(place, other)| other.beats(fit) && !self.is_race(place, *other, fit));
        let (place, other) = better.max_by_key(|(_, other)| specific(*other))?;
        let incoming_cpu = self.judge.picture.incoming_cpu(&chosen.bound, chosen.id);
        let reason = if other.address != fit.address {
            match self.judge.algorithm {
                Algorithm::AddressFirst => Reason::Unknown,
                Algorithm::PortOnly | Algorithm::Hybrid => Reason::LegacyOrder,
            }
        } else if self.syn.via == Via::Lookup && incoming_cpu == Some(self.syn.cpu) {
            // The first group in the chain answers at once, whatever the scores are.
            Reason::CpuAffinity
        } else if other.device && !fit.device {
            Reason::DevOrder
        } else {
            Reason::Unknown
        };
        let judgement =
            Judgement::new(Verdict::Misdirected, reason).expecting(None, expected_live(place));
        Some(if reason == Reason::Unknown {
            self.with_candidates(judgement)
        } else {
            judgement
        })
    }

    fn is_race(&self, place: &Place, other: Fit, chosen: Fit) -> bool {
        let fresh = |live: &Live| live.opened_ns + RACE_NS > self.syn.ktime_ns;
        other.address
            && !chosen.address
            && self.judge.algorithm == Algorithm::AddressFirst
            && place.live.iter().all(fresh)
    }

    /// What a configured service says. `Some(Judgement::OK)` if it is content.
    fn claimed(
        &self,
        chosen: &Chosen<'_>,
        fit: Fit,
        claim: Option<Claim<'a>>,
    ) -> Option<Judgement<'a>> {
        let claim = claim?;
        let rule = &claim.service.owner;
        let right_owner = rule.admits(chosen.owners, chosen.uid);
        if fit.address && !claim.exact {
            // Somebody has a listener of his own on this address.
            return None;
        }
        if fit.address || !claim.exact && (fit.native || !claim.ipv4_any) {
            return (!right_owner).then(|| {
                Judgement::new(Verdict::Misdirected, Reason::WrongOwner)
                    .expecting(Some(claim), None)
            });
        }
        if right_owner && !rule.is_empty() && !chosen.owners.is_empty() {
            // The service itself, by its wildcard.
            return Some(Judgement::OK);
        }
        if !claim.exact {
            let (_, listener) = self.was_there(Some(fit)).unzip();
            return Some(
                Judgement::new(Verdict::Uncovered, Reason::DualStack)
                    .expecting(Some(claim), listener.flatten()),
            );
        }
        let (reason, listener) = self
            .was_there(Some(fit))
            .or_else(|| self.out_of_reach(false))
            .or_else(|| {
                let place = self.judge.picture.elsewhere(&self.syn.packet).next()?;
                Some((Reason::OtherNetns, expected_live(place)))
            })
            .unwrap_or((Reason::NotListening, None));
        Some(Judgement::new(Verdict::Uncovered, reason).expecting(Some(claim), listener))
    }

    /// A more specific listener was there not long ago, or is out of the packet's reach.
    fn uncovered(
        &self,
        chosen: &Chosen<'_>,
        fit: Fit,
        claim: Option<Claim<'a>>,
    ) -> Option<Judgement<'a>> {
        self.judge.expectations.hold?;
        let out_of_reach = || {
            // Link-local addresses are one per interface: another device's is another address.
            let foreign = fit.address || is_link_local(self.syn.packet.destination);
            self.out_of_reach(false).filter(|_| !foreign)
        };
        let (reason, listener) = self
            .was_there(Some(fit))
            .or_else(|| self.was_steered())
            .or_else(out_of_reach)?;
        let gone = listener.and_then(|listener| listener.gone);
        if gone.is_some_and(|gone| self.moved(gone, chosen)) {
            return Some(Judgement::new(Verdict::Ok, Reason::Moved).expecting(None, listener));
        }
        let claim = claim.filter(|claim| claim.exact);
        Some(Judgement::new(Verdict::Uncovered, reason).expecting(claim, listener))
    }

    /// All SYNs for the destination were steered to a listener that closed within hold.
    fn was_steered(&self) -> Option<(Reason, Option<Expected<'a>>)> {
        self.judge.expectations.hold?;
        let (place, gone) =
            self.judge
                .steered
                .missing(&self.syn.packet, self.syn.ktime_ns, self.judge.picture)?;
        Some((Reason::RestartGap, Some(expected_gone(place, gone))))
    }

    /// Whether the chosen listener is that of the service that closed the other, and opened
    /// since.
    fn moved(&self, gone: &Gone, chosen: &Chosen<'_>) -> bool {
        let opened_ns = self.judge.picture.opened_ns(&chosen.bound, chosen.id);
        let since = opened_ns.is_some_and(|opened_ns| opened_ns > gone.closed_ns);
        let is_one = |one: &Owner| gone.owners.iter().any(|other| one.is_one_service(other));
        since && chosen.owners.iter().any(is_one)
    }

    /// The most specific listener that fitted, beat the chosen one, and closed within hold.
    fn was_there(&self, chosen: Option<Fit>) -> Option<(Reason, Option<Expected<'a>>)> {
        self.judge.expectations.hold?;
        let closed = self
            .near
            .fitting()
            .filter(|(_, fit)| chosen.is_none_or(|chosen| fit.beats(chosen)))
            .filter_map(|(place, fit)| Some((place, fit, place.gone.as_ref()?)))
            .filter(|(_, _, gone)| self.judge.picture.holds(gone, self.syn.ktime_ns));
        let (place, fit, gone) =
            closed.max_by_key(|(_, fit, gone)| (specific(*fit), gone.closed_ns))?;
        let family_only = chosen
            .is_some_and(|chosen| (fit.address, fit.device) == (chosen.address, chosen.device));
        let reason = if family_only {
            Reason::DualStack
        } else {
            Reason::RestartGap
        };
        Some((reason, Some(expected_gone(place, gone))))
    }

    /// A live listener on the very address, or on any, that device or VRF keep from the
    /// packet.
    fn out_of_reach(&self, any: bool) -> Option<(Reason, Option<Expected<'a>>)> {
        let mut found = self.near.unfit().filter_map(|(place, why)| {
            let reason = match why {
                Unfit::Device => Reason::DevMismatch,
                Unfit::VrfScope => Reason::VrfScope,
                _ => return None,
            };
            (any || !place.bound.is_wildcard()).then_some(())?;
            Some((reason, Some(expected_live(place)?)))
        });
        found.next()
    }

    /// Where somebody listened when the SYN came.
    fn live(&self) -> impl Iterator<Item = (&'a Place, Fit)> {
        let fitting = self.near.fitting();
        let then = self.syn.ktime_ns;
        fitting.filter(move |(place, _)| place.live.iter().any(|live| live.opened_ns <= then))
    }

    fn most_specific(&self) -> Option<(&'a Place, Fit)> {
        self.live().max_by_key(|(_, fit)| specific(*fit))
    }

    fn with_candidates(&self, mut judgement: Judgement<'a>) -> Judgement<'a> {
        let fitting = self.live().map(|(place, _)| place);
        judgement.candidates.extend(fitting);
        judgement
    }
}

/// Orders fits as [`Fit::beats`] does; of two that do not weigh against each other either.
fn specific(fit: Fit) -> (bool, u8) {
    (fit.address, u8::from(fit.device) + u8::from(fit.native))
}

fn steered(via: Via) -> Option<Reason> {
    match via {
        Via::SkLookup => Some(Reason::BpfSkLookup),
        Via::SkAssign => Some(Reason::SkAssign),
        Via::Tproxy => Some(Reason::Tproxy),
        _ => None,
    }
}

/// A socket that listens at the place, one of its group.
#[must_use]
pub fn expected_live(place: &Place) -> Option<Expected<'_>> {
    let socket = place.live.first()?;
    Some(Expected {
        bound: &place.bound,
        socket,
        gone: None,
    })
}

fn expected_gone<'a>(place: &'a Place, gone: &'a Gone) -> Expected<'a> {
    Expected {
        bound: &place.bound,
        socket: &gone.socket,
        gone: Some(gone),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[cfg(test)]
pub(crate) mod tests;
