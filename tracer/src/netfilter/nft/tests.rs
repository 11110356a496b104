//! Rules as the kernel writes them.

use super::*;

fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + body.len()).unwrap_or(0);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn numbers(numbers: &[(u16, u32)]) -> Vec<u8> {
    let attributes = numbers
        .iter()
        .flat_map(|&(kind, number)| attribute(kind, &number.to_be_bytes()));
    attributes.collect()
}

fn value(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind, &attribute(1, value))
}

fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    let mut body = attribute(1, name.as_bytes());
    body.extend(attribute(2, data));
    attribute(1, &body)
}

/// A rule of the chain `ip nat prerouting`.
fn told(expressions: &[Vec<u8>]) -> Option<Rule> {
    rule(&body(expressions))
}

fn body(expressions: &[Vec<u8>]) -> Vec<u8> {
    let mut message = vec![2, 0, 0, 0];
    message.extend(attribute(1, b"nat\0"));
    message.extend(attribute(2, b"prerouting\0"));
    message.extend(attribute(4, &expressions.concat()));
    message
}

fn immediate(register: u32, bytes: &[u8]) -> Vec<u8> {
    let data = [numbers(&[(1, register)]), value(2, bytes)].concat();
    expression("immediate", &data)
}

/// Rules of every kind that is read, as they come in one datagram.
pub(in crate::netfilter) fn datagram() -> Vec<u8> {
    let mut nat = to_port_80();
    nat.push(immediate(1, &[10, 42, 0, 8]));
    nat.push(immediate(2, &8000_u16.to_be_bytes()));
    nat.push(expression("nat", &numbers(&[(1, 1), (3, 1), (5, 2)])));
    let mut range = to_port_80();
    let ports = [
        numbers(&[(1, 1), (2, 0)]),
        value(3, &[0, 80]),
        value(4, &[0, 90]),
    ]
    .concat();
    range[3] = expression("range", &ports);
    range.push(expression("redir", &[]));
    let tcp = [attribute(1, b"tcp\0"), attribute(3, &[0; 12])].concat();
    let old = vec![
        expression("match", &tcp),
        expression("target", &attribute(1, b"TPROXY\0")),
    ];
    let message = |expressions: &Vec<Vec<u8>>| {
        let body = body(expressions);
        let length = u32::try_from(HEADER + body.len()).expect("not that long");
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(NEW_RULE.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    };
    [nat, range, old].iter().flat_map(message).collect()
}

#[test]
fn all_of_a_datagram_is_read() {
    let (mut found, mut read) = (Vec::new(), 0);
    let ended = take(&datagram(), &mut found, &mut read).expect("rules");
    assert_eq!((ended, read, found.len()), (false, 3, 3), "{found:?}");
}

#[test]
fn an_error_of_whatever_number_is_one() {
    let mut message = [20_u32.to_ne_bytes(), u32::from(ERROR).to_ne_bytes()].concat();
    message.extend([0; 8]);
    message.extend(i32::MIN.to_ne_bytes());
    assert!(take(&message, &mut Vec::new(), &mut 0).is_err());
}

/// `tcp dport 80`
fn to_port_80() -> Vec<Vec<u8>> {
    let compare = |data: &[u8]| [numbers(&[(1, 1), (2, 0)]), value(3, data)].concat();
    vec![
        expression("meta", &numbers(&[(2, 16), (1, 1)])),
        expression("cmp", &compare(&[6])),
        expression("payload", &numbers(&[(1, 1), (2, 2), (3, 2), (4, 2)])),
        expression("cmp", &compare(&80_u16.to_be_bytes())),
    ]
}

const PORT_80: Test = Test::Port {
    first: 80,
    last: 80,
    invert: false,
};

#[test]
fn a_rule_that_translates_is_read() {
    let mut expressions = to_port_80();
    expressions.push(immediate(1, &[10, 42, 0, 8]));
    expressions.push(immediate(2, &8000_u16.to_be_bytes()));
    expressions.push(expression("nat", &numbers(&[(1, 1), (3, 1), (5, 2)])));
    assert_eq!(
        told(&expressions),
        Some(Rule {
            place: "nftables chain ip nat prerouting".to_owned(),
            action: Action::Dnat,
            to: Some("10.42.0.8:8000".to_owned()),
            tests: vec![Test::Ipv4(true), PORT_80],
        })
    );
    // What is overwritten is not what it was.
    let mut expressions = to_port_80();
    expressions.insert(3, expression("bitwise", &numbers(&[(1, 1), (2, 1)])));
    expressions.push(expression("redir", &[]));
    let rule = told(&expressions);
    assert_eq!(rule.map(|rule| rule.tests), Some(vec![Test::Ipv4(true)]));
}

#[test]
fn source_nat_and_filters_are_left_out() {
    let mut expressions = to_port_80();
    assert_eq!(told(&expressions), None);
    expressions.push(expression("nat", &numbers(&[(1, 0)])));
    assert_eq!(told(&expressions), None);
    expressions.push(expression("target", &attribute(1, b"TPROXY\0")));
    let rule = told(&expressions);
    assert_eq!(rule.map(|rule| rule.action), Some(Action::Tproxy));
}

#[test]
fn what_is_cut_short_is_no_loop() {
    let message = attribute(4, &to_port_80().concat());
    for end in 0..message.len() {
        let _ = attributes(&message[..end]).count();
        let _ = messages(&message[..end]).count();
    }
}
