//! The judgement against tables, and against a straightforward model of the kernels.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sockpick::event::{Family, Netns, Owner, Reason, Verdict, Via};
use sockpick::judge::expectations::{Address, Expectations, OwnerRule, Service};
use sockpick::judge::netns::NetnsName;
use sockpick::judge::picture::{Live, Picture};
use sockpick::judge::rules::{Algorithm, Bound, Packet, Protocol, mapped};
use sockpick::judge::steering::Steered;
use sockpick::judge::verdict::{Chosen, Judge, Syn};

const SECOND: u64 = 1_000_000_000;
const HOLD: u64 = 600 * SECOND;
const NOW: u64 = 5_000 * SECOND;
const NETNS: u32 = 7;

fn bound(text: &str) -> Bound {
    let (place, device) = match text.split_once('%') {
        Some((address, rest)) => {
            let (device, port) = rest.rsplit_once(':').expect("a port");
            (
                format!("{address}:{port}"),
                device.parse().expect("a number"),
            )
        }
        None => (text.to_owned(), 0),
    };
    let place: std::net::SocketAddr = place.parse().expect("an address");
    Bound {
        device,
        ..Bound::to(NETNS, place.ip(), place.port())
    }
}

fn socket(number: u64) -> Live {
    Live {
        inode: number,
        id: number,
        opened_ns: 1,
        incoming_cpu: None,
    }
}

fn packet(destination: &str, dif: u32) -> Packet {
    Packet {
        protocol: Protocol::Tcp,
        netns: NETNS,
        destination: destination.parse().expect("an address"),
        port: 80,
        dif,
        sdif: 0,
        l3mdev_accept: false,
    }
}

/// The namespace 7 is named.
fn netns(inode: u32) -> Netns {
    Netns {
        inode,
        cookie: None,
        name: (inode == NETNS).then(|| "web".to_owned()),
    }
}

/// Listeners by place, alive or closed so many seconds ago.
struct Scene {
    picture: Picture,
    all: Vec<Bound>,
    expectations: Expectations,
    algorithm: Algorithm,
    steered: Steered,
}

impl Scene {
    fn new() -> Self {
        Self {
            picture: Picture::new(HOLD),
            all: Vec::new(),
            expectations: Expectations::default(),
            algorithm: Algorithm::AddressFirst,
            steered: Steered::default(),
        }
    }

    fn live(mut self, place: &str) -> Self {
        self.all.push(bound(place));
        let number = self.all.len() as u64;
        self.picture.opened(bound(place), socket(number));
        self
    }

    fn gone(mut self, place: &str, seconds: u64) -> Self {
        self = self.live(place);
        let number = self.all.len() as u64;
        let closed = NOW - seconds * SECOND;
        self.picture
            .closed(&bound(place), &socket(number), closed, Arc::from([]));
        self
    }

    fn service(mut self, listen: &str, owner: OwnerRule) -> Self {
        let (address, port) = listen.rsplit_once(':').expect("a port");
        self.expectations.services.push(Service {
            name: "A".into(),
            listen: vec![Address {
                protocol: Protocol::Tcp,
                address: address.trim_matches(['[', ']']).parse().ok(),
                port: port.parse().expect("a port"),
            }],
            netns: None,
            owner,
        });
        self
    }

