//! Mounts and descriptors whose names anybody may choose.

use proptest::prelude::*;

use super::*;
use crate::damaged::damaged;

const MOUNTS: [&[u8]; 2] = [
    b"94 27 0:4 net:[4026532174] /run/docker/netns/a\\040b rw shared:48 - nsfs nsfs rw",
    b"22 27 0:21 / /proc rw,nosuid - proc proc rw",
];
const WORDS: [&str; 8] = [
    " ", "\\", "\\040", "\\777", "\\+12", "net:[", "socket:[", "]",
];

proptest! {
    #[test]
    fn a_damaged_mount_is_of_a_namespace_or_not(
        line in damaged(MOUNTS.map(<[u8]>::to_vec).into(), &WORDS)
    ) {
        if let Some((inode, place)) = mounted(&line) {
            prop_assert!(String::from_utf8_lossy(&line).contains(&inode.to_string()));
            prop_assert!(place.as_os_str().len() <= line.len());
        }
        let _ = kind(&line);
    }
}
