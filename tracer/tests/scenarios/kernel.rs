//! The kernel the scenarios run on, and its tools.

use std::process::Command;

use anyhow::{Context, Result, bail};

use nix::mount::{MsFlags, mount};

use crate::context::Skip;

/// The kernel's own type information.
pub(crate) const BTF: &str = "/sys/kernel/btf/vmlinux";

/// `uname -r`
pub(crate) fn release() -> Result<String> {
    let uname = nix::sys::utsname::uname()?;
    Ok(uname.release().to_string_lossy().into_owned())
}

/// Major and minor version.
pub(crate) fn version() -> Result<(u32, u32)> {
    let release = release()?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|text| text.parse().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => bail!("cannot read kernel release {release}"),
    }
}

/// Skips the scenario on kernels older than a feature.
pub(crate) fn need_version(feature: &str, major: u32, minor: u32) -> Result<()> {
    if version()? < (major, minor) {
        return Err(Skip(format!("{feature} needs Linux {major}.{minor}")).into());
    }
    Ok(())
}

/// What came of a try that needs a feature. Vendors bring features to older kernels, so the try
/// is made; only where it fails on a kernel older than the feature is the scenario skipped.
pub(crate) fn tried<T>(feature: &str, major: u32, minor: u32, result: Result<T>) -> Result<T> {
    if result.is_err() {
        need_version(feature, major, minor)?;
    }
    result
}

/// Skips the scenario on kernels without MPTCP that carries the owner's inode number.
pub(crate) fn need_mptcp() -> Result<()> {
    need_version("MPTCP", 5, 7)?;
    if !std::path::Path::new("/proc/sys/net/mptcp/enabled").exists() {
        return Err(Skip("this kernel was built without MPTCP".to_owned()).into());
    }
    Ok(())
}

/// Loads a module. Skips the scenario only if this kernel's modules do not have it.
pub(crate) fn need_module(name: &str) -> Result<()> {
    let loaded = command(&["modprobe", name]);
    if loaded.is_ok() || built_in(name) {
        return Ok(());
    }
    let release = release()?;
    if packaged(name)? {
        return loaded.map(drop);
    }
    Err(Skip(format!("no module {name} was packaged with {release}")).into())
}

/// Whether this kernel's modules, as far as the guest has them, include this one.
pub(crate) fn packaged(name: &str) -> Result<bool> {
    let release = release()?;
    let index = std::fs::read_to_string(format!("/lib/modules/{release}/modules.dep"));
    Ok(index.is_ok_and(|index| index.contains(&format!("/{name}.ko"))))
}

/// Whether the kernel's symbols show a module's name: true where it is compiled in and
/// registers something under that name.
fn built_in(name: &str) -> bool {
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    // A scheduler's functions go without the first word of its module's name.
    let start = format!("{}_", name.strip_prefix("sch_").unwrap_or(name));
    let words = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    words.into_iter().any(|symbol| {
        symbol.starts_with(&start) && (symbol.ends_with("_init") || symbol.ends_with("_setup"))
    })
}

/// Makes this kernel look like one without type information.
pub(crate) fn hide_btf() -> Result<()> {
    let none: Option<&str> = None;
    let folder = std::path::Path::new(BTF).parent().context("no folder")?;
    if folder.exists() {
        mount(Some("none"), folder, Some("tmpfs"), MsFlags::empty(), none)
            .context("cannot hide the kernel's BTF")?;
    }
    Ok(())
}

/// Skips the scenario on a kernel without type information.
pub(crate) fn need_btf() -> Result<()> {
    if std::path::Path::new(BTF).exists() {
        return Ok(());
    }
    Err(Skip(format!("no {BTF} here")).into())
}

/// Whether `sockpick explain` can ask this kernel: a test run with an interface (5.9), and
/// type information.
pub(crate) fn can_be_asked() -> Result<bool> {
    Ok(version()? >= (5, 9) && std::path::Path::new(BTF).exists())
}

/// Runs a tool; its error output becomes the error.
pub(crate) fn command(words: &[&str]) -> Result<String> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .with_context(|| format!("cannot start `{}`", words[0]))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}", words.join(" "), error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Sets a sysctl of this thread's namespace, as `net.ipv4.tcp_syncookies`.
pub(crate) fn sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::write(&path, value).with_context(|| format!("cannot write {path}"))
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of an event's `ktime_ns`.
pub(crate) fn monotonic_ns() -> Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    Ok(u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?)
}

/// Processes whose parent this one is.
pub(crate) fn children_of(parent: u32) -> Result<Vec<u32>> {
    let parent = parent.to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // "pid (comm) state ppid …"; comm may contain anything.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after_comm = stat.rsplit(')').next().unwrap_or_default();
        if after_comm.split_whitespace().nth(1) == Some(&parent) {
            found.push(pid);
        }
    }
    Ok(found)
}
