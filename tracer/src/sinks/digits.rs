//! Numbers and addresses as text, without the formatting machinery: what every line has.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::event::Endpoint;

/// Most digits of a `u64`.
const MOST_DIGITS: usize = 20;

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

/// What an octet of an address is with the point after it, and how long that is.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut number = 0;
    while number < 256 {
        let octet = number as u8;
        let [hundreds, tens, ones] = [
            b'0' + octet / 100,
            b'0' + octet / 10 % 10,
            b'0' + octet % 10,
        ];
        octets[number] = match octet {
            100.. => ([hundreds, tens, ones, b'.'], 4),
            10.. => ([tens, ones, b'.', 0], 3),
            _ => ([ones, b'.', 0, 0], 2),
        };
        number += 1;
    }
    octets
};

/// A number as it displays itself.
#[inline]
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    // CPUs and lengths of queues are often such.
    if number < 10 {
        out.push(b'0' + number as u8);
    } else {
        push_digits(out, number);
    }
}

fn push_digits(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; MOST_DIGITS];
    let mut rest = number;
    let mut first = MOST_DIGITS;
    for pair in digits.rchunks_exact_mut(2) {
        if rest < 10 {
            break;
        }
        pair.copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
        first -= 2;
    }
    if rest > 0 && first > 0 {
        first -= 1;
        digits[first] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[first..]);
}

/// The nanoseconds of a whole second: nine digits.
pub(super) const NANOSECONDS: u64 = 1_000_000_000;

/// So many nanoseconds past a whole second, in nine digits.
pub(super) fn push_nanoseconds(out: &mut Vec<u8>, number: u64) {
    let number = (number % NANOSECONDS) as u32;
    let (high, low) = (number / 10_000, number % 10_000);
    let mut digits = [b'0' + (high / 10_000) as u8; 9];
    let pairs = [high / 100, high, low / 100, low].map(|pair| PAIRS[(pair % 100) as usize]);
    digits[1..].copy_from_slice(pairs.as_flattened());
    out.extend_from_slice(&digits);
}

/// So many milliseconds past a whole second, in three digits.
pub(super) fn push_milliseconds(out: &mut Vec<u8>, number: u64) {
    let number = (number % 1000) as usize;
    let [a, b] = PAIRS[number % 100];
    out.extend_from_slice(&[b'0' + (number / 100) as u8, a, b]);
}

/// A port: at most five digits.
pub(super) fn push_port(out: &mut Vec<u8>, port: u16) {
    if port < 10_000 {
        return push_number(out, port.into());
    }
    let [[a, b], [c, d]] = [port / 100 % 100, port % 100].map(|pair| PAIRS[usize::from(pair)]);
    out.extend_from_slice(&[b'0' + (port / 10_000) as u8, a, b, c, d]);
}

/// As the address displays itself.
pub(super) fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => push_ipv4(out, address),
        IpAddr::V6(address) => {
            // A `Vec` takes everything.
            let _ = write!(out, "{address}");
        }
    }
}

/// As the endpoint displays itself.
pub(super) fn push_endpoint(out: &mut Vec<u8>, endpoint: &Endpoint) {
    match endpoint.address {
        IpAddr::V4(address) => push_ipv4(out, address),
        IpAddr::V6(address) => {
            let _ = write!(out, "[{address}]");
        }
    }
    out.push(b':');
    push_port(out, endpoint.port);
}

fn push_ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    // The longest with a point after it.
    let mut text = [0; "255.255.255.255.".len()];
    let mut at = 0;
    for octet in address.octets() {
        let (digits, length) = OCTETS[usize::from(octet)];
        text[at..at + digits.len()].copy_from_slice(&digits);
        at += usize::from(length);
    }
    // A copy of known length costs least.
    let end = out.len() + at - 1;
    out.extend_from_slice(&text);
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).expect("text")
    }

    proptest! {
        #[test]
        fn numbers_are_as_they_display_themselves(number: u64, bits in 0..64_u32) {
            let number = number >> bits;
            prop_assert_eq!(text(|out| push_number(out, number)), number.to_string());
            let rest = number % NANOSECONDS;
            prop_assert_eq!(text(|out| push_nanoseconds(out, number)), format!("{rest:09}"));
            let milliseconds = number % 1000;
            prop_assert_eq!(
                text(|out| push_milliseconds(out, number)),
                format!("{milliseconds:03}")
            );
            let port = number as u16;
            prop_assert_eq!(text(|out| push_port(out, port)), port.to_string());
        }

        #[test]
        fn so_are_addresses(address: IpAddr, port: u16) {
            let endpoint = Endpoint { address, port };
            prop_assert_eq!(text(|out| push_address(out, address)), address.to_string());
            prop_assert_eq!(text(|out| push_endpoint(out, &endpoint)), endpoint.to_string());
        }
    }

    #[test]
    fn short_and_long_ones() {
        for address in ["0.0.0.0", "255.255.255.255", "1.20.103.4"] {
            let parsed = address.parse().expect("an address");
            assert_eq!(text(|out| push_address(out, parsed)), address);
        }
        assert_eq!(text(|out| push_number(out, 0)), "0");
        assert_eq!(text(|out| push_number(out, u64::MAX)), u64::MAX.to_string());
    }
}
