//! What the kernel says of rules, damaged.

use proptest::prelude::*;

use super::{legacy, nft};
use crate::damaged::damaged;

/// Lengths, types and names that have a meaning.
const WORDS: [&str; 12] = [
    "\0",
    "\0\0",
    "\0\0\0\0",
    "\u{4}\0",
    "\u{5}\0",
    "\u{8}\0\u{1}\0",
    "\u{7f}\u{7f}",
    "tcp\0",
    "DNAT\0",
    "nat\0",
    "cmp\0",
    "immediate\0",
];

proptest! {
    #[test]
    fn damaged_rules_of_nftables_are_read_or_not(
        bytes in damaged(vec![nft::tests::datagram()], &WORDS)
    ) {
        let mut rules = Vec::new();
        let mut messages = 0;
        let _ = nft::take(&bytes, &mut rules, &mut messages);
        // An attribute and a message have a length of their own each.
        prop_assert!(messages <= bytes.len() / 16 && rules.len() <= messages);
        for rule in rules {
            let tests = rule.tests.len();
            prop_assert!(tests <= bytes.len() / 4 + 1 && !rule.told().is_empty());
        }
    }

    #[test]
    fn damaged_tables_of_iptables_are_read_or_not(
        bytes in damaged(vec![legacy::tests::table()], &WORDS)
    ) {
        for rules in legacy::read_all(&bytes) {
            prop_assert!(rules.len() <= bytes.len());
            for rule in rules {
                prop_assert!(rule.tests.len() <= bytes.len() && !rule.told().is_empty());
            }
        }
    }
}
