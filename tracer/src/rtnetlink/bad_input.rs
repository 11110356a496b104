//! What the kernel says of interfaces and routes, damaged.

use netlink_packet_route::{
    AddressFamily,
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    route::{RouteAttribute, RouteMessage},
    rule::{RuleAttribute, RuleMessage},
};
use proptest::prelude::*;

use super::*;
use crate::damaged::damaged;

/// Lengths and types.
const WORDS: [&str; 8] = [
    "\0",
    "\0\0\0\0",
    "\u{4}\0",
    "\u{5}\0",
    "\u{8}\0\u{4}\0",
    "\u{c}\0\u{9}\0",
    "\u{10}\0",
    "\u{7f}",
];

fn real() -> Vec<Vec<u8>> {
    let mut link = LinkMessage::default();
    link.header.index = 7;
    link.attributes = vec![
        LinkAttribute::IfName("red".to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vrf)]),
        LinkAttribute::Controller(3),
    ];
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    let to = std::net::Ipv4Addr::new(192, 0, 2, 1);
    route.attributes = vec![
        RouteAttribute::Destination(std::net::IpAddr::from(to).into()),
        RouteAttribute::Oif(7),
    ];
    let mut rule = RuleMessage::default();
    rule.header.family = AddressFamily::Inet6;
    rule.attributes = vec![RuleAttribute::FwMark(1)];
    [
        RouteNetlinkMessage::NewLink(link),
        RouteNetlinkMessage::NewRoute(route),
        RouteNetlinkMessage::NewRule(rule),
    ]
    .map(|message| bytes(message, 0))
    .into()
}

#[test]
fn what_is_whole_is_read() {
    let all = messages(&real().concat()).expect("as it was written");
    assert_eq!(all.len(), 3);
}

proptest! {
    #[test]
    fn a_damaged_answer_is_read_or_refused(bytes in damaged(real(), &WORDS)) {
        if let Ok(all) = messages(&bytes) {
            prop_assert!(all.len() <= bytes.len() / 16);
        }
    }
}
