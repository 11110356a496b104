//! What the kernel says of sockets, damaged.

use proptest::prelude::*;

use super::*;
use crate::damaged::damaged;

/// What has a meaning: lengths, types, an attribute.
const WORDS: [&str; 8] = [
    "\0",
    "\0\0\0\0",
    "X\0\0\0",
    "\u{14}\0",
    "\u{2}\0",
    "\u{3}\0",
    "\u{5}\0\u{b}\0",
    "\u{7f}\u{7f}",
];

/// A socket as `sock_diag` tells it (`struct inet_diag_msg`), with `INET_DIAG_SKV6ONLY`.
fn told(family: u8, port: u16) -> Vec<u8> {
    let mut message = vec![family, 10, 0, 0];
    message.extend(port.to_be_bytes());
    // The other port, addresses, device, cookie, timer, queues, user, inode number.
    message.extend([0; 66]);
    message.extend([5, 0, 11, 0, 1, 0, 0, 0]);
    let length = u32::try_from(16 + message.len()).expect("not that long");
    let mut bytes = length.to_ne_bytes().to_vec();
    // SOCK_DIAG_BY_FAMILY, NLM_F_MULTI
    bytes.extend([20, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(message);
    bytes
}

#[test]
fn what_is_whole_is_read() {
    let mut found = Vec::new();
    let bytes = [told(2, 80), told(10, 443)].concat();
    let ended = sock_diag::read(&bytes, &mut |response| {
        found.push(listening(Protocol::Tcp, response));
    });
    let places = found.iter().map(|one| (one.bound.port, one.bound.v6only));
    assert_eq!(places.collect::<Vec<_>>(), [(80, true), (443, true)]);
    assert!(!ended.expect("read"));
}

proptest! {
    #[test]
    fn a_damaged_list_of_sockets_is_read_or_refused(
        bytes in damaged(vec![told(2, 80), [told(10, 443), told(2, 80)].concat()], &WORDS)
    ) {
        let mut found = 0;
        let read = sock_diag::read(&bytes, &mut |response| {
            let _ = listening(Protocol::Tcp, response);
            found += 1;
        });
        prop_assert!(found <= bytes.len() / 16, "{:?}", read);
    }
}
