//! The ways to watch.

/// One way to watch the connections.
pub(super) struct Variant {
    /// In the guest's lines.
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    command: &'static str,
    /// Only where the kernel allows this backend.
    backend: Option<&'static str>,
    output: &'static str,
    /// Lines of output that each connection must leave.
    pub(super) lines: u32,
    /// Part of the short set, for kernels that are only looked at.
    pub(super) is_short: bool,
}

const FILE: &str = "/tmp/output";

pub(super) const JSON: &str = "json";
/// The one that watches for good.
pub(super) const DAEMON: &str = "daemon";
pub(super) const TABLE: &str = "table";
pub(super) const KPROBE: &str = "kprobe";
pub(super) const SUSPECTS: &str = "suspects";
pub(super) const SUSPECTS_KPROBE: &str = "suspects-kprobe";
/// The one whose filter leaves everything out.
pub(super) const FILTER: &str = "kernel-filter";
/// What counts by listener, without a word before its end.
pub(super) const COUNTING: [&str; 3] = [
    "bpftrace-count",
    "bpftrace-count-kprobe",
    "bpftrace-count-kfunc",
];
pub(super) const BPFTRACE: [&str; 2] = ["bpftrace-listener", "bpftrace-connection"];

/// Prints just the listener.
pub(super) const LISTENER_SCRIPT: &str =
    r#"kretprobe:__inet_lookup_listener { printf("%llx\n", retval); }"#;

/// Count by listener, and print nothing before their end. (A kfunc at the lookup is refused: it has
/// more than six arguments.)
pub(super) const COUNTING_SCRIPTS: [&str; 3] = [
    "kretprobe:__inet_lookup_listener { @[retval] = count(); }",
    "kprobe:tcp_conn_request { @[arg2] = count(); }",
    "kfunc:tcp_conn_request { @[args->sk] = count(); }",
];

/// Prints client, destination and listener. The destination is on the stack.
pub(super) const CONNECTION_SCRIPT: &str = r#"kprobe:__inet_lookup_listener {
  @call[tid] = (arg4, arg5, sarg0, sarg1);
}
kretprobe:__inet_lookup_listener {
  $call = @call[tid];
  $port = (($call.1 & 0xff) << 8) | ($call.1 >> 8);
  printf("%s:%d > %s:%d %llx\n", ntop(2, (uint32)$call.0), $port,
    ntop(2, (uint32)$call.2), $call.3 & 0xffff, retval);
  delete(@call[tid]);
}"#;

const fn sockpick(name: &'static str, about: &'static str, command: &'static str) -> Variant {
    Variant {
        name,
        about,
        command,
        backend: None,
        output: FILE,
        lines: 1,
        is_short: false,
    }
}

const fn bpftrace(name: &'static str, about: &'static str) -> Variant {
    // The command is put together from the script.
    sockpick(name, about, "")
}

const fn counting(name: &'static str, about: &'static str) -> Variant {
    Variant {
        lines: 0,
        is_short: true,
        ..bpftrace(name, about)
    }
}