    fn on(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    fn says(&self, packet: &Packet, via: Via, chosen: Option<usize>) -> String {
        let owners = [Owner {
            pid: 1,
            comm: "nginx".into(),
            unit: Some("b.service".into()),
            ..Owner::default()
        }];
        let judge = Judge {
            picture: &self.picture,
            steered: &self.steered,
            expectations: &self.expectations,
            algorithm: self.algorithm,
        };
        let judgement = judge.judge(&Syn {
            packet: *packet,
            netns: &netns(packet.netns),
            ktime_ns: NOW,
            cpu: 1,
            via,
            is_steered: matches!(via, Via::SkLookup | Via::SkAssign | Via::Tproxy),
            chosen: chosen.map(|number| Chosen {
                bound: self.all[number - 1],
                id: number as u64,
                uid: 0,
                owners: &owners,
            }),
        });
        let mut text = format!("{:?}", judgement.verdict);
        if let Some(reason) = judgement.reason {
            let _ = write!(text, " {reason:?}");
        }
        if let Some(service) = judgement.service {
            let _ = write!(text, " service {service}");
        }
        if let Some(listener) = judgement.listener {
            let _ = write!(text, " listener {}", listener.socket.id);
        }
        text
    }

    fn expect(&self, destination: &str, chosen: usize, said: &str) {
        let text = self.says(&packet(destination, 1), Via::Lookup, Some(chosen));
        assert_eq!(text, said, "{destination} to {:?}", self.all[chosen - 1]);
    }
}

fn unit(name: &str) -> OwnerRule {
    OwnerRule {
        unit: Some(name.into()),
        ..OwnerRule::default()
    }
}

#[test]
fn what_is_most_specific_is_ok() {
    let scene = Scene::new()
        .live("6.6.6.6:80")
        .live("0.0.0.0:80")
        .live("[::]:80");
    scene.expect("6.6.6.6", 1, "Ok");
    scene.expect("7.7.7.7", 2, "Ok");
    scene.expect("2001:db8::1", 3, "Ok");
    // Overlap alone is no fault, and a closing elsewhere is not this one's.
    let scene = scene.gone("8.8.8.8:80", 1).gone("6.6.6.6:81", 1);
    scene.expect("7.7.7.7", 2, "Ok");
    scene.expect("6.6.6.6", 1, "Ok");
    // ::ffff:6.6.6.6 shares the IPv4 bucket and beats 0.0.0.0.
    let mapped = Scene::new().live("[::ffff:6.6.6.6]:80").live("0.0.0.0:80");
    mapped.expect("6.6.6.6", 1, "Ok");
}

#[test]
fn a_closed_listener_is_expected_back_for_a_while() {
    let with = |ago| Scene::new().live("0.0.0.0:80").gone("6.6.6.6:80", ago);
    with(0).expect("6.6.6.6", 1, "Uncovered RestartGap listener 2");
    with(599).expect("6.6.6.6", 1, "Uncovered RestartGap listener 2");
    with(601).expect("6.6.6.6", 1, "Ok");
    with(1).expect("7.7.7.7", 1, "Ok");
    let v6 = Scene::new().live("[::]:80").gone("[2001:db8::1]:80", 1);
    v6.expect("2001:db8::1", 1, "Uncovered RestartGap listener 2");
    let fallback = Scene::new().live("[::]:80").gone("0.0.0.0:80", 1);
    fallback.expect("6.6.6.6", 1, "Uncovered DualStack listener 2");
    fallback.expect("2001:db8::1", 1, "Ok");
    let device = Scene::new().live("6.6.6.6:80").gone("6.6.6.6%1:80", 1);
    device.expect("6.6.6.6", 1, "Uncovered RestartGap listener 2");
    let mut off = with(1);
    off.expectations.hold = None;
    off.expect("6.6.6.6", 1, "Ok");
}

#[test]
fn a_live_one_that_was_passed_over_is_a_misdirection() {
    let order = Scene::new().live("6.6.6.6%1:80").live("6.6.6.6:80");
    order.expect("6.6.6.6", 2, "Misdirected DevOrder listener 1");
    order.expect("6.6.6.6", 1, "Ok");
    let any = Scene::new().live("0.0.0.0%1:80").live("0.0.0.0:80");
    any.expect("6.6.6.6", 2, "Misdirected DevOrder listener 1");
    let overlap = || Scene::new().live("0.0.0.0:80").live("6.6.6.6:80");
    for algorithm in [Algorithm::PortOnly, Algorithm::Hybrid] {
        overlap()
            .on(algorithm)
            .expect("6.6.6.6", 1, "Misdirected LegacyOrder listener 2");
    }
    overlap().expect("6.6.6.6", 1, "Misdirected Unknown listener 2");
    let mut late = Scene::new().live("0.0.0.0:80").gone("6.6.6.6:80", 3);
    let opened_ns = NOW - 1;
    let fresh = Live {
        opened_ns,
        ..socket(9)
    };
    late.picture.opened(bound("6.6.6.6:80"), fresh);
    late.expect("6.6.6.6", 1, "Uncovered RestartGap listener 2");
    let mut pinned = Scene::new().live("6.6.6.6%1:80");
    pinned.all.push(bound("6.6.6.6:80"));
    let incoming_cpu = Some(1);
    let socket = Live {
        incoming_cpu,
        ..socket(2)
    };
    pinned.picture.opened(bound("6.6.6.6:80"), socket);
    let says = |via| pinned.says(&packet("6.6.6.6", 1), via, Some(2));
    assert_eq!(says(Via::Lookup), "Misdirected CpuAffinity listener 1");
    // The first group in the chain answers, whatever its score.
    assert_eq!(says(Via::ReuseportHash), "Misdirected DevOrder listener 1");
}

#[test]
fn one_that_the_packet_cannot_reach_leaves_it_uncovered() {
    let device = Scene::new().live("6.6.6.6%5:80").live("0.0.0.0:80");
    device.expect("6.6.6.6", 2, "Uncovered DevMismatch listener 1");
    device.expect("7.7.7.7", 2, "Ok");
    // fe80::1 on another interface is another address.
    let mut local = Scene::new().live("[fe80::1]:80").live("[::]:80");
    let scoped = Bound {
        device: 5,
        ..bound("[fe80::1]:80")
    };
    local.picture = Picture::new(HOLD);
    local.picture.opened(scoped, socket(1));
    local.picture.opened(bound("[::]:80"), socket(2));
    local.expect("fe80::1", 2, "Ok");
    let vrf = Scene::new().live("6.6.6.6:80").live("0.0.0.0%5:80");
    let through = Packet {
        dif: 5,
        sdif: 3,
        ..packet("6.6.6.6", 5)
    };
    let said = vrf.says(&through, Via::Lookup, Some(2));
    assert_eq!(said, "Uncovered VrfScope listener 1");
    let accepting = Packet {
        l3mdev_accept: true,
        ..through
    };
    let said = vrf.says(&accepting, Via::Lookup, Some(1));
    assert_eq!(said, "Ok");
}

#[test]
fn refusals_name_their_cause() {
    let refused = |scene: &Scene| scene.says(&packet("6.6.6.6", 1), Via::Lookup, None);
    assert_eq!(refused(&Scene::new()), "Refused NoListener");
    let gone = Scene::new().gone("6.6.6.6:80", 1);
    assert_eq!(refused(&gone), "Refused RestartGap listener 1");
    let device = Scene::new().live("0.0.0.0%5:80");
    assert_eq!(refused(&device), "Refused DevMismatch listener 1");
    let named = Scene::new().service("6.6.6.6:80", OwnerRule::default());
    assert_eq!(refused(&named), "Refused NotListening service A");
    let dropped = named.says(&packet("6.6.6.6", 1), Via::SkLookup, None);
    assert_eq!(dropped, "Refused BpfSkLookup service A");
    let groups = Scene::new().live("0.0.0.0:80").live("6.6.6.6:80");
    let dropped = groups.says(&packet("6.6.6.6", 1), Via::ReuseportBpf, None);
    assert_eq!(dropped, "Refused ReuseportBpf listener 2");
}

#[test]
fn a_listener_of_the_other_family_is_named_where_nobody_else_is() {
    let said = |scene: &Scene, to| scene.says(&packet(to, 1), Via::Lookup, None);
    let four = || Scene::new().live("0.0.0.0:80");
    assert_eq!(
        said(&four(), "2001:db8::1"),
        "Refused OtherFamily listener 1"
    );
    let service = four().service("[2001:db8::1]:80", OwnerRule::default());
    assert_eq!(
        said(&service, "2001:db8::1"),
        "Refused OtherFamily service A listener 1"
    );
    let localhost = || Scene::new().live("127.0.0.1:80");
    assert_eq!(said(&localhost(), "::1"), "Refused OtherFamily listener 1");
    assert_eq!(said(&localhost(), "2001:db8::1"), "Refused NoListener");
    let mut six = Scene::new();
    let only = Bound {
        v6only: true,
        ..bound("[::]:80")
    };
    six.picture.opened(only, socket(1));
    assert_eq!(said(&six, "6.6.6.6"), "Refused OtherFamily listener 1");
    let away = Scene::new().live("0.0.0.0%5:80");
    assert_eq!(said(&away, "2001:db8::1"), "Refused NoListener");
    let before = Scene::new().live("[::1]:80").gone("[2001:db8::1]:80", 1);
    assert_eq!(
        said(&before, "2001:db8::1"),
        "Refused RestartGap listener 2"
    );
}

/// A listener, and one that closed a second ago and was held by `before`; the one that says
/// which opened so many seconds ago.
fn moved(to: &str, opened_ago: u64, before: Option<&str>) -> Scene {
    let mut scene = Scene::new();
    scene.all.push(bound(to));
    let opened_ns = NOW - opened_ago * SECOND;
    let new = Live {
        opened_ns,
        ..socket(1)
    };
    scene.picture.opened(bound("6.6.6.6:80"), socket(2));
    let owner = Owner {
        pid: 9,
        comm: "nginx".into(),
        exe: None,
        unit: before.map(ToOwned::to_owned),
        ..Owner::default()
    };
    let closed_ns = NOW - SECOND;
    let closed = bound("6.6.6.6:80");
    let owners = Arc::from([owner]);
    scene.picture.closed(&closed, &socket(2), closed_ns, owners);
    scene.picture.opened(bound(to), new);
    scene
}

#[test]
fn a_service_that_comes_back_bound_otherwise_has_moved() {
    let own = Some("b.service");
    for to in ["0.0.0.0:80", "[::]:80"] {
        moved(to, 0, own).expect("6.6.6.6", 1, "Ok Moved listener 2");
    }
    // It was there before, it is another's, or nobody knows.
    let uncovered = "Uncovered RestartGap listener 2";
    moved("0.0.0.0:80", 2, own).expect("6.6.6.6", 1, uncovered);
    moved("0.0.0.0:80", 0, Some("a.service")).expect("6.6.6.6", 1, uncovered);
    moved("0.0.0.0:80", 0, None).expect("6.6.6.6", 1, uncovered);
    // What is configured stays.
    moved("0.0.0.0:80", 0, own)
        .service("6.6.6.6:80", OwnerRule::default())
        .expect("6.6.6.6", 1, "Uncovered RestartGap service A listener 2");
}

#[test]
fn a_unit_of_a_container_may_be_asked_for_by_the_containers_name() {
    let id = "0123456789abcdef".repeat(4);
    let owner = Owner {
        container: Some(id.clone()),
        container_name: Some("web".into()),
        container_unit: Some("nginx.service".into()),
        ..Owner::default()
    };
    let admits = |unit: String| {
        let rule = OwnerRule {
            unit: Some(unit),
            ..OwnerRule::default()
        };
        rule.admits(std::slice::from_ref(&owner), 0)
    };
    for container in ["web", &id, &id[..12]] {
        assert!(admits(format!("{container}/nginx.service")), "{container}");
    }
    for container in ["we", "web2", &id[..11], ""] {
        assert!(!admits(format!("{container}/nginx.service")), "{container}");
    }
    assert!(!admits("web/other.service".into()));
}

#[test]
fn one_service_is_one_unit_or_one_container() {
    let owner = |unit: &str, container: &str| Owner {
        pid: 1,
        comm: "nginx".into(),
        exe: Some("/usr/sbin/nginx".into()),
        unit: (container.is_empty() && !unit.is_empty()).then(|| unit.into()),
        container: (!container.is_empty()).then(|| container.into()),
        container_unit: (!container.is_empty() && !unit.is_empty()).then(|| unit.into()),
        ..Owner::default()
    };
    let cases = [
        (("a.service", ""), ("a.service", ""), true),
        (("a.service", ""), ("b.service", ""), false),
        (("", ""), ("", ""), false),
        (("session-1.scope", ""), ("session-1.scope", ""), false),
        (("user@0.service", ""), ("user@0.service", ""), false),
        (("", "c1"), ("", "c1"), true),
        (("", "c1"), ("", "c2"), false),
        (("a.service", "c1"), ("b.service", "c1"), false),
        (("a.service", "c1"), ("a.service", ""), false),
    ];
    for (one, other, same) in cases {
        let (one, other) = (owner(one.0, one.1), owner(other.0, other.1));
        assert_eq!(one.is_one_service(&other), same, "{one:?} {other:?}");
    }
}

/// A wildcard, and the target of something that steers 6.6.6.6:80, which closes at the time it
/// is given.
struct Fallen(Scene);

impl Fallen {
    const TARGET: &'static str = "127.0.0.1:15006";

