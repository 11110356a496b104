//! The places in the kernel that sockpick looks at, and all that is to be known of each before a
//! kernel is asked: one row per hook.

use std::fmt;

use serde::Serialize;

/// A place in the kernel that sockpick looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// IPv4 listener lookup.
    Lookup4,
    /// IPv6 listener lookup.
    Lookup6,
    /// The walk of the IPv4 listener table inside the lookup.
    Walk4,
    /// The walk of the IPv6 listener table inside the lookup.
    Walk6,
    /// The run of IPv4 `sk_lookup` programs.
    Steer4,
    /// The run of IPv6 `sk_lookup` programs.
    Steer6,
    /// The run of a group's `SK_REUSEPORT` program.
    GroupProgram,
    /// The SYN is taken for processing on a socket.
    Request,
    /// A listener appears.
    Listen,
    /// A listener has gone.
    ListenStop,
    /// A listener that is a member of a group goes.
    LeaveGroup,
    /// The same, before Linux 5.14.
    DetachGroup,
    /// A connection is accepted.
    Accept,
    /// The ACK of a SYN cookie is taken on a socket.
    Cookie,
    /// A connection goes to another member of its group.
    Migrate,
}

/// How many there are.
const COUNT: usize = 15;

/// Every hook, in the order a SYN meets them.
pub const HOOKS: [Hook; COUNT] = {
    let mut hooks = [Hook::Lookup4; COUNT];
    let mut at = 0;
    while at < COUNT {
        hooks[at] = ROWS[at].hook;
        at += 1;
    }
    hooks
};

/// How a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// fentry and fexit programs (kernel 5.5; more than six arguments: 6.6).
    Fentry,
    /// kprobes and kretprobes.
    Kprobe,
}

