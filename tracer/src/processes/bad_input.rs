//! What `/proc` says of processes that name themselves as they like.

use proptest::prelude::*;

use super::*;
use crate::damaged::damaged;

/// What has a meaning in these texts.
const WORDS: [&str; 16] = [
    "\n",
    "/",
    ":",
    "0::/",
    ".service",
    ".scope",
    "payload",
    "lxc.payload.",
    "machine-",
    "systemd-nspawn@",
    "docker-",
    "(",
    ") Z ",
    " 18446744073709551615",
    " -1",
    "socket:[",
];

fn cgroups() -> Vec<Vec<u8>> {
    let id = "0123456789abcdef".repeat(4);
    [
        "0::/system.slice/nginx.service\n".to_owned(),
        format!("12:cpu,cpuacct:/docker/{id}\n1:name=systemd:/docker/{id}\n0::/\n"),
        format!("0::/machine.slice/libpod-{id}.scope/container/system.slice/x.service\n"),
        format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope\n"),
        "0::/machine.slice/machine-web.scope/payload/system.slice/nginx.service\n".to_owned(),
        "0::/lxc.payload.web/system.slice/nginx.service\n".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}

fn stats() -> Vec<Vec<u8>> {
    let stats: [&[u8]; 2] = [
        b"17 (a) b (c) Z 3 17 17 0 -1 2097216 1 2 3 4 5 6 7 8 20 0 2 0 4711 0 0\n",
        b"1 (systemd) S 0 1 1 0 -1 4194560 9 9 9 9 9 9 9 9 20 0 1 0 34 171 2 18446744073709551615\n",
    ];
    stats.map(<[u8]>::to_vec).into()
}

proptest! {
    #[test]
    fn a_damaged_cgroup_gives_names_that_stand_in_it(bytes in damaged(cgroups(), &WORDS)) {
        let text = String::from_utf8_lossy(&bytes);
        let cgroup::Place { unit, container, container_unit, asked } = cgroup::place(&bytes);
        if let Some(asked) = asked {
            prop_assert_eq!(Some(&asked.id), container.as_ref());
            prop_assert!(containers::is_id(&asked.id));
            prop_assert!(asked.pod_uid.is_none_or(|uid| containers::is_pod_uid(&uid)));
        }
        for name in [unit, container, container_unit].into_iter().flatten() {
            prop_assert!(!name.is_empty() && text.contains(&name), "{}", name);
            prop_assert!(!name.contains(['/', '\n']), "{}", name);
        }
    }

    #[test]
    fn a_damaged_stat_is_read_or_not(bytes in damaged(stats(), &WORDS)) {
        if let Some(stat) = Stat::parse(&bytes) {
            let text = String::from_utf8_lossy(&bytes);
            prop_assert!(text.contains(&stat.comm), "{}", stat.comm);
            prop_assert!(!stat.ended() || stat.first_ended());
        }
    }

    #[test]
    fn a_damaged_link_is_of_a_socket_or_not(
        bytes in damaged(vec![b"socket:[4711]".to_vec(), b"pipe:[17]".to_vec()], &WORDS)
    ) {
        if let Some(inode) = proc::socket(&bytes) {
            let text = String::from_utf8_lossy(&bytes);
            let number = text.trim_start_matches("socket:[").trim_end_matches(']');
            prop_assert_eq!(number.parse(), Ok(inode));
        }
    }
}
