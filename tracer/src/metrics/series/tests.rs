//! A SYN raises one series of each kind, whatever comes and goes; series leave and bounds hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::{
    event::{Backend, Endpoint, Family, ListenerId, Match, Reuseport, SCHEMA, Time, Verdict, Via},
    pipeline::Gone,
};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

impl Series {
    /// How many there are.
    fn len(&self) -> usize {
        self.room.used()
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A SYN of the listener with that stamp; 0: of none.
pub(crate) fn syn(port: u16, stamp: u64, group: Option<Reuseport>) -> Output {
    let queue = Queue {
        length: 1,
        limit: 4,
    };
    let record = SynRecord {
        has_listener: u32::from(stamp != 0),
        listener: Listener {
            stamp,
            ..Listener::default()
        },
        ..SynRecord::default()
    };
    Output::Syn(
        event(port, (stamp != 0).then_some(stamp), queue, group),
        record,
    )
}

fn event(port: u16, stamp: Option<u64>, queue: Queue, reuseport: Option<Reuseport>) -> Event {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let endpoint = Endpoint { address: any, port };
    let listener = stamp.map(|stamp| event::Listener {
        address: any,
        port,
        family: Family::Ipv4,
        device: None,
        v6only: false,
        inode: None,
        cookie: None,
        id: ListenerId(stamp),
        opened: None,
        queue,
        owners: Arc::from([]),
        in_kernel: false,
        accepted_by: None,
        opened_by: None,
    });
    Event {
        schema: SCHEMA,
        time: Time(0),
        ktime_ns: 0,
        cpu: 0,
        netns: Arc::new(Netns {
            inode: 7,
            cookie: None,
            name: Some("web".to_owned()),
        }),
        client: endpoint,
        destination: endpoint,
        ifindex: 1,
        ifname: None,
        matched: Match::Wildcard,
        via: Via::Lookup,
        verdict: Verdict::Ok,
        reason: None,
        listener,
        reuseport,
        steered_by: None,
        expected: None,
        candidates: None,
        backend: Backend::Fentry,
    }
}

fn with_queue(output: Output, length: u32) -> Output {
    let Output::Syn(mut event, record) = output else {
        return output;
    };
    if let Some(listener) = &mut event.listener {
        listener.queue.length = length;
    }
    Output::Syn(event, record)
}

fn gone(stamp: u64) -> Output {
    Output::Gone(Gone {
        last: Listener {
            stamp,
            ..Listener::default()
        },
        owner: "".into(),
    })
}

fn member(size: u16, member: Option<u16>) -> Reuseport {
    Reuseport {
        group: 1,
        size,
        member,
        program_id: None,
    }
}

/// Where, and how many SYNs.
fn syns(series: &Series) -> Vec<(String, u64)> {
    let places = series.places();
    let mut syns: Vec<_> = places
        .map(|(place, _)| {
            let sum = place.syns.iter().map(|(_, count)| count).sum();
            (format!("{} {}", place.netns, place.listener), sum)
        })
        .collect();
    syns.sort();
    syns
}

fn refused(series: &Series) -> u64 {
    series.refused().map(|(_, _, syns)| syns).sum()
}

#[test]
fn sockets_of_one_place_are_one_series() {
    let mut series = Series::new(100);
    for stamp in [1, 2, 1, 3] {
        series.take(&syn(80, stamp, None), SECOND);
    }
    series.take(&syn(81, 4, None), SECOND);
    assert_eq!(
        syns(&series),
        [("web *:80".to_owned(), 4), ("web *:81".to_owned(), 1)]
    );
    assert_eq!((series.len(), series.beyond()), (8, 0));
}

#[test]
fn a_place_leaves_after_its_last_socket_and_not_before() {
    let mut series = Series::new(100);
    series.take(&syn(80, 1, None), SECOND);
    series.take(&syn(80, 2, None), SECOND);
    series.take(&gone(1), 2 * SECOND);
    series.sweep(100 * MINUTE);
    assert_eq!(series.len(), 4, "one listens still, though nobody comes");
    series.take(&gone(2), 101 * MINUTE);
    series.sweep(106 * MINUTE - 1);
    assert_eq!(series.len(), 4);
    series.sweep(106 * MINUTE);
    assert!(series.is_empty() && syns(&series).is_empty());
    series.take(&syn(80, 3, None), 107 * MINUTE);
    assert_eq!(syns(&series), [("web *:80".to_owned(), 1)]);
}

#[test]
fn sockets_of_programs_before_are_forgotten_and_their_places_leave() {
    let mut series = Series::new(100);
    series.take(&with_queue(syn(80, 1, None), 5), SECOND);
    series.take(&syn(81, 2, None), SECOND);
    series.anew(10 * MINUTE);
    assert!(series.places().all(|(_, queue)| queue.is_none()));
    // Other programs count from the beginning again: the stamp is another socket's.
    series.take(&syn(82, 1, None), 10 * MINUTE);
    series.take(&syn(81, 3, None), 11 * MINUTE);
    let queues = series.places().filter(|(_, queue)| queue.is_some());
    assert_eq!(queues.count(), 2);
    let all = |of: &[(&str, u64)]| -> Vec<_> {
        of.iter().map(|(at, n)| (format!("web {at}"), *n)).collect()
    };
    series.sweep(15 * MINUTE - 1);
    assert_eq!(syns(&series), all(&[("*:80", 1), ("*:81", 2), ("*:82", 1)]));
    series.sweep(15 * MINUTE);
    assert_eq!(syns(&series), all(&[("*:81", 2), ("*:82", 1)]));
    series.take(&gone(1), 16 * MINUTE);
    series.take(&gone(2), 16 * MINUTE);
    series.sweep(60 * MINUTE);
    assert_eq!(syns(&series), all(&[("*:81", 2)]), "its own socket is open");
}

#[test]
fn a_place_that_comes_back_in_time_goes_on() {
    let mut series = Series::new(100);
    series.take(&syn(80, 1, None), SECOND);
    series.take(&gone(1), 2 * SECOND);
    series.take(&syn(80, 2, None), 4 * MINUTE);
    series.sweep(100 * MINUTE);
    assert_eq!(syns(&series), [("web *:80".to_owned(), 2)]);
}

#[test]
fn a_refused_port_leaves_fifteen_minutes_after_its_last_syn() {
    let mut series = Series::new(100);
    series.take(&syn(9, 0, None), 0);
    series.take(&syn(9, 0, None), MINUTE);
    series.sweep(16 * MINUTE - 1);
    assert_eq!((refused(&series), series.len()), (2, 1));
    series.sweep(16 * MINUTE);
    assert!(series.is_empty());
}

#[test]
fn a_member_that_is_full_is_not_hidden_by_one_that_is_not() {
    let mut series = Series::new(100);
    series.take(&with_queue(syn(80, 1, Some(member(2, Some(0)))), 5), SECOND);
    series.take(&with_queue(syn(80, 2, Some(member(2, Some(1)))), 0), SECOND);
    let (place, queue) = series.places().next().expect("a place");
    let queue = queue.expect("a queue");
    assert_eq!((queue.length, queue.limit, place.overflows), (5, 4, 1));
    series.take(&gone(1), 2 * SECOND);
    let (_, queue) = series.places().next().expect("a place");
    assert_eq!(queue.expect("a queue").length, 0, "the full one is gone");
}

#[test]
fn members_add_up_to_the_group() {
    let mut series = Series::new(100);
    for index in [Some(0), Some(1), Some(1), None] {
        series.take(&syn(80, 1, Some(member(200, index))), SECOND);
    }
    let (place, _) = series.places().next().expect("a place");
    let group = place.group.as_ref().expect("a group");
    assert_eq!((&*group.name, group.size), ("web/*:80", 200));
    let members: Vec<_> = group.members.iter().map(|(at, n)| (*at, *n)).collect();
    assert_eq!(members, [(None, 1), (Some(0), 1), (Some(1), 2)]);
    assert_eq!(series.len(), place.series());
}

#[test]
fn what_has_no_room_is_counted_and_has_some_once_another_leaves() {
    let mut series = Series::new(4);
    series.take(&syn(80, 1, None), SECOND);
    series.take(&syn(81, 2, None), SECOND);
    series.take(&syn(81, 2, None), SECOND);
    series.take(&syn(9, 0, None), SECOND);
    assert_eq!((series.len(), series.beyond()), (4, 3));
    series.take(&gone(1), SECOND);
    series.sweep(7 * MINUTE);
    series.take(&syn(81, 2, None), 7 * MINUTE);
    assert_eq!(syns(&series), [("web *:81".to_owned(), 1)]);
    series.allow(5);
    series.take(&syn(9, 0, None), 7 * MINUTE);
    assert_eq!((refused(&series), series.beyond()), (1, 3));
}

#[test]
fn listeners_without_a_lasting_name_do_not_pile_up() {
    let mut series = Series::new(100);
    let many = MOST_SOCKETS as u64 + 10;
    for stamp in 1..=many {
        series.take(&syn(80, stamp, None), SECOND);
    }
    assert_eq!(series.sockets.len(), MOST_SOCKETS);
    assert_eq!(syns(&series), [("web *:80".to_owned(), many)]);
    series.sweep(6 * MINUTE);
    assert!(series.sockets.is_empty() && series.is_empty());
}

#[test]
fn a_namespace_of_the_same_number_and_another_name_is_another() {
    let mut series = Series::new(100);
    series.take(&syn(80, 1, None), SECOND);
    let Output::Syn(mut event, mut record) = syn(80, 2, None) else {
        panic!("a SYN");
    };
    record.listener.stamp = 2;
    event.netns = Arc::new(Netns {
        inode: 7,
        cookie: None,
        name: None,
    });
    series.take(&Output::Syn(event, record), SECOND);
    assert_eq!(
        syns(&series),
        [("7 *:80".to_owned(), 1), ("web *:80".to_owned(), 1)]
    );
}

#[test]
fn what_is_not_recorded_is_counted_as_the_last_that_was() {
    let mut series = Series::new(100);
    let mut take = |output: &Output| series.take(output, SECOND);
    take(&syn(80, 1, Some(member(2, Some(1)))));
    let Output::Syn(mut event, record) = syn(81, 2, None) else {
        unreachable!()
    };
    if let Some(listener) = &mut event.listener {
        listener.address = Ipv6Addr::UNSPECIFIED.into();
        listener.family = Family::Ipv6;
    }
    take(&Output::Syn(event, record));
    take(&syn(82, 0, None));
    for stamp in [1, 2] {
        take(&Output::Unrecorded(Unrecorded::Given {
            stamp,
            ipv4: 10,
            ipv6: stamp - 1,
        }));
    }
    take(&Output::Unrecorded(Unrecorded::Refused {
        netns: 7,
        port: 82,
        syns: 5,
    }));
    // Whose it was is not known.
    let beyond = Unrecorded::Given {
        stamp: 3,
        ipv4: 1,
        ipv6: 0,
    };
    take(&Output::Unrecorded(beyond));
    assert_eq!(series.beyond(), 1);
    let mut ways: Vec<_> = series
        .places()
        .map(|(place, _)| (place.listener.to_string(), place.syns.clone()))
        .collect();
    ways.sort_by(|(one, _), (other, _)| one.cmp(other));
    let four = ((Match::Wildcard, Via::Lookup), 11);
    let six = vec![
        ((Match::Wildcard, Via::Lookup), 2),
        ((Match::DualStack, Via::Lookup), 10),
    ];
    assert_eq!(
        ways,
        [("*:80".to_owned(), vec![four]), ("[::]:81".to_owned(), six)]
    );
    let group = series.places().find_map(|(place, _)| place.group.as_ref());
    assert_eq!(group.map(|group| group.members[&Some(1)]), Some(11));
    let refused: Vec<_> = series.refused().collect();
    assert_eq!(refused, [(&Arc::from("web"), 82, 6)]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Unrecorded(u16, u64),
    Syn(u16, u64, Option<u16>),
    Refused(u16),
    Gone(u64),
    Passes(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (80..84_u16, 1..9_u64, prop::option::of(0..4_u16))
            .prop_map(|(port, stamp, member)| Step::Syn(port, stamp, member)),
        2 => (80..84_u16, 1..9_u64).prop_map(|(port, stamp)| Step::Unrecorded(port, stamp)),
        2 => (1..5_u16).prop_map(Step::Refused),
        2 => (1..9_u64).prop_map(Step::Gone),
        1 => (1..400_u64).prop_map(Step::Passes),
    ]
}

proptest! {
    #[test]
    fn the_bound_holds_and_what_is_counted_is_there(
        steps in prop::collection::vec(step(), 0..200),
        most in 0..30_usize,
    ) {
        let mut series = Series::new(most);
        let mut now = 0;
        for step in steps {
            let output = match step {
                // A socket stays where it is bound.
                Step::Syn(port, stamp, index) => {
                    let port = port + stamp as u16 % 2;
                    syn(port, stamp + 100 * u64::from(port), index.map(|at| member(4, Some(at))))
                }
                Step::Unrecorded(port, stamp) => {
                    let port = port + stamp as u16 % 2;
                    Output::Unrecorded(Unrecorded::Given {
                        stamp: stamp + 100 * u64::from(port),
                        ipv4: 3,
                        ipv6: 0,
                    })
                }
                Step::Refused(port) => syn(port, 0, None),
                Step::Gone(stamp) => gone(stamp + 8000),
                Step::Passes(seconds) => {
                    now += seconds * SECOND;
                    series.sweep(now);
                    continue;
                }
            };
            series.take(&output, now);
            prop_assert!(series.len() <= most);
            let places: usize = series.places().map(|(place, _)| place.series()).sum();
            prop_assert_eq!(series.len(), places + series.refused().count());
            let open: u32 = series.places().map(|(place, _)| place.sockets).sum();
            let placed = series.sockets.values().filter(|socket| socket.place.is_some());
            prop_assert_eq!(open as usize, placed.count());
        }
    }

    #[test]
    fn with_room_every_syn_is_in_exactly_one_series(
        steps in prop::collection::vec((80..90_u16, 0..20_u64), 0..300),
    ) {
        let mut series = Series::new(10_000);
        let total = steps.len() as u64;
        for (port, stamp) in steps {
            let stamp = if stamp == 0 { 0 } else { stamp + 100 * u64::from(port) };
            series.take(&syn(port, stamp, None), SECOND);
        }
        let given: u64 = syns(&series).iter().map(|(_, count)| count).sum();
        prop_assert_eq!(given + refused(&series), total);
        prop_assert_eq!(series.beyond(), 0);
    }
}
