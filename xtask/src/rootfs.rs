//! What a guest finds in its file system: tools with their libraries, users, the first process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cpio::Archive;
use crate::process::{need_program, output};

mod systemd;

pub(crate) use systemd::is_installed as has_systemd;

const INIT: &str = include_str!("guest/init.sh");
const COMMAND: &str = include_str!("guest/command.sh");

/// Tools every guest has, besides busybox.
///
/// The shell is this machine's: busybox's runs its own cut-down `ip` or `tc` whatever PATH says.
const TOOLS: [&str; 8] = ["sh", "nginx", "socat", "ip", "nft", "tc", "ss", "kmod"];

/// A file for the guest, with the libraries it needs.
#[derive(Debug, Clone)]
pub(crate) struct GuestFile {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
}

impl GuestFile {
    pub(crate) fn new(host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            guest: guest.into(),
        }
    }
}

/// Builds the file system; modules come separately, as an archive of their own.
pub(crate) fn build(command: &[String], files: &[GuestFile], systemd: bool) -> Result<Archive> {
    let mut root = Root::default();
    root.ground();
    for tool in TOOLS {
        let path = need_program(tool)?;
        root.program(&path, &format!("usr/bin/{tool}"))?;
        // Some are expected in sbin.
        let link = format!("usr/sbin/{tool}");
        root.archive.symlink(&link, &format!("../bin/{tool}"));
    }
    for name in ["modprobe", "lsmod", "insmod", "rmmod", "modinfo"] {
        root.archive
            .symlink(&format!("usr/sbin/{name}"), "../bin/kmod");
    }
    for file in files {
        root.program(&file.host, &file.guest)?;
    }
    if systemd {
        systemd::add(&mut root)?;
    }
    root.busybox()?;
    let init = if systemd { systemd::INIT } else { INIT };
    root.archive.bytes("init", init.as_bytes(), 0o755);
    let run = COMMAND.as_bytes();
    root.archive.bytes("guest-command", run, 0o755);
    let script = format!("#!/bin/sh\nexec {}\n", quoted(command));
    root.archive.bytes("run-command", script.as_bytes(), 0o755);
    Ok(root.archive)
}

#[derive(Default)]
struct Root {
    archive: Archive,
    libraries: BTreeSet<PathBuf>,
}

impl Root {
    /// Folders, users and the configuration that programs expect on any machine.
    fn ground(&mut self) {
        let archive = &mut self.archive;
        for folder in [
            "dev",
            "etc",
            "include",
            "mnt",
            "proc",
            "run",
            "sys",
            "usr/bin",
            "usr/sbin",
            "usr/lib",
            "usr/lib64",
            "usr/local/bin",
            "usr/local/sbin",
            "var/lib/nginx",
            "var/log/nginx",
            "var/www",
            "var/tmp",
            "etc/nginx",
        ] {
            archive.directory(folder);
        }
        archive.directory_with_mode("root", 0o700);
        archive.directory_with_mode("tmp", 0o1777);
        for merged in ["bin", "sbin", "lib", "lib64"] {
            archive.symlink(merged, &format!("usr/{merged}"));
        }
        archive.symlink("var/run", "/run");
        archive.symlink("var/lock", "/run/lock");
        for (path, text) in [
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\n\
                 www-data:x:33:33:www-data:/var/www:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/bin/sh\n",
            ),
            ("etc/group", "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"),
            ("etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n"),
            (
                "etc/nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files\n",
            ),
            (
                "etc/protocols",
                "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n",
            ),
            ("etc/services", "http 80/tcp\nhttps 443/tcp\n"),
            (
                "etc/nginx/mime.types",
                "types { text/plain txt; text/html html; }\n",
            ),
        ] {
            archive.bytes(path, text.as_bytes(), 0o644);
        }
    }

    /// Everything busybox can do that no real tool does already.
    fn busybox(&mut self) -> Result<()> {
        let path = need_program("busybox")?;
        let list = output(Command::new(&path).arg("--list"))?;
        self.program(&path, "usr/bin/busybox")?;
        for applet in list.lines().filter(|name| !name.is_empty()) {
            let taken = ["bin", "sbin"].map(|folder| format!("usr/{folder}/{applet}"));
            if !taken.iter().any(|path| self.archive.contains(path)) {
                self.archive.symlink(&taken[0], "busybox");
            }
        }
        Ok(())
    }

    fn program(&mut self, host: &Path, guest: &str) -> Result<()> {
        self.archive.host_file(&merged(guest), host, mode(host)?);
        if is_elf(host)? {
            for library in libraries(host)? {
                if self.libraries.insert(library.clone()) {
                    let place = merged(&library.to_string_lossy());
                    self.archive.host_file(&place, &library, 0o755);
                }
            }
        }
        Ok(())
    }
}

/// A guest's /bin, /sbin and /lib are links to those below /usr.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if ["bin", "sbin", "lib", "lib64"].contains(&first) {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    let about = fs::metadata(path)
        .with_context(|| format!("cannot put {} into the guest", path.display()))?;
    if !about.is_file() {
        bail!(
            "cannot put {} into the guest: it is not a regular file",
            path.display()
        );
    }
    Ok(about.permissions().mode() & 0o7777)
}

fn is_elf(path: &Path) -> Result<bool> {
    let mut magic = [0; 4];
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(file.read_exact(&mut magic).is_ok() && &magic == b"\x7fELF")
}

/// The shared libraries a program needs, its loader included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let answer = Command::new(need_program("ldd")?)
        .arg(program)
        .output()
        .context("cannot start `ldd`")?;
    // ldd fails on a static program, and on one for another machine; neither has libraries here.
    let text = String::from_utf8_lossy(&answer.stdout);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), second) = (words.next(), words.next()) else {
            continue;
        };
        let path = if second == Some("=>") {
            words.next().unwrap_or_default()
        } else {
            name
        };
        if path == "not" {
            bail!(
                "{} needs the library {name}, which is not installed",
                program.display()
            );
        }
        if path.starts_with('/') && Path::new(path) != program {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

/// The command as a line of shell.
fn quoted(command: &[String]) -> String {
    let words: Vec<_> = command
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{merged, quoted};

    #[test]
    fn quoting_survives_quotes() {
        let words = ["sh", "-c", "echo 'a b' $X"].map(String::from);
        assert_eq!(quoted(&words), r"'sh' '-c' 'echo '\''a b'\'' $X'");
    }

    #[test]
    fn links_to_usr_are_resolved() {
        assert_eq!(merged("/lib64/ld.so"), "usr/lib64/ld.so");
        assert_eq!(merged("/include/x"), "include/x");
    }
}