    fn new() -> Self {
        let mut scene = Scene::new().live("0.0.0.0:80").live(Self::TARGET);
        let target = bound(Self::TARGET);
        let to = packet("6.6.6.6", 1);
        scene
            .steered
            .to(&to, target, NOW - 9 * SECOND, &scene.picture);
        Self(scene)
    }

    fn past(mut self) -> Self {
        let to = packet("6.6.6.6", 1);
        self.0.steered.past(&to, NOW - 8 * SECOND, &self.0.picture);
        self
    }

    fn closed(mut self, ago: u64) -> Scene {
        let closed_ns = NOW - ago * SECOND;
        let target = bound(Self::TARGET);
        let owners = Arc::from([]);
        let picture = &mut self.0.picture;
        picture.closed(&target, &socket(2), closed_ns, owners);
        self.0
    }
}

#[test]
fn what_was_steered_and_falls_through_is_uncovered() {
    let uncovered = "Uncovered RestartGap listener 2";
    Fallen::new().closed(5).expect("6.6.6.6", 1, uncovered);
    Fallen::new().closed(5).expect("7.7.7.7", 1, "Ok");
    Fallen::new().0.expect("6.6.6.6", 1, "Ok");
    Fallen::new().closed(601).expect("6.6.6.6", 1, "Ok");
    let nobody = Fallen::new().closed(5);
    let said = nobody.says(&packet("6.6.6.6", 1), Via::Lookup, None);
    assert_eq!(said, "Refused RestartGap listener 2");
    // Steered by source, mark or chance.
    Fallen::new().past().closed(5).expect("6.6.6.6", 1, "Ok");
    // Back, and gone again.
    let mut back = Fallen::new().closed(5);
    back.picture.opened(bound(Fallen::TARGET), socket(3));
    back.expect("6.6.6.6", 1, "Ok");
    // It only just opened: the rule may have run before.
    let mut fresh = Fallen::new().closed(5);
    let opened_ns = NOW - 1;
    let new = Live {
        opened_ns,
        ..socket(3)
    };
    fresh.picture.opened(bound(Fallen::TARGET), new.clone());
    let to = packet("6.6.6.6", 1);
    fresh.steered.past(&to, NOW, &fresh.picture);
    let owners = Arc::from([]);
    let target = bound(Fallen::TARGET);
    fresh.picture.closed(&target, &new, NOW, owners);
    fresh.expect("6.6.6.6", 1, "Uncovered RestartGap listener 3");
}

#[test]
fn two_targets_that_live_at_once_teach_nothing() {
    let other = "127.0.0.1:15007";
    let to = packet("6.6.6.6", 1);
    let two = |first_closed: bool| {
        let mut scene = if first_closed {
            Fallen::new().closed(7)
        } else {
            Fallen::new().0
        };
        scene = scene.live(other);
        let now_ns = NOW - 6 * SECOND;
        scene.steered.to(&to, bound(other), now_ns, &scene.picture);
        let owners = Arc::from([]);
        let picture = &mut scene.picture;
        picture.closed(&bound(other), &socket(3), NOW - SECOND, owners);
        scene
    };
    two(true).expect("6.6.6.6", 1, "Uncovered RestartGap listener 3");
    two(false).expect("6.6.6.6", 1, "Ok");
}

#[test]
fn services_are_expected_where_they_are_named() {
    let any = || Scene::new().live("0.0.0.0:80");
    let named = any().service("6.6.6.6:80", OwnerRule::default());
    named.expect("6.6.6.6", 1, "Uncovered NotListening service A");
    named.expect("7.7.7.7", 1, "Ok");
    // The service's own wildcard is right, another's is not.
    any()
        .service("6.6.6.6:80", unit("b.service"))
        .expect("6.6.6.6", 1, "Ok");
    any().service("6.6.6.6:80", unit("a.service")).expect(
        "6.6.6.6",
        1,
        "Uncovered NotListening service A",
    );
    any().service("*:80", unit("a.service")).expect(
        "6.6.6.6",
        1,
        "Misdirected WrongOwner service A",
    );
    let held = || Scene::new().live("6.6.6.6:80");
    held().service("6.6.6.6:80", unit("a.service")).expect(
        "6.6.6.6",
        1,
        "Misdirected WrongOwner service A",
    );
    held()
        .service("6.6.6.6:80", unit("b.service"))
        .expect("6.6.6.6", 1, "Ok");
    let mut elsewhere = any().service("6.6.6.6:80", OwnerRule::default());
    let other = Bound {
        netns: 8,
        ..bound("6.6.6.6:80")
    };
    elsewhere.picture.opened(other, socket(5));
    elsewhere.expect("6.6.6.6", 1, "Uncovered OtherNetns service A listener 5");
    let dual = Scene::new()
        .live("[::]:80")
        .service("0.0.0.0:80", OwnerRule::default());
    dual.expect("6.6.6.6", 1, "Uncovered DualStack service A");
    dual.expect("2001:db8::1", 1, "Ok");
}

#[test]
fn a_service_of_one_namespace_is_expected_there_by_its_name() {
    let of = |netns: NetnsName| {
        let mut scene = Scene::new()
            .live("0.0.0.0:80")
            .service("6.6.6.6:80", OwnerRule::default());
        for service in &mut scene.expectations.services {
            service.netns = Some(netns.clone());
        }
        scene
    };
    let there = "Uncovered NotListening service A";
    of(NetnsName::Name("web".into())).expect("6.6.6.6", 1, there);
    of(NetnsName::Inode(NETNS)).expect("6.6.6.6", 1, there);
    of(NetnsName::Name("db".into())).expect("6.6.6.6", 1, "Ok");
    of(NetnsName::Inode(8)).expect("6.6.6.6", 1, "Ok");
}

#[test]
fn steering_is_on_purpose_unless_a_service_says_otherwise() {
    let scene = || Scene::new().live("127.0.0.1:8080").live("6.6.6.6:80");
    let said = |scene: &Scene, via| scene.says(&packet("6.6.6.6", 1), via, Some(1));
    assert_eq!(said(&scene(), Via::SkLookup), "Steered BpfSkLookup");
    assert_eq!(said(&scene(), Via::SkAssign), "Steered SkAssign");
    assert_eq!(said(&scene(), Via::Tproxy), "Steered Tproxy");
    let named = scene().service("6.6.6.6:80", OwnerRule::default());
    assert_eq!(
        said(&named, Via::SkLookup),
        "Misdirected BpfSkLookup service A listener 2"
    );
    let own = scene().service("6.6.6.6:80", unit("b.service"));
    assert_eq!(said(&own, Via::SkLookup), "Steered BpfSkLookup");
    let right = named.says(&packet("6.6.6.6", 1), Via::SkLookup, Some(2));
    assert_eq!(right, "Steered BpfSkLookup");
}

/// One chain of sockets as the kernel keeps it, the first to be met first.
#[derive(Clone, Debug)]
struct Chain(Vec<(Bound, u64)>);

impl Chain {
    /// Started in this order, all with `SO_REUSEPORT`: IPv4 goes in at the head, IPv6 at
    /// the tail.
    fn started(order: &[Bound]) -> Self {
        let mut chain = Vec::new();
        for (number, bound) in (1..).zip(order) {
            match bound.family {
                Family::Ipv4 => chain.insert(0, (*bound, number)),
                Family::Ipv6 => chain.push((*bound, number)),
            }
        }
        Self(chain)
    }

