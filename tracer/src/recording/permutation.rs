//! Numbers and addresses in the place of others: equal ones become equal, different ones
//! different, and only who has the key could tell which. Nothing is remembered, so a file of any
//! length is served.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, Ipv6Addr},
};

/// Rounds of the Feistel network; four make a permutation that looks random for large numbers,
/// more are wanted for small ones.
const ROUNDS: u8 = 10;

/// A permutation of the numbers of each size, by a random key that is not kept.
pub(super) struct Permutation(RandomState);

/// What addresses of one family keep: their kind by a prefix, some altogether.
struct Family {
    bits: u32,
    /// Prefix and its length; an even number of bits is left.
    kinds: &'static [(u128, u32)],
    fixed: &'static [u128],
}

const fn v4(address: [u8; 4]) -> u128 {
    u32::from_be_bytes(address) as u128
}

const fn v6(first: u16) -> u128 {
    (first as u128) << 112
}

const IPV4: Family = Family {
    bits: 32,
    kinds: &[
        (v4([127, 0, 0, 0]), 8),
        (v4([10, 0, 0, 0]), 8),
        (v4([172, 16, 0, 0]), 12),
        (v4([192, 168, 0, 0]), 16),
        (v4([100, 64, 0, 0]), 10),
        (v4([169, 254, 0, 0]), 16),
        (v4([224, 0, 0, 0]), 4),
        (v4([240, 0, 0, 0]), 4),
        (v4([0, 0, 0, 0]), 8),
    ],
    fixed: &[
        v4([0, 0, 0, 0]),
        v4([127, 0, 0, 1]),
        v4([255, 255, 255, 255]),
    ],
};

/// Half of the global ones each, and of the unique local ones, so that the bits left are even.
const IPV6: Family = Family {
    bits: 128,
    kinds: &[
        (v6(0xfe80), 10),
        (v6(0xfc00), 8),
        (v6(0xfd00), 8),
        (v6(0xff00), 8),
        (v6(0x2000), 4),
        (v6(0x3000), 4),
        (0xffff_0000_0000, 96),
    ],
    // Any, and loopback.
    fixed: &[0, 1],
};

impl Family {
    /// The bits of an address behind its kind's prefix, as a mask.
    fn mask(&self, prefix: u32) -> u128 {
        u128::MAX >> (128 - (self.bits - prefix))
    }

    /// Which kind the address is of, and the length of that kind's prefix.
    fn kind(&self, address: u128) -> (usize, u32) {
        let mut kinds = self.kinds.iter();
        let is_of = |&(prefix, length): &(u128, u32)| address & !self.mask(length) == prefix;
        match kinds.position(is_of) {
            Some(at) => (at, self.kinds[at].1),
            None => (self.kinds.len(), 0),
        }
    }
}

impl Permutation {
    /// By a key of its own.
    pub(super) fn new() -> Self {
        Self(RandomState::new())
    }

    /// For what is no address, such as where the kernel has something; 0 stays.
    pub(super) fn number(&self, number: u64) -> u64 {
        if number == 0 {
            return 0;
        }
        let mut next = number;
        loop {
            // 64 bits go in, so 64 come out.
            next = self.permuted((64, 0), 64, next.into()) as u64;
            if next != 0 {
                return next;
            }
        }
    }

    /// For an address; one in v4-mapped form becomes such a one. The kind stays: any, loopback,
    /// link-local, private, multicast or none of these. So do `0.0.0.0`, `127.0.0.1`, `::` and
    /// `::1`.
    pub(super) fn address(&self, address: Ipv6Addr) -> Ipv6Addr {
        match address.to_ipv4_mapped() {
            Some(ipv4) => {
                let other = self.in_kind(&IPV4, ipv4.to_bits().into());
                // 32 bits go in, so 32 come out.
                Ipv4Addr::from_bits(other as u32).to_ipv6_mapped()
            }
            None => Ipv6Addr::from_bits(self.in_kind(&IPV6, address.to_bits())),
        }
    }

    /// Walks the permutation until it is at an address of the same kind; it comes by the first one
    /// at the latest, so each has one of its own.
    fn in_kind(&self, family: &Family, address: u128) -> u128 {
        if family.fixed.contains(&address) {
            return address;
        }
        let kind = family.kind(address);
        let mask = family.mask(kind.1);
        let mut next = address;
        loop {
            let rest = self.permuted((family.bits, kind.0), family.bits - kind.1, next & mask);
            next = address & !mask | rest;
            if family.kind(next) == kind && !family.fixed.contains(&next) {
                return next;
            }
        }
    }

    /// A Feistel network over an even number of bits, one for each `domain`.
    fn permuted(&self, domain: (u32, usize), bits: u32, number: u128) -> u128 {
        let half = bits / 2;
        let mask = u128::MAX >> (128 - half);
        let (mut left, mut right) = (number >> half & mask, number & mask);
        for round in 0..ROUNDS {
            let mixed = u128::from(self.0.hash_one((domain, round, right))) & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << half | right
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::IpAddr};

    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        match text.parse() {
            Ok(IpAddr::V4(address)) => address.to_ipv6_mapped(),
            Ok(IpAddr::V6(address)) => address,
            Err(_) => Ipv6Addr::UNSPECIFIED,
        }
    }

    #[test]
    fn what_judgement_depends_on_stays() {
        let permutation = Permutation::new();
        for same in ["0.0.0.0", "127.0.0.1", "::", "::1", "255.255.255.255"] {
            assert_eq!(permutation.address(address(same)), address(same), "{same}");
        }
        let other = |text| permutation.address(address(text));
        let ipv4 = |text| other(text).to_ipv4_mapped().unwrap_or(Ipv4Addr::BROADCAST);
        assert!(ipv4("127.0.0.53").is_loopback());
        assert!(ipv4("169.254.1.2").is_link_local());
        for private in ["10.1.2.3", "172.20.0.1", "192.168.1.1"] {
            assert!(ipv4(private).is_private(), "{private}");
        }
        let global = ipv4("198.51.100.7");
        assert!(!global.is_private() && !global.is_loopback() && !global.is_link_local());
        assert!(other("fe80::1").is_unicast_link_local());
        assert!(other("fd00::1").is_unique_local());
        assert!(other("2001:db8::1").to_ipv4_mapped().is_none());
    }

    #[test]
    fn different_ones_stay_different_and_equal_ones_equal() {
        let permutation = Permutation::new();
        let all = (0..=u16::MAX).map(|low| {
            let [high, low] = low.to_be_bytes();
            Ipv4Addr::new(192, 168, high, low).to_ipv6_mapped()
        });
        let others: HashSet<Ipv6Addr> = all.map(|one| permutation.address(one)).collect();
        assert_eq!(others.len(), 1 << 16);
        let one = address("2001:db8::1");
        assert_ne!(permutation.address(one), one);
        assert_eq!(permutation.address(one), permutation.address(one));
        assert_eq!(permutation.number(0), 0);
        assert_ne!(permutation.number(7), permutation.number(8));
    }
}
