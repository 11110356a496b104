//! What is measured.

use std::fmt::Write as _;

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
const COUNTING: &str = "bpftrace-count";
pub(super) const BPFTRACE: [&str; 2] = ["bpftrace-listener", "bpftrace-connection"];

/// Prints just the listener.
pub(super) const LISTENER_SCRIPT: &str =
    r#"kretprobe:__inet_lookup_listener { printf("%llx\n", retval); }"#;

/// Counts by listener, and prints nothing before its end.
pub(super) const COUNTING_SCRIPT: &str =
    "kretprobe:__inet_lookup_listener { @[retval] = count(); }";

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
    }
}

const fn bpftrace(name: &'static str, about: &'static str) -> Variant {
    // The command is put together from the script.
    sockpick(name, about, "")
}

pub(super) const VARIANTS: [Variant; 13] = [
    sockpick(JSON, "`sockpick trace -o json`", "sockpick trace -o json"),
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
        ..sockpick(
            SUSPECTS,
            "`sockpick trace -o json --only-alerts`, nothing wrong",
            "sockpick trace -o json --only-alerts",
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
    Variant {
        lines: 0,
        ..bpftrace(COUNTING, "bpftrace that counts by listener")
    },
    bpftrace(BPFTRACE[0], "bpftrace, listener only"),
    bpftrace(BPFTRACE[1], "bpftrace, client, destination and listener"),
];

impl Variant {
    /// As a line of the guest's shell.
    fn line(&self) -> String {
        let script = match self.name {
            name if name == BPFTRACE[0] => Some(LISTENER_SCRIPT),
            name if name == BPFTRACE[1] => Some(CONNECTION_SCRIPT),
            COUNTING => Some(COUNTING_SCRIPT),
            _ => None,
        };
        let command = match script {
            Some(script) => format!("bpftrace -e '{script}'"),
            None => self.command.to_owned(),
        };
        let measure = format!(
            "measure {} {} {} {command}",
            self.name, self.lines, self.output
        );
        match self.backend {
            Some(backend) => format!("case $BACKENDS in *{backend}*) {measure} ;; esac"),
            None => measure,
        }
    }
}

/// The names of all.
pub(super) fn names() -> Vec<&'static str> {
    VARIANTS.iter().map(|variant| variant.name).collect()
}

/// The guest's script: every variant in every round, so that a drift would show. `rows` are names;
/// none: all.
pub(super) fn script(rows: &[String], connections: u32, rounds: u32) -> String {
    let is_asked =
        |variant: &&Variant| rows.is_empty() || rows.iter().any(|name| name == variant.name);
    let mut script = format!(
        "CONNECTIONS={connections}\nCOUNTED={}\n{}",
        counted(connections),
        include_str!("guest.sh")
    );
    for _ in 0..rounds {
        script.push_str("baseline\n");
        for variant in VARIANTS.iter().filter(is_asked) {
            let _ = writeln!(script, "{}", variant.line());
        }
        script.push_str("baseline\n");
    }
    if let Some(daemon) = VARIANTS.iter().find(|variant| variant.name == DAEMON)
        && is_asked(&daemon)
    {
        let _ = writeln!(script, "parts {}", daemon.command);
    }
    script.push_str("idle json sockpick trace -o json\n");
    script
}

/// The load warms up with half as many, or 500 if that is more, and the guest counts those too.
pub(super) fn counted(connections: u32) -> u32 {
    connections + (connections / 2).max(500)
}

#[cfg(test)]
mod tests {
    use super::{CONNECTION_SCRIPT, COUNTING_SCRIPT, LISTENER_SCRIPT, VARIANTS, script};

    #[test]
    fn the_scripts_survive_the_shells_quotes() {
        assert!(!COUNTING_SCRIPT.contains('\''));
        assert!(!LISTENER_SCRIPT.contains('\''));
        assert!(!CONNECTION_SCRIPT.contains('\''));
    }

    #[test]
    fn every_round_has_every_variant() {
        let script = script(&[], 4000, 3);
        assert!(script.starts_with("CONNECTIONS=4000\nCOUNTED=6000\n"));
        for variant in &VARIANTS {
            let call = format!("measure {} ", variant.name);
            assert_eq!(script.matches(&call).count(), 3, "{call}");
        }
    }

    #[test]
    fn rows_that_are_not_asked_for_are_left_out() {
        let script = script(&["daemon".to_owned()], 4000, 1);
        assert_eq!(script.matches("measure daemon ").count(), 1);
        assert_eq!(script.matches("measure json ").count(), 0);
    }
}