    /// Every socket is in a group: the first that is taken at all ends the walk.
    fn first(&self, score: impl Fn(&Bound) -> u32) -> Option<u64> {
        let mut chain = self.0.iter();
        chain
            .find(|(bound, _)| score(bound) > 0)
            .map(|(_, number)| *number)
    }

    /// `__inet_lookup_listener` since 5.0: the address, then any.
    fn address_first(&self, packet: &Packet) -> Option<u64> {
        let in_pass = |exact: bool| {
            self.first(|bound| match bound.fit(packet) {
                Ok(fit) if fit.address == exact => fit.score(packet),
                _ => 0,
            })
        };
        in_pass(true).or_else(|| in_pass(false))
    }

    /// The walk of one port's chain, up to 4.15.
    fn port_only(&self, packet: &Packet) -> Option<u64> {
        self.first(|bound| bound.fit(packet).map_or(0, |fit| fit.score(packet)))
    }
}

fn any_bound() -> impl Strategy<Value = Bound> {
    let places = vec![
        "0.0.0.0:80",
        "6.6.6.6:80",
        "7.7.7.7:80",
        "[::]:80",
        "[2001:db8::1]:80",
        "[::ffff:6.6.6.6]:80",
    ];
    (prop::sample::select(places), 0..3_u32, any::<bool>()).prop_map(|(place, device, v6only)| {
        let mut bound = bound(place);
        bound.device = device;
        bound.v6only = v6only && bound.address == Ipv6Addr::UNSPECIFIED;
        bound
    })
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let destinations = vec![
        "6.6.6.6",
        "7.7.7.7",
        "8.8.8.8",
        "2001:db8::1",
        "2001:db8::2",
    ];
    (prop::sample::select(destinations), 1..3_u32).prop_map(|(to, dif)| packet(to, dif))
}

/// Sockets, all alive, and what the judge says of the one that the kernel picked.
fn judged(
    order: &[Bound],
    packet: &Packet,
    algorithm: Algorithm,
) -> (Option<Bound>, Verdict, Option<Reason>, Option<u64>) {
    let mut scene = Scene::new().on(algorithm);
    for (number, bound) in (1..).zip(order) {
        scene.picture.opened(*bound, socket(number));
    }
    let chain = Chain::started(order);
    let picked = match algorithm {
        Algorithm::AddressFirst => chain.address_first(packet),
        _ => chain.port_only(packet),
    };
    let chosen = picked.map(|number| order[number as usize - 1]);
    let judge = Judge {
        picture: &scene.picture,
        steered: &scene.steered,
        expectations: &scene.expectations,
        algorithm,
    };
    let judgement = judge.judge(&Syn {
        packet: *packet,
        netns: &netns(packet.netns),
        ktime_ns: NOW,
        cpu: 0,
        via: Via::ReuseportHash,
        is_steered: false,
        chosen: chosen.map(|bound| Chosen {
            bound,
            id: picked.unwrap_or(0),
            uid: 0,
            owners: &[],
        }),
    });
    let expected = judgement.listener.map(|listener| listener.socket.id);
    (chosen, judgement.verdict, judgement.reason, expected)
}

/// More specific, said as plainly as can be.
fn more_specific(a: &Bound, b: &Bound, to: IpAddr) -> bool {
    let exact = |bound: &Bound| bound.address == mapped(to);
    let native = |bound: &Bound| !to.is_ipv4() || bound.family == Family::Ipv4;
    if exact(a) != exact(b) {
        return exact(a);
    }
    let (a, b) = ((a.device != 0, native(a)), (b.device != 0, native(b)));
    a.0 >= b.0 && a.1 >= b.1 && a != b
}

#[test]
fn a_listener_that_is_not_listed_is_closed_until_a_syn_meets_it() {
    let mut scene = Scene::new().live("6.6.6.6:80").live("0.0.0.0:80");
    scene.expect("6.6.6.6", 2, "Misdirected Unknown listener 1");
    assert_eq!(scene.picture.retain(NOW, |_, inode| inode != 1), 1);
    scene.expect("6.6.6.6", 2, "Uncovered RestartGap listener 1");
    scene.picture.met(bound("6.6.6.6:80"), socket(1));
    scene.expect("6.6.6.6", 2, "Misdirected Unknown listener 1");
    // But not one whose closing was seen: that SYN was looked up before.
    let was = bound("6.6.6.6:80");
    scene.picture.closed(&was, &socket(1), NOW, Arc::from([]));
    scene.picture.met(was, socket(1));
    scene.expect("6.6.6.6", 2, "Uncovered RestartGap listener 1");
}

proptest! {
    #[test]
    fn a_misdirection_is_said_exactly_where_one_is(
        order in prop::collection::vec(any_bound(), 0..8),
        packet in any_packet(),
        legacy in any::<bool>(),
    ) {
        let algorithm = if legacy { Algorithm::PortOnly } else { Algorithm::AddressFirst };
        let (chosen, verdict, reason, expected) = judged(&order, &packet, algorithm);
        let Some(chosen) = chosen else {
            prop_assert_eq!(verdict, Verdict::Refused);
            return Ok(());
        };
        let passed_over = order.iter().any(|bound| {
            bound.fit(&packet).is_ok()
                && more_specific(bound, &chosen, packet.destination)
        });
        prop_assert_eq!(verdict == Verdict::Misdirected, passed_over, "{:?} {:?}", verdict, reason);
        if let (Verdict::Misdirected, Some(number)) = (verdict, expected) {
            let expected = order[number as usize - 1];
            prop_assert!(more_specific(&expected, &chosen, packet.destination));
            let address = expected.address != chosen.address;
            if !legacy {
                prop_assert!(!address, "5.0 and later do not do this");
            } else if address {
                prop_assert_eq!(reason, Some(Reason::LegacyOrder));
            }
        }
        // Nothing ever closed.
        prop_assert_ne!(reason, Some(Reason::RestartGap));
        prop_assert_ne!(reason, Some(Reason::DualStack));
    }

    #[test]
    fn what_closed_is_expected_back_and_nothing_else(
        stays in prop::collection::vec(any_bound(), 1..6),
        leaves in any_bound(),
        packet in any_packet(),
        ago in 1_u64..1_200,
    ) {
        let mut scene = Scene::new();
        for (number, bound) in (1..).zip(&stays) {
            scene.picture.opened(*bound, socket(number));
        }
        let last = socket(99);
        scene.picture.opened(leaves, last.clone());
        scene.picture.closed(&leaves, &last, NOW - ago * SECOND, Arc::from([]));
        let Some(picked) = Chain::started(&stays).address_first(&packet) else { return Ok(()) };
        let chosen = stays[picked as usize - 1];
        let judge = Judge {
            picture: &scene.picture,
            steered: &scene.steered,
            expectations: &Expectations { services: Vec::new(), hold: Some(Duration::from_nanos(HOLD)) },
            algorithm: Algorithm::AddressFirst,
        };
        let judgement = judge.judge(&Syn {
            packet, netns: &netns(packet.netns), ktime_ns: NOW, cpu: 0, via: Via::ReuseportHash,
            is_steered: false,
            chosen: Some(Chosen { bound: chosen, id: picked, uid: 0, owners: &[] }),
        });
        let missed = ago * SECOND <= HOLD
            && leaves.fit(&packet).is_ok()
            && more_specific(&leaves, &chosen, packet.destination);
        let said = matches!(judgement.reason, Some(Reason::RestartGap | Reason::DualStack));
        let misdirected = judgement.verdict == Verdict::Misdirected;
        prop_assert_eq!(said, missed && !misdirected, "{:?}", judgement);
    }
}