impl Mechanism {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A program: its name in the object, and whether it is a return probe.
type Program = (&'static str, bool);

const ENTRY: bool = false;
const RETURN: bool = true;

struct Row {
    hook: Hook,
    /// The kernel function, as it is called in the source.
    function: &'static str,
    /// What a session goes without when the hook is missing.
    loss: Option<&'static str>,
    /// Parameters whose values the programs read.
    reads: &'static [&'static str],
    /// Its programs by mechanism; none where it is not used for the hook.
    fentry: &'static [Program],
    kprobe: &'static [Program],
}

/// Without walk and steering.
const STEERED: &str = "a socket chosen by an sk_lookup program is told as `lookup`";

/// With [`Hook::ListenStop`] alone.
const LATE: &str = "the close of a listener that shares its port is told a moment after it";

/// In the order of [`Hook`], by which a hook finds its row.
const ROWS: &[Row; COUNT] = &[
    Row {
        hook: Hook::Lookup4,
        function: "__inet_lookup_listener",
        loss: None,
        reads: &["net", "skb", "dif", "sdif"],
        fentry: &[("lookup4_x", RETURN)],
        kprobe: &[("lookup4_k", ENTRY), ("lookup4_r", RETURN)],
    },
    Row {
        hook: Hook::Lookup6,
        function: "inet6_lookup_listener",
        loss: Some("IPv6 SYNs are not seen"),
        reads: &["net", "skb", "dif", "sdif"],
        fentry: &[("lookup6_x", RETURN)],
        kprobe: &[("lookup6_k", ENTRY), ("lookup6_r", RETURN)],
    },
    Row {
        hook: Hook::Walk4,
        function: "inet_lhash2_lookup",
        loss: Some(STEERED),
        reads: &[],
        fentry: &[],
        kprobe: &[("walk4_k", ENTRY)],
    },
    Row {
        hook: Hook::Walk6,
        function: "inet6_lhash2_lookup",
        loss: Some(STEERED),
        reads: &[],
        fentry: &[],
        kprobe: &[("walk6_k", ENTRY)],
    },
    Row {
        hook: Hook::Steer4,
        function: "inet_lookup_run_sk_lookup",
        loss: Some(STEERED),
        reads: &["protocol", "skb"],
        fentry: &[("steer4_x", RETURN)],
        kprobe: &[("steer4_r", RETURN)],
    },
    Row {
        hook: Hook::Steer6,
        function: "inet6_lookup_run_sk_lookup",
        loss: Some(STEERED),
        reads: &["protocol", "skb"],
        fentry: &[("steer6_x", RETURN)],
        kprobe: &[("steer6_r", RETURN)],
    },
    Row {
        hook: Hook::GroupProgram,
        function: "bpf_run_sk_reuseport",
        loss: Some(
            "a group whose program names no member is told as `reuseport_bpf`, and a SYN that \
             one drops as if nobody listened",
        ),
        reads: &["sk", "skb"],
        fentry: &[("group_prog_x", RETURN)],
        kprobe: &[("group_prog_k", ENTRY), ("group_prog_r", RETURN)],
    },
    Row {
        hook: Hook::Request,
        function: "tcp_conn_request",
        loss: Some("SYNs that bypass the lookup (bpf_sk_assign, TPROXY) are not seen"),
        reads: &["sk", "skb"],
        fentry: &[("request_e", ENTRY)],
        kprobe: &[("request_k", ENTRY)],
    },
    Row {
        hook: Hook::Listen,
        function: "inet_csk_listen_start",
        loss: Some("who called listen() is known only while /proc still shows it"),
        reads: &["sk"],
        fentry: &[("listen_x", RETURN)],
        kprobe: &[("listen_k", ENTRY), ("listen_r", RETURN)],
    },
    Row {
        hook: Hook::ListenStop,
        function: "inet_csk_listen_stop",
        loss: Some("a listener's close is not seen"),
        reads: &["sk"],
        fentry: &[("stop_e", ENTRY)],
        kprobe: &[("stop_k", ENTRY)],
    },
    Row {
        hook: Hook::LeaveGroup,
        function: "reuseport_stop_listen_sock",
        loss: Some(LATE),
        reads: &["sk"],
        fentry: &[("leave_e", ENTRY)],
        kprobe: &[("leave_k", ENTRY)],
    },
    Row {
        hook: Hook::DetachGroup,
        function: "reuseport_detach_sock",
        loss: Some(LATE),
        reads: &["sk"],
        fentry: &[("detach_e", ENTRY)],
        kprobe: &[("detach_k", ENTRY)],
    },
    Row {
        hook: Hook::Accept,
        function: "inet_csk_accept",
        loss: Some("who accepts is not known"),
        reads: &["sk"],
        fentry: &[("accept_x", RETURN)],
        kprobe: &[("accept_k", ENTRY), ("accept_r", RETURN)],
    },
    Row {
        hook: Hook::Cookie,
        function: "tcp_get_cookie_sock",
        loss: Some("which listener gets a connection at the ACK of its SYN cookie is not known"),
        reads: &["sk", "req"],
        fentry: &[("cookie_e", ENTRY)],
        kprobe: &[("cookie_k", ENTRY)],
    },
    Row {
        hook: Hook::Migrate,
        function: "reuseport_migrate_sock",
        loss: Some("which listener takes over the connections of one that closes is not known"),
        reads: &["migrating_sk"],
        fentry: &[("migrate_x", RETURN)],
        kprobe: &[("migrate_k", ENTRY), ("migrate_r", RETURN)],
    },
];

impl Hook {
    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The kernel function, as it is called in the source.
    #[must_use]
    pub fn function(self) -> &'static str {
        self.row().function
    }

    /// What a session goes without when this hook is missing; `None` for the IPv4
    /// lookup, without which there is nothing to tell.
    #[must_use]
    pub fn loss(self) -> Option<&'static str> {
        self.row().loss
    }

    /// Programs, as `(name in the object, is it a return probe)`, per mechanism.
    #[must_use]
    pub fn programs(self, mechanism: Mechanism) -> &'static [(&'static str, bool)] {
        match mechanism {
            Mechanism::Fentry => self.row().fentry,
            Mechanism::Kprobe => self.row().kprobe,
        }
    }

    /// The program that stands in for those that see the function end, where its beginning is
    /// enough; by kprobe there is one at the beginning anyway.
    pub(super) fn beginning(self, mechanism: Mechanism) -> Option<&'static str> {
        match (self, mechanism) {
            (Self::Lookup4, Mechanism::Fentry) => Some("lookup4_e"),
            (Self::Lookup6, Mechanism::Fentry) => Some("lookup6_e"),
            _ => None,
        }
    }

    /// Parameters whose values the programs read.
    pub(super) fn reads(self) -> &'static [&'static str] {
        self.row().reads
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_finds_its_own_row() {
        for (at, row) in ROWS.iter().enumerate() {
            assert_eq!(row.hook as usize, at, "{}", row.function);
        }
    }

    #[test]
    fn no_program_serves_two_hooks() {
        let by = |mechanism| HOOKS.iter().flat_map(move |hook| hook.programs(mechanism));
        let all = by(Mechanism::Fentry).chain(by(Mechanism::Kprobe));
        let mut names: Vec<&str> = all.map(|&(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), count), (34, 34));
    }
}
