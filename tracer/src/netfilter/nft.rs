//! Reads the rules of nftables by netlink (`include/uapi/linux/netfilter/nf_tables.h`).
#![forbid(unsafe_code)]

use std::{collections::HashMap, io, net::IpAddr};

use ipnet::IpNet;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::rule::{Action, Rule, Test, destination};

/// Headers: of netlink, and of netfilter's messages in it (`nfgenmsg`).
const HEADER: usize = 16;
const GENERIC: usize = 4;
const REQUEST_DUMP: u16 = 0x301;
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// `NFNL_SUBSYS_NFTABLES << 8`, with `NFT_MSG_NEWRULE` and `NFT_MSG_GETRULE`.
const NEW_RULE: u16 = 10 << 8 | 6;
const GET_RULE: u16 = 10 << 8 | 7;
/// Most rules that are read: a host with more has its addresses translated anyway.
const MOST_RULES: usize = 100_000;

/// Rules that translate or steer.
pub(super) fn rules() -> io::Result<Vec<Rule>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(), 0)?;
    let mut found = Vec::new();
    let mut read = 0;
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        if take(&bytes, &mut found, &mut read)? {
            return Ok(found);
        }
        if read > MOST_RULES || bytes.is_empty() {
            return Ok(found);
        }
    }
}

/// Takes the rules of a datagram, and counts all that it has; says whether it was the last one.
pub(super) fn take(bytes: &[u8], found: &mut Vec<Rule>, read: &mut usize) -> io::Result<bool> {
    for (kind, body) in messages(bytes) {
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = body.get(..4).and_then(|code| code.try_into().ok());
                let code = code.map_or(0, i32::from_ne_bytes);
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            NEW_RULE => {
                *read += 1;
                found.extend(rule(body));
            }
            _ => {}
        }
    }
    Ok(false)
}

fn request() -> Vec<u8> {
    let length = u32::try_from(HEADER + GENERIC).unwrap_or(0);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(GET_RULE.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    // Sequence number, port; family (any), version, resource.
    bytes.extend([0; 8 + GENERIC]);
    bytes
}

/// Type and content of every message in a datagram.
fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Attributes: type and content.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        // The two highest bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & 0x3fff;
        let body = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(kind, body)| (kind == wanted).then_some(body))
}

fn number(bytes: &[u8], wanted: u16) -> Option<u32> {
    Some(u32::from_be_bytes(
        attribute(bytes, wanted)?.try_into().ok()?,
    ))
}

fn text(bytes: &[u8], wanted: u16) -> Option<String> {
    let text = attribute(bytes, wanted)?;
    let end = text
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(text.len());
    Some(String::from_utf8_lossy(&text[..end]).into_owned())
}

/// What a register holds.
#[derive(Clone, Debug)]
enum Held {
    Port,
    Address,
    Protocol,
    Family,
    Value(Vec<u8>),
}

/// Reads a rule; `None` if it neither translates nor steers.
fn rule(message: &[u8]) -> Option<Rule> {
    let family = *message.first()?;
    let body = message.get(GENERIC..)?;
    let mut reader = Reader {
        ipv4: family != 10,
        registers: HashMap::new(),
        tests: match family {
            2 => vec![Test::Ipv4(true)],
            10 => vec![Test::Ipv4(false)],
            _ => Vec::new(),
        },
        does: None,
    };
    for (_, expression) in attributes(attribute(body, 4)?) {
        let name = text(expression, 1)?;
        let data = attribute(expression, 2).unwrap_or_default();
        reader.take(&name, data);
    }
    let (action, to) = reader.does?;
    let family = match family {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => "",
    };
    Some(Rule {
        place: format!(
            "nftables chain {family} {} {}",
            text(body, 1)?,
            text(body, 2)?
        ),
        action,
        to,
        tests: reader.tests,
    })
}

/// Goes through the expressions of a rule.
struct Reader {
    ipv4: bool,
    registers: HashMap<u32, Held>,
    tests: Vec<Test>,
    does: Option<(Action, Option<String>)>,
}

