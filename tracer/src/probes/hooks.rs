//! The places in the kernel that sockpick looks at, and all that is to be known of each before a
//! kernel is asked: one row per hook.

use std::fmt;

use serde::Serialize;
use sockpick_ebpf::abi::{ArgLoc, Args};

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

/// A parameter whose value the programs read, by its name, and where they are told its place.
pub(super) type Arg = (&'static str, fn(&mut Args) -> &mut ArgLoc);

/// Stands for a function's result where a parameter's name is expected.
pub(super) const RESULT: &str = "(result)";

struct Row {
    hook: Hook,
    /// The kernel function, as it is called in the source.
    function: &'static str,
    /// What a session goes without when the hook is missing.
    loss: Option<&'static str>,
    /// What the programs read of parameters and result.
    args: &'static [Arg],
    /// Its programs by mechanism; none where it is not used for the hook.
    fentry: &'static [Program],
    kprobe: &'static [Program],
    /// By fentry: stands in for those that see the function end, where its beginning is enough.
    /// By kprobe there is one at the beginning anyway.
    beginning: Option<&'static str>,
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
        args: &[
            ("net", |args| &mut args.lookup4.net),
            ("skb", |args| &mut args.lookup4.skb),
            ("dif", |args| &mut args.lookup4.dif),
            ("sdif", |args| &mut args.lookup4.sdif),
            (RESULT, |args| &mut args.lookup4.ret),
        ],
        fentry: &[("lookup4_x", RETURN)],
        kprobe: &[("lookup4_k", ENTRY), ("lookup4_r", RETURN)],
        beginning: Some("lookup4_e"),
    },
    Row {
        hook: Hook::Lookup6,
        function: "inet6_lookup_listener",
        loss: Some("IPv6 SYNs are not seen"),
        args: &[
            ("net", |args| &mut args.lookup6.net),
            ("skb", |args| &mut args.lookup6.skb),
            ("dif", |args| &mut args.lookup6.dif),
            ("sdif", |args| &mut args.lookup6.sdif),
            (RESULT, |args| &mut args.lookup6.ret),
        ],
        fentry: &[("lookup6_x", RETURN)],
        kprobe: &[("lookup6_k", ENTRY), ("lookup6_r", RETURN)],
        beginning: Some("lookup6_e"),
    },
    Row {
        hook: Hook::Walk4,
        function: "inet_lhash2_lookup",
        loss: Some(STEERED),
        args: &[],
        fentry: &[],
        kprobe: &[("walk4_k", ENTRY)],
        beginning: None,
    },
    Row {
        hook: Hook::Walk6,
        function: "inet6_lhash2_lookup",
        loss: Some(STEERED),
        args: &[],
        fentry: &[],
        kprobe: &[("walk6_k", ENTRY)],
        beginning: None,
    },
    Row {
        hook: Hook::Steer4,
        function: "inet_lookup_run_sk_lookup",
        loss: Some(STEERED),
        args: &[
            ("protocol", |args| &mut args.steer4_protocol),
            ("skb", |args| &mut args.steer4_skb),
            (RESULT, |args| &mut args.steer4_ret),
        ],
        fentry: &[("steer4_x", RETURN)],
        kprobe: &[("steer4_r", RETURN)],
        beginning: None,
    },
    Row {
        hook: Hook::Steer6,
        function: "inet6_lookup_run_sk_lookup",
        loss: Some(STEERED),
        args: &[
            ("protocol", |args| &mut args.steer6_protocol),
            ("skb", |args| &mut args.steer6_skb),
            (RESULT, |args| &mut args.steer6_ret),
        ],
        fentry: &[("steer6_x", RETURN)],
        kprobe: &[("steer6_r", RETURN)],
        beginning: None,
    },
    Row {
        hook: Hook::GroupProgram,
        function: "bpf_run_sk_reuseport",
        loss: Some(
            "a group whose program names no member is told as `reuseport_bpf`, and a SYN that \
             one drops as if nobody listened",
        ),
        args: &[
            ("sk", |args| &mut args.reuseport_sk),
            ("skb", |args| &mut args.reuseport_skb),
            (RESULT, |args| &mut args.reuseport_ret),
        ],
        fentry: &[("group_prog_x", RETURN)],
        kprobe: &[("group_prog_k", ENTRY), ("group_prog_r", RETURN)],
        beginning: None,
    },
    Row {
        hook: Hook::Request,
        function: "tcp_conn_request",
        loss: Some("SYNs that bypass the lookup (bpf_sk_assign, TPROXY) are not seen"),
        args: &[
            ("sk", |args| &mut args.request_sk),
            ("skb", |args| &mut args.request_skb),
        ],
        fentry: &[("request_e", ENTRY)],
        kprobe: &[("request_k", ENTRY)],
        beginning: None,
    },
    Row {
        hook: Hook::Listen,
        function: "inet_csk_listen_start",
        loss: Some("who called listen() is known only while /proc still shows it"),
        args: &[
            ("sk", |args| &mut args.listen_sk),
            (RESULT, |args| &mut args.listen_ret),
        ],
        fentry: &[("listen_x", RETURN)],
        kprobe: &[("listen_k", ENTRY), ("listen_r", RETURN)],
        beginning: None,
    },
    Row {
        hook: Hook::ListenStop,
        function: "inet_csk_listen_stop",
        loss: Some("a listener's close is not seen"),
        args: &[("sk", |args| &mut args.stop_sk)],
        fentry: &[("stop_e", ENTRY)],
        kprobe: &[("stop_k", ENTRY)],
        beginning: None,
    },
    Row {
        hook: Hook::LeaveGroup,
        function: "reuseport_stop_listen_sock",
        loss: Some(LATE),
        args: &[("sk", |args| &mut args.leave_sk)],
        fentry: &[("leave_e", ENTRY)],
        kprobe: &[("leave_k", ENTRY)],
        beginning: None,
    },
    Row {
        hook: Hook::DetachGroup,
        function: "reuseport_detach_sock",
        loss: Some(LATE),
        args: &[("sk", |args| &mut args.leave_sk)],
        fentry: &[("detach_e", ENTRY)],
        kprobe: &[("detach_k", ENTRY)],
        beginning: None,
    },
    Row {
        hook: Hook::Accept,
        function: "inet_csk_accept",
        loss: Some("who accepts is not known"),
        args: &[
            ("sk", |args| &mut args.accept_sk),
            (RESULT, |args| &mut args.accept_ret),
        ],
        fentry: &[("accept_x", RETURN)],
        kprobe: &[("accept_k", ENTRY), ("accept_r", RETURN)],
        beginning: None,
    },
    Row {
        hook: Hook::Cookie,
        function: "tcp_get_cookie_sock",
        loss: Some("which listener gets a connection at the ACK of its SYN cookie is not known"),
        args: &[
            ("sk", |args| &mut args.cookie_sk),
            ("req", |args| &mut args.cookie_req),
        ],
        fentry: &[("cookie_e", ENTRY)],
        kprobe: &[("cookie_k", ENTRY)],
        beginning: None,
    },
    Row {
        hook: Hook::Migrate,
        function: "reuseport_migrate_sock",
        loss: Some("which listener takes over the connections of one that closes is not known"),
        args: &[
            ("migrating_sk", |args| &mut args.migrate_sk),
            (RESULT, |args| &mut args.migrate_ret),
        ],
        fentry: &[("migrate_x", RETURN)],
        kprobe: &[("migrate_k", ENTRY), ("migrate_r", RETURN)],
        beginning: None,
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
        let row = self.row();
        row.beginning.filter(|_| mechanism == Mechanism::Fentry)
    }

    /// What the programs read of parameters and result.
    pub(super) fn args(self) -> &'static [Arg] {
        self.row().args
    }

    /// Names of the parameters among that.
    pub(super) fn parameters(self) -> impl Iterator<Item = &'static str> {
        let names = self.args().iter().map(|(name, _)| *name);
        names.filter(|name| *name != RESULT)
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
    fn no_two_hooks_read_at_one_place_but_those_of_which_there_is_one() {
        let mut args = Args::default();
        let hooks = HOOKS.iter().filter(|hook| **hook != Hook::DetachGroup);
        let all = hooks.flat_map(|hook| hook.args());
        let places: Vec<*const ArgLoc> = all
            .map(|(_, place_of)| std::ptr::from_mut(place_of(&mut args)).cast_const())
            .collect();
        let distinct: std::collections::BTreeSet<_> = places.iter().collect();
        assert_eq!(distinct.len(), places.len());
    }

    #[test]
    fn no_program_serves_two_hooks() {
        let by = |mechanism| HOOKS.iter().flat_map(move |hook| hook.programs(mechanism));
        let all = by(Mechanism::Fentry).chain(by(Mechanism::Kprobe));
        let beginnings = HOOKS
            .iter()
            .filter_map(|hook| hook.beginning(Mechanism::Fentry));
        let mut names: Vec<&str> = all.map(|&(name, _)| name).chain(beginnings).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), count), (36, 36));
    }
}
