//! What a sink makes of that which the SYNs of a listener have in common: made once per change,
//! not once per SYN.

use rustc_hash::FxHashMap;

use crate::event::Event;

/// Most kept; past that all are made anew, which costs time and loses nothing.
const MOST: usize = 1024;

/// What was made, with the event that it was made of.
#[derive(Debug)]
pub(super) struct Kept<T> {
    all: Vec<(Event, T)>,
    /// Where in `all` it is.
    places: FxHashMap<Key, usize>,
}

/// One event of each is kept: the latest that was not like the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// `listener.id`; 0 without a listener.
    listener: u64,
    /// Workers take turns with one listener.
    acceptor: u32,
    ifindex: u32,
    netns: u32,
}

impl<T> Kept<T> {
    pub(super) fn new() -> Self {
        Self {
            all: Vec::new(),
            places: FxHashMap::default(),
        }
    }

    /// What `make` makes of the event, or made of one [like it](Event::is_like).
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn of<E>(
        &mut self,
        event: &Event,
        make: impl FnOnce(&Event) -> Result<T, E>,
    ) -> Result<&mut T, E> {
        let key = key(event);
        let place = match self.places.get(&key) {
            Some(&place) => {
                if !self.all[place].0.is_like(event) {
                    self.all[place] = (event.clone(), make(event)?);
                }
                place
            }
            None => self.add(key, (event.clone(), make(event)?)),
        };
        Ok(&mut self.all[place].1)
    }

    fn add(&mut self, key: Key, kept: (Event, T)) -> usize {
        if self.all.len() >= MOST {
            self.all.clear();
            self.places.clear();
        }
        let place = self.all.len();
        self.all.push(kept);
        self.places.insert(key, place);
        place
    }
}

fn key(event: &Event) -> Key {
    let listener = event.listener.as_ref();
    let acceptor = listener.and_then(|listener| listener.accepted_by.as_ref());
    Key {
        listener: listener.map_or(0, |listener| listener.id.0),
        acceptor: acceptor.map_or(0, |process| process.pid),
        ifindex: event.ifindex,
        netns: event.netns.inode,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Backend, Endpoint, Match, Netns, SCHEMA, Time, Verdict, Via};

    fn syn() -> Event {
        let endpoint = Endpoint {
            address: [127, 0, 0, 1].into(),
            port: 80,
        };
        let netns = Netns {
            inode: 1,
            cookie: None,
            name: None,
        };
        Event {
            schema: SCHEMA,
            time: Time(1),
            ktime_ns: 1,
            cpu: 0,
            netns: Arc::new(netns),
            client: endpoint,
            destination: endpoint,
            ifindex: 1,
            ifname: None,
            matched: Match::None,
            via: Via::Lookup,
            verdict: Verdict::Refused,
            reason: None,
            listener: None,
            reuseport: None,
            steered_by: None,
            expected: None,
            candidates: None,
            backend: Backend::Fentry,
        }
    }

    #[test]
    fn no_more_than_the_most_are_kept() {
        let mut kept = Kept::new();
        for ifindex in 0..3 * MOST as u32 {
            let event = Event { ifindex, ..syn() };
            assert_eq!(
                kept.of(&event, |event| Ok::<_, ()>(event.ifindex)),
                Ok(&mut { ifindex })
            );
            assert!(kept.all.len() <= MOST && kept.places.len() <= MOST);
        }
    }

    #[test]
    fn what_was_made_is_used_until_something_changes() {
        let mut kept = Kept::new();
        let mut made = 0;
        let mut of = |event: &Event| {
            let _ = kept.of(event, |_| {
                made += 1;
                Ok::<_, ()>(())
            });
            made
        };
        assert_eq!(of(&syn()), 1);
        let later = Event {
            ktime_ns: 9,
            cpu: 3,
            ..syn()
        };
        assert_eq!(of(&later), 1);
        let elsewhere = Event {
            ifname: Some("eth9".into()),
            ..syn()
        };
        assert_eq!(of(&elsewhere), 2);
        assert_eq!(of(&syn()), 3);
    }
}