impl Reader {
    fn take(&mut self, name: &str, data: &[u8]) {
        match name {
            "payload" => self.payload(data),
            "meta" => {
                // NFT_META_NFPROTO, NFT_META_L4PROTO
                let held = match number(data, 2) {
                    Some(15) => Some(Held::Family),
                    Some(16) => Some(Held::Protocol),
                    _ => None,
                };
                self.set(number(data, 1), held);
            }
            "immediate" => {
                let value = attribute(data, 2).and_then(|data| attribute(data, 1));
                self.set(
                    number(data, 1),
                    value.map(|value| Held::Value(value.to_vec())),
                );
            }
            "cmp" => self.compare(data),
            "range" => {
                let value = |wanted| attribute(attribute(data, wanted)?, 1);
                if let (Some(Held::Port), Some(first), Some(last)) = (
                    self.held(number(data, 1)),
                    value(3).and_then(port),
                    value(4).and_then(port),
                ) {
                    let invert = number(data, 2) == Some(1);
                    self.tests.push(Test::Port {
                        first,
                        last,
                        invert,
                    });
                }
            }
            "match" => self.tests.extend(old_match(data)),
            "target" => {
                let action = text(data, 1).and_then(|name| super::legacy::action(&name));
                self.does = self.does.take().or(action.map(|action| (action, None)));
            }
            // NFT_NAT_DNAT
            "nat" if number(data, 1) == Some(1) => {
                self.does(Action::Dnat, number(data, 3), number(data, 5));
            }
            "redir" => self.does(Action::Redirect, None, number(data, 1)),
            "tproxy" => self.does(Action::Tproxy, number(data, 2), number(data, 3)),
            "bitwise" | "byteorder" => self.set(number(data, 2), None),
            // Whatever it is, its result is not understood.
            _ => self.set(number(data, 1), None),
        }
    }

    fn set(&mut self, register: Option<u32>, held: Option<Held>) {
        let Some(register) = register else { return };
        match held {
            Some(held) => self.registers.insert(register, held),
            None => self.registers.remove(&register),
        };
    }

    fn held(&self, register: Option<u32>) -> Option<&Held> {
        self.registers.get(&register?)
    }

    fn payload(&mut self, data: &[u8]) {
        let place = (number(data, 2), number(data, 3), number(data, 4));
        let held = match place {
            (Some(2), Some(2), Some(2)) => Some(Held::Port),
            (Some(1), Some(16), Some(4)) | (Some(1), Some(24), Some(16)) => Some(Held::Address),
            (Some(1), Some(9), Some(1)) => Some(Held::Protocol),
            _ => None,
        };
        self.set(number(data, 1), held);
    }

    fn compare(&mut self, data: &[u8]) {
        let Some(value) = attribute(data, 3).and_then(|value| attribute(value, 1)) else {
            return;
        };
        let operator = number(data, 2).unwrap_or(u32::MAX);
        let invert = operator == 1;
        let test = match (self.held(number(data, 1)), operator) {
            (Some(Held::Port), _) => port(value).and_then(|port| ports(operator, port)),
            (Some(Held::Address), 0 | 1) => address(value).map(|address| Test::Address {
                prefix: IpNet::from(address),
                invert,
            }),
            // IPPROTO_TCP
            (Some(Held::Protocol), 0) => (value.first() != Some(&6)).then_some(Test::NotTcp),
            (Some(Held::Protocol), 1) => (value.first() == Some(&6)).then_some(Test::NotTcp),
            (Some(Held::Family), 0) => value.first().map(|&family| Test::Ipv4(family == 2)),
            _ => None,
        };
        self.tests.extend(test);
    }

    fn does(&mut self, action: Action, to_address: Option<u32>, to_port: Option<u32>) {
        let value = |register| match self.held(register) {
            Some(Held::Value(value)) => Some(value.as_slice()),
            _ => None,
        };
        let bytes = if self.ipv4 { 4 } else { 16 };
        let to = destination(
            value(to_address)
                .and_then(|value| value.get(..bytes))
                .and_then(address),
            value(to_port).and_then(port),
        );
        self.does = Some((action, to));
    }
}

/// What a comparison asks of the port (`enum nft_cmp_ops`).
fn ports(operator: u32, port: u16) -> Option<Test> {
    let (first, last, invert) = match operator {
        0 => (port, port, false),
        1 => (port, port, true),
        2 => (0, port.checked_sub(1)?, false),
        3 => (0, port, false),
        4 => (port.checked_add(1)?, u16::MAX, false),
        5 => (port, u16::MAX, false),
        _ => return None,
    };
    Some(Test::Port {
        first,
        last,
        invert,
    })
}

/// A match of iptables within nftables.
fn old_match(data: &[u8]) -> Option<Test> {
    super::legacy::test(&text(data, 1)?, attribute(data, 3)?)
}

fn port(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.get(..2)?.try_into().ok()?))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(value).ok().map(IpAddr::from))
}

#[cfg(test)]
pub(super) mod tests;