/// All of them.
pub(super) static VARIANTS: [Variant; 17] = [
    Variant {
        is_short: true,
        ..sockpick(JSON, "`sockpick trace -o json`", "sockpick trace -o json")
    },
    sockpick(TABLE, "`sockpick trace`", "sockpick trace"),
    Variant {
        output: "/dev/null",
        ..sockpick(
            "null",
            "`sockpick trace -o json`, into /dev/null",
            "sockpick trace -o json",
        )
    },
    Variant {
        backend: Some("fentry"),
        ..sockpick(
            "fentry",
            "`sockpick trace -o json --backend fentry`",
            "sockpick trace -o json --backend fentry",
        )
    },
    Variant {
        backend: Some("kprobe"),
        ..sockpick(
            KPROBE,
            "`sockpick trace -o json --backend kprobe`",
            "sockpick trace -o json --backend kprobe",
        )
    },
    Variant {
        lines: 0,
        ..sockpick(
            "user-filter",
            "… that shows nothing: `--listener 9.9.9.9:9`",
            "sockpick trace -o json --listener 9.9.9.9:9",
        )
    },
    Variant {
        lines: 0,
        is_short: true,
        ..sockpick(
            SUSPECTS,
            "`sockpick trace -o json --only-alerts`, nothing wrong",
            "sockpick trace -o json --only-alerts",
        )
    },
    Variant {
        lines: 0,
        is_short: true,
        ..sockpick(
            "suspects-no-accept",
            "… that does not look who accepts: `--no-accept`",
            "sockpick trace -o json --only-alerts --no-accept",
        )
    },
    Variant {
        lines: 0,
        backend: Some("kprobe"),
        ..sockpick(
            SUSPECTS_KPROBE,
            "… by kprobe: `--backend kprobe`",
            "sockpick trace -o json --only-alerts --backend kprobe",
        )
    },
    Variant {
        lines: 0,
        backend: Some("kprobe"),
        ..sockpick(
            "suspects-kprobe-no-accept",
            "… by kprobe, and `--no-accept`",
            "sockpick trace -o json --only-alerts --backend kprobe --no-accept",
        )
    },
    Variant {
        lines: 0,
        is_short: true,
        ..sockpick(
            DAEMON,
            "`sockpick daemon`, nothing wrong",
            "sockpick daemon --config /tmp/daemon.toml",
        )
    },
    Variant {
        lines: 0,
        ..sockpick(
            FILTER,
            "… that records nothing: `--port 9`",
            "sockpick trace -o json --port 9",
        )
    },
    counting(COUNTING[0], "bpftrace that counts by listener, kretprobe"),
    counting(COUNTING[1], "… at `tcp_conn_request`, kprobe"),
    counting(COUNTING[2], "… at `tcp_conn_request`, kfunc"),
    bpftrace(BPFTRACE[0], "bpftrace, listener only"),
    bpftrace(BPFTRACE[1], "bpftrace, client, destination and listener"),
];

impl Variant {
    /// What bpftrace is to do.
    pub(super) fn script(&self) -> Option<&'static str> {
        let counting = COUNTING.iter().zip(COUNTING_SCRIPTS);
        let printing = BPFTRACE.iter().zip([LISTENER_SCRIPT, CONNECTION_SCRIPT]);
        let mut all = counting.chain(printing);
        let found = all.find(|(name, _)| **name == self.name);
        found.map(|(_, script)| script)
    }

    /// As a word of the guest's shell, or several.
    pub(super) fn command(&self) -> String {
        match self.script() {
            Some(script) => format!("bpftrace -e '{script}'"),
            None => self.command.to_owned(),
        }
    }

    /// As a line of the guest's shell.
    pub(super) fn line(&self) -> String {
        let command = self.command();
        let measure = format!(
            "measure {} {} {} {command}",
            self.name, self.lines, self.output
        );
        match (self.backend, self.script()) {
            (Some(backend), _) => format!("case $BACKENDS in *{backend}*) {measure} ;; esac"),
            // Not every kernel has what these need.
            (None, Some(script)) if self.is_short => {
                format!("if works '{script}'; then {measure}; fi")
            }
            _ => measure,
        }
    }
}

/// The one of that name.
pub(super) fn named(name: &str) -> Option<&'static Variant> {
    VARIANTS.iter().find(|variant| variant.name == name)
}

#[cfg(test)]
mod tests {
    use super::{CONNECTION_SCRIPT, COUNTING_SCRIPTS, LISTENER_SCRIPT};

    #[test]
    fn the_scripts_survive_the_shells_quotes() {
        for script in COUNTING_SCRIPTS {
            assert!(!script.contains('\''));
        }
        assert!(!LISTENER_SCRIPT.contains('\''));
        assert!(!CONNECTION_SCRIPT.contains('\''));
    }
}
