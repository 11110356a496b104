//! Whether this machine lets sockpick trace, before anything is loaded: each finding
//! names the thing, the cause and the remedy.

use std::{fs, path::Path, thread};

use caps::{CapSet, Capability};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use serde::Serialize;

use super::features::{KERNEL_BTF, kprobes_possible};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// False: it stands in the way.
    pub ok: bool,
    /// It is not to be had here, but something else serves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// What was found.
    pub found: String,
    /// What to do about it, where something can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Nothing is wrong with it.
    #[must_use]
    pub fn ok(subject: &'static str, found: impl Into<String>) -> Self {
        Self {
            subject,
            ok: true,
            absent: false,
            found: found.into(),
            remedy: None,
        }
    }

    /// Not to be had here, but something else serves.
    #[must_use]
    pub fn absent(subject: &'static str, found: impl Into<String>) -> Self {
        Self {
            absent: true,
            ..Self::ok(subject, found)
        }
    }

    fn bad(subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            subject,
            ok: false,
            absent: false,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// The finding as one message.
    #[must_use]
    pub fn message(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}: {}. {remedy}", self.subject, self.found),
            None => format!("{}: {}", self.subject, self.found),
        }
    }
}

/// Looks at everything, in the order in which it matters.
#[must_use]
pub fn findings(own_btf_file: bool) -> Vec<Finding> {
    vec![
        machine(),
        privileges(),
        lockdown(),
        btf(own_btf_file),
        kprobes(),
    ]
}

/// Kernel release and machine, as `uname` gives them.
#[must_use]
pub fn release() -> (String, String) {
    nix::sys::utsname::uname().map_or_else(
        |_| ("unknown".into(), "unknown".into()),
        |name| {
            (
                name.release().to_string_lossy().into_owned(),
                name.machine().to_string_lossy().into_owned(),
            )
        },
    )
}

fn machine() -> Finding {
    let (release, machine) = release();
    let found = format!("Linux {release} on {machine}");
    if machine == "x86_64" {
        Finding::ok("kernel", found)
    } else {
        Finding::bad(
            "kernel",
            found,
            "sockpick reads function arguments the x86_64 way; no other machine is supported yet.",
        )
    }
}

fn privileges() -> Finding {
    const NEEDED: [Capability; 3] = [
        // Namespaces of others, and a private one for the self-check.
        Capability::CAP_SYS_ADMIN,
        // Owners of sockets through /proc/PID/fd.
        Capability::CAP_SYS_PTRACE,
        Capability::CAP_NET_ADMIN,
    ];
    let missing: Vec<String> = NEEDED
        .into_iter()
        .filter(|&cap| !caps::has_cap(None, CapSet::Effective, cap).unwrap_or(false))
        .map(|cap| cap.to_string())
        .collect();
    if missing.is_empty() {
        return Finding::ok("privileges", "sufficient");
    }
    Finding::bad(
        "privileges",
        format!("missing {}", missing.join(", ")),
        "Run it as root, for example with sudo.",
    )
}

fn lockdown() -> Finding {
    match lockdown_mode() {
        Some(mode) if mode == "confidentiality" => Finding::bad(
            "lockdown",
            "the kernel is locked down (confidentiality), so it lets nobody trace it",
            "Boot without lockdown=confidentiality (integrity is fine).",
        ),
        Some(mode) => Finding::ok("lockdown", mode),
        None => Finding::ok("lockdown", "not known"),
    }
}

/// Mode of the lockdown security module, if it can be read.
fn lockdown_mode() -> Option<String> {
    let path = Path::new("/sys/kernel/security/lockdown");
    let text = fs::read_to_string(path).ok().or_else(|| {
        // securityfs is not mounted: look at it in a mount namespace of this thread's
        // own, which leaves no trace.
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).ok()?;
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).ok()?;
            let at = "/sys/kernel/security";
            mount(
                Some("securityfs"),
                at,
                Some("securityfs"),
                MsFlags::empty(),
                none,
            )
            .ok()?;
            fs::read_to_string(path).ok()
        })
        .join()
        .ok()
        .flatten()
    })?;
    let start = text.find('[')? + 1;
    let end = text[start..].find(']')? + start;
    Some(text[start..end].to_owned())
}

fn btf(own_file: bool) -> Finding {
    if Path::new(KERNEL_BTF).exists() {
        return Finding::ok("BTF", format!("{KERNEL_BTF} is there"));
    }
    let found = if own_file {
        "none in the kernel; the file given with --btf is used"
    } else {
        "none in the kernel; its structures are measured"
    };
    Finding::absent("BTF", found)
}

/// Whether kprobes can be made, and what to do if not.
#[must_use]
pub fn kprobes() -> Finding {
    if kprobes_possible() {
        return Finding::ok("kprobes", "possible");
    }
    let (found, remedy) = if Path::new("/sys/kernel/tracing").is_dir() && !tracefs_mounted() {
        (
            "not possible: there is no perf unit for them (4.17), and tracefs is not mounted",
            "Mount it: mount -t tracefs tracefs /sys/kernel/tracing",
        )
    } else {
        (
            "not possible: the kernel was built without CONFIG_KPROBE_EVENTS",
            "Without them only fentry (6.6 and later) can be used.",
        )
    };
    let mut finding = Finding::absent("kprobes", found);
    finding.remedy = Some(remedy.into());
    finding
}

fn tracefs_mounted() -> bool {
    Path::new("/sys/kernel/tracing/README").exists()
}
