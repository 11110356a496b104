//! What steering teaches: a destination whose SYNs all went to one steered listener is
//! expected there while that is gone, as they fall through to whoever else listens. Pure.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::{
    Limit,
    picture::{Gone, Picture, Place},
    rules::{Bound, Packet},
};

/// Most destinations remembered; past that new ones are not, which
/// [`Steered::limit`] counts.
const MOST: usize = 16_384;

/// A target that listens since less than this may have come after the rule that passed over it
/// ran.
const RACE_NS: u64 = 1_000_000_000;

/// Where a SYN went: namespace, address, port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Destination {
    netns: u32,
    address: IpAddr,
    port: u16,
}

/// What its SYNs showed.
#[derive(Clone, Copy, Debug)]
struct Lesson {
    /// Where the listener is bound that they went to.
    target: Bound,
    /// Not all of them did while it lived: it is steered by source, by mark or by chance.
    mixed: bool,
    /// Kernel time of the last.
    last_ns: u64,
}

/// The destinations that something steers.
#[derive(Debug, Default)]
pub struct Steered {
    lessons: FxHashMap<Destination, Lesson>,
    untaught: u64,
}

impl Steered {
    /// A SYN was steered to a listener that is bound so.
    pub fn to(&mut self, packet: &Packet, target: Bound, now_ns: u64, picture: &Picture) {
        let destination = destination(packet);
        if self.lessons.len() >= MOST && !self.lessons.contains_key(&destination) {
            // What is older than the hold time expects nobody any more.
            let hold_ns = picture.hold_ns();
            self.lessons
                .retain(|_, lesson| now_ns.saturating_sub(lesson.last_ns) <= hold_ns);
            if self.lessons.len() >= MOST {
                self.untaught += 1;
                return;
            }
        }
        let lesson = self.lessons.entry(destination).or_insert(Lesson {
            target,
            mixed: false,
            last_ns: now_ns,
        });
        if lesson.target != target {
            lesson.mixed |= is_live(picture.at(&lesson.target));
            lesson.target = target;
        }
        lesson.last_ns = now_ns;
    }

    /// A SYN was not steered. While the target lives, this is how it is meant to be.
    pub fn past(&mut self, packet: &Packet, now_ns: u64, picture: &Picture) {
        if self.lessons.is_empty() {
            return;
        }
        if let Some(lesson) = self.lessons.get_mut(&destination(packet)) {
            let place = picture.at(&lesson.target);
            let settled = |place: &Place| {
                let mut live = place.live.iter();
                live.any(|live| live.opened_ns.saturating_add(RACE_NS) <= now_ns)
            };
            lesson.mixed |= place.is_some_and(settled);
            lesson.last_ns = now_ns;
        }
    }

    /// The target that all SYNs for this destination went to, if it closed within the hold time
    /// and is not back.
    #[must_use]
    pub fn missing<'a>(
        &self,
        packet: &Packet,
        now_ns: u64,
        picture: &'a Picture,
    ) -> Option<(&'a Place, &'a Gone)> {
        if self.lessons.is_empty() {
            return None;
        }
        let lesson = self.lessons.get(&destination(packet))?;
        let place = picture
            .at(&lesson.target)
            .filter(|_| !lesson.mixed)
            .filter(|place| place.live.is_empty())?;
        let gone = place.gone.as_ref()?;
        picture.holds(gone, now_ns).then_some((place, gone))
    }

    /// Whether no SYN was steered that counts for others.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lessons.is_empty()
    }

    /// Destinations that are remembered; beyond are SYNs of which nothing was.
    #[must_use]
    pub fn limit(&self) -> Limit {
        Limit {
            holds: self.lessons.len(),
            most: MOST,
            beyond: self.untaught,
        }
    }
}

fn is_live(place: Option<&Place>) -> bool {
    place.is_some_and(|place| !place.live.is_empty())
}

fn destination(packet: &Packet) -> Destination {
    Destination {
        netns: packet.netns,
        address: packet.destination,
        port: packet.port,
    }
}
