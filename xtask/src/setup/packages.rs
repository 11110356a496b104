//! Debian packages: which are missing, and their installation.

use std::collections::HashSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::Missing;
use crate::process::{find_program, visible};

/// A package, what tells that it is there where dpkg is not, and what it is for.
pub(super) struct Package {
    name: &'static str,
    program: Option<&'static str>,
    purpose: &'static str,
}

const fn tool(name: &'static str, program: &'static str, purpose: &'static str) -> Package {
    Package {
        name,
        program: Some(program),
        purpose,
    }
}

const fn files(name: &'static str, purpose: &'static str) -> Package {
    Package {
        name,
        program: None,
        purpose,
    }
}

/// For the guests, and for tests on this machine.
pub(super) const GUESTS: &[Package] = &[
    tool("qemu-system-x86", "qemu-system-x86_64", "runs the guests"),
    tool(
        "busybox-static",
        "busybox",
        "the guests' shell and first process",
    ),
    tool(
        "nginx-light",
        "nginx",
        "a real server to trace in the guests",
    ),
    tool(
        "bpftrace",
        "bpftrace",
        "cross-checks and overhead comparisons",
    ),
    tool("nftables", "nft", "TPROXY rules in the guests"),
    tool(
        "iproute2",
        "ss",
        "links, namespaces and sockets in the guests",
    ),
    tool("socat", "socat", "a server bound to a device, for the demo"),
    tool("kmod", "depmod", "kernel modules for the guests"),
    tool("xz-utils", "xz", "unpacks kernel modules"),
    tool("zstd", "zstd", "unpacks kernel modules"),
    tool("cpio", "cpio", "looks into the guests' file systems"),
    tool("python3-pip", "pip3", "fetches a collector to test with"),
];

/// For guests as well. A machine where it is missing and cannot be installed skips what needs it.
pub(super) const SYSTEMD: &[Package] = &[tool(
    "systemd",
    "systemctl",
    "the service manager of some guests",
)];

/// For compiling the probes where there is no rustup nightly with the library's source.
pub(super) const COMPILER: &[Package] = &[
    files("rustc-web", "compiles the probes"),
    files("cargo-web", "compiles the probes"),
    files("libstd-rust-web-dev-bpf", "Rust's core library for BPF"),
    files("rust-web-src", "Rust's library source, for building core"),
];

/// For building bpf-linker, which must have the LLVM of that compiler.
pub(super) const LINKER: &[Package] = &[
    files("llvm-22-dev", "builds bpf-linker"),
    files("libpolly-22-dev", "builds bpf-linker"),
];

/// Those that are not installed. Where there is no dpkg, a tool counts by its program.
pub(super) fn missing(wanted: &'static [Package]) -> Vec<Missing> {
    let installed = installed(wanted);
    wanted
        .iter()
        .filter(|package| match &installed {
            Some(names) => !names.contains(package.name),
            None => package.program.and_then(find_program).is_none(),
        })
        .map(|package| Missing {
            name: package.name.to_owned(),
            purpose: package.purpose,
        })
        .collect()
}

fn installed(wanted: &[Package]) -> Option<HashSet<String>> {
    // Fails as a whole if one of them is unknown, and still lists the others.
    let answer = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(wanted.iter().map(|package| package.name))
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let names = text
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"));
    Some(names.map(ToOwned::to_owned).collect())
}

pub(super) fn install(missing: &[Missing]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|thing| thing.name.as_str()).collect();
    eprintln!("installing {}", names.join(" "));
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["--quiet", "--quiet", "--option", "Dpkg::Use-Pty=0"])
            .args(["--option", "DPkg::Lock::Timeout=300"])
            // What it says is no result of ours.
            .stdout(std::io::stderr());
        command
    };
    visible(apt().arg("update")).context("cannot read the package lists")?;
    visible(
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&names),
    )
    .with_context(|| {
        format!(
            "cannot install {}; the probes can also be built with a rustup nightly that has \
             rust-src, and `cargo install bpf-linker`",
            names.join(" ")
        )
    })
}
