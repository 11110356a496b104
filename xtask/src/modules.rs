//! The kernel modules a guest gets: the few that tests need, with what these depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::cpio::Archive;
use crate::kernels::Kernel;
use crate::process::{need_program, output};

/// Those a kernel has not, or has built in, are left out.
pub(crate) const WANTED: &[&str] = &[
    "act_bpf",
    "af_packet",
    "bridge",
    "cls_bpf",
    "cls_matchall",
    "dummy",
    "inet_diag",
    "ip_tables",
    "ip6_tables",
    "iptable_mangle",
    "ip6table_mangle",
    "ipv6",
    "macvlan",
    "mptcp_diag",
    "nf_nat",
    "nf_socket_ipv4",
    "nf_socket_ipv6",
    "nf_tables",
    "nf_tproxy_ipv4",
    "nf_tproxy_ipv6",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_inet",
    "nft_nat",
    "nft_redir",
    "nft_reject_inet",
    "nft_socket",
    "nft_tproxy",
    "sch_ingress",
    "tcp_diag",
    "tun",
    "unix_diag",
    "veth",
    "vrf",
    "x_tables",
    "xt_TPROXY",
    "xt_mark",
    "xt_socket",
    "xt_tcpudp",
];

/// The guest's part of a kernel's modules as a cpio archive, made once per kernel.
pub(crate) fn archive(kernel: &Kernel) -> Result<Option<PathBuf>> {
    let (Some(modules), Some(release)) = (&kernel.modules, &kernel.release) else {
        return Ok(None);
    };
    let _lock = cache::lock()?;
    let folder = cache::folder()?.join("modules");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut key = DefaultHasher::new();
    (WANTED, modules, fs::metadata(modules)?.modified()?).hash(&mut key);
    let done = folder.join(format!("{release}-{:016x}.cpio", key.finish()));
    if !done.exists() {
        let work = tempfile::tempdir_in(&folder).context("cannot write in the cache folder")?;
        let archive = stage(modules, release, work.path())?;
        let unfinished = work.path().join("archive");
        let mut file = fs::File::create(&unfinished).context("cannot write in the cache folder")?;
        archive.write(&mut file)?;
        fs::rename(&unfinished, &done).context("cannot write in the cache folder")?;
    }
    Ok(Some(done))
}

/// Copies the wanted modules into a tree of their own, unpacked, and indexes that.
fn stage(modules: &Path, release: &str, work: &Path) -> Result<Archive> {
    // depmod wants the tree at BASE/lib/modules/RELEASE and writes its index into it.
    let whole = work.join("whole/lib/modules").join(release);
    fs::create_dir_all(&whole)?;
    std::os::unix::fs::symlink(modules.join("kernel"), whole.join("kernel"))?;
    copy_lists(modules, &whole)?;
    depmod(&work.join("whole"), release)?;
    let dependencies = fs::read_to_string(whole.join("modules.dep"))
        .with_context(|| format!("depmod wrote no index of {}", modules.display()))?;

    let staged = work.join("staged/lib/modules").join(release);
    fs::create_dir_all(&staged)?;
    copy_lists(modules, &staged)?;
    for path in closure(&dependencies) {
        unpack(&modules.join(&path), &staged.join(uncompressed(&path)))?;
    }
    depmod(&work.join("staged"), release)?;
    let mut archive = Archive::default();
    let root = format!("usr/lib/modules/{release}");
    archive.directory(&root);
    add_tree(&mut archive, &staged, &root)?;
    // The content must be written before the staging folder goes.
    Ok(archive)
}

/// What `modules.dep` says is needed for the wanted modules: paths below the modules folder.
fn closure(dependencies: &str) -> BTreeSet<String> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let by_name: BTreeMap<String, (&str, &str)> = lines
        .map(|(path, needs)| (module_name(path), (path, needs)))
        .collect();
    let mut found = BTreeSet::new();
    for wanted in WANTED {
        if let Some((path, needs)) = by_name.get(&wanted.replace('-', "_")) {
            // modules.dep names the dependencies of dependencies too.
            found.insert((*path).to_owned());
            found.extend(needs.split_whitespace().map(ToOwned::to_owned));
        }
    }
    found
}

fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split('.').next().unwrap_or(file);
    name.replace('-', "_")
}

fn uncompressed(path: &str) -> &str {
    let plain = path.strip_suffix(".xz").or(path.strip_suffix(".zst"));
    plain.or(path.strip_suffix(".gz")).unwrap_or(path)
}

/// Unpacked here, once, instead of in every slow guest.
fn unpack(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let extension = from.extension().unwrap_or_default().to_string_lossy();
    let program = match &*extension {
        "xz" => "xz",
        "zst" => "zstd",
        "gz" => "gzip",
        "ko" => {
            fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
            return Ok(());
        }
        other => bail!(
            "module {} is packed in an unknown way: {other}",
            from.display()
        ),
    };
    let file = fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let status = Command::new(need_program(program)?)
        .args(["-d", "-c"])
        .arg(from)
        .stdout(file)
        .status()
        .with_context(|| format!("cannot start `{program}`"))?;
    if !status.success() {
        bail!("`{program}` cannot unpack {}", from.display());
    }
    Ok(())
}

fn depmod(base: &Path, release: &str) -> Result<()> {
    // Newer releases look below /usr/lib, older ones below /lib.
    let usr = base.join("usr");
    std::os::unix::fs::symlink(".", &usr)
        .with_context(|| format!("cannot create {}", usr.display()))?;
    let mut command = Command::new(need_program("depmod")?);
    output(command.arg("-b").arg(base).arg(release)).map(drop)
}

/// The lists of built-in modules: with them, asking for one of those succeeds.
fn copy_lists(modules: &Path, to: &Path) -> Result<()> {
    for list in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        let from = modules.join(list);
        if from.exists() {
            fs::copy(&from, to.join(list))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

fn add_tree(archive: &mut Archive, from: &Path, to: &str) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let target = format!("{to}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            add_tree(archive, &entry.path(), &target)?;
        } else {
            archive.host_file(&target, &entry.path(), 0o644);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::closure;

    #[test]
    fn closure_takes_dependencies_and_leaves_the_rest() {
        let found = closure(
            "kernel/net/ipv4/tcp_diag.ko.xz: kernel/net/ipv4/inet_diag.ko.xz\n\
             kernel/net/ipv4/inet_diag.ko.xz:\n\
             kernel/drivers/other.ko.xz: kernel/drivers/needed.ko.xz\n",
        );
        let found: Vec<_> = found.iter().map(String::as_str).collect();
        assert_eq!(
            found,
            [
                "kernel/net/ipv4/inet_diag.ko.xz",
                "kernel/net/ipv4/tcp_diag.ko.xz"
            ]
        );
    }
}
