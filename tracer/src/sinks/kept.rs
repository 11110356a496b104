//! What a sink makes of that which the SYNs of a listener have in common: made once per change,
//! not once per SYN.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::event::{Event, Listener, Process, Queue};

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

    /// What `make` makes of the event, or made of one [alike](are_alike).
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
                if !are_alike(&self.all[place].0, event) {
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

/// Whether two SYNs differ in when and where they came, from whom and to which address, and in
/// how many waited to be accepted, and in nothing else. Shared values that are the same one are
/// not looked into.
// Every structure is taken apart by name, so that a field added to the event does not compile
// until it is thought of here.
pub(super) fn are_alike(one: &Event, other: &Event) -> bool {
    let Event {
        schema,
        time: _,
        ktime_ns: _,
        cpu: _,
        netns,
        client: _,
        destination: _,
        ifindex,
        ifname,
        matched,
        via,
        verdict,
        reason,
        listener,
        reuseport,
        steered_by,
        expected,
        candidates,
        backend,
    } = one;
    let listeners = (listener.as_ref(), other.listener.as_ref());
    are_same(listeners.0, listeners.1, is_same_listener)
        && is_same(netns, &other.netns)
        && *ifindex == other.ifindex
        && are_same(ifname.as_ref(), other.ifname.as_ref(), is_same)
        && *matched == other.matched
        && *via == other.via
        && *verdict == other.verdict
        && *reason == other.reason
        && *reuseport == other.reuseport
        && *steered_by == other.steered_by
        && *expected == other.expected
        && *candidates == other.candidates
        && *backend == other.backend
        && *schema == other.schema
}

/// Whether both are `None`, or the same.
fn are_same<T>(one: Option<&T>, other: Option<&T>, is_same: impl FnOnce(&T, &T) -> bool) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => is_same(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Equal: mostly by being the very same, which takes no look into it.
fn is_same<T: PartialEq + ?Sized>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

fn is_same_process(one: &Process, other: &Process) -> bool {
    let Process {
        pid,
        comm,
        initial_pid,
        ended,
    } = one;
    *pid == other.pid
        && is_same(comm, &other.comm)
        && *initial_pid == other.initial_pid
        && *ended == other.ended
}

fn is_same_listener(one: &Listener, other: &Listener) -> bool {
    let Listener {
        address,
        port,
        family,
        device,
        v6only,
        inode,
        cookie,
        id,
        opened,
        queue: Queue { length: _, limit },
        owners,
        in_kernel,
        accepted_by,
        opened_by,
    } = one;
    *id == other.id
        && is_same(owners, &other.owners)
        && are_same(
            accepted_by.as_ref(),
            other.accepted_by.as_ref(),
            is_same_process,
        )
        && are_same(
            opened_by.as_ref(),
            other.opened_by.as_ref(),
            is_same_process,
        )
        && *in_kernel == other.in_kernel
        && *limit == other.queue.limit
        && *address == other.address
        && *port == other.port
        && *family == other.family
        && *device == other.device
        && *v6only == other.v6only
        && *inode == other.inode
        && *cookie == other.cookie
        && *opened == other.opened
}

#[cfg(test)]
mod tests {
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
