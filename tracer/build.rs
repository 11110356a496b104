//! Builds the eBPF object with whichever toolchain this machine has: Debian's
//! compiler, linked into rustup by `cargo xtask setup`, or a rustup nightly with
//! `rust-src`.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

/// Name under which `cargo xtask setup` links Debian's compiler.
const LINKED: &str = "sockpick-bpf";
/// Crates that use unstable features: named one by one, so that aya-build does not
/// take the compiler for a nightly and rebuild `core`, which Debian ships built.
const UNSTABLE: &str = "aya_ebpf,aya_ebpf_bindings,sockpick_ebpf";
const EBPF_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tracer-ebpf");

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed=SOCKPICK_BPF_TOOLCHAIN");
    let toolchain = toolchain()?;
    if !succeeds("bpf-linker", &["--version"]) {
        bail!("bpf-linker is not on PATH: run `cargo xtask setup` (or `cargo install bpf-linker`)");
    }
    if toolchain != "nightly" {
        // SAFETY: this build script has one thread.
        unsafe { env::set_var("RUSTC_BOOTSTRAP", UNSTABLE) };
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let shared = shared(&out)?;
    let lock = File::create(shared.join("lock")).context("cannot lock the eBPF builds")?;
    lock.lock().context("cannot lock the eBPF builds")?;
    build_legacy(&toolchain, &shared, &out)?;
    let package = Package {
        name: "sockpick-ebpf",
        root_dir: EBPF_DIR,
        ..Package::default()
    };
    // aya-build builds below `OUT_DIR`, and puts the object there.
    // SAFETY: this build script has one thread.
    unsafe { env::set_var("OUT_DIR", &shared) };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .context("the eBPF programs did not build; `cargo xtask setup` checks the toolchain")?;
    copy(&shared.join("sockpick-ebpf"), &out.join("sockpick-ebpf"))
}

/// One folder for all builds of this checkout. Cargo has an `OUT_DIR` for each set of profile and
/// features, and the programs are the same in all of them.
fn shared(out: &Path) -> Result<PathBuf> {
    // target/PROFILE/build/PACKAGE/out
    let target = out.ancestors().nth(4).unwrap_or(out);
    let shared = target.join("ebpf");
    fs::create_dir_all(&shared).with_context(|| format!("cannot create {}", shared.display()))?;
    Ok(shared)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// The programs for kernels from 4.14: of the same sources, with the first instruction set,
/// which `aya_build` cannot be told.
fn build_legacy(toolchain: &str, shared: &Path, out: &Path) -> Result<()> {
    let target = shared.join("legacy");
    let machine = env::var("CARGO_CFG_TARGET_ARCH").context("no target architecture")?;
    let flags = [
        format!("--cfg=bpf_target_arch=\"{machine}\""),
        "-Ctarget-cpu=v1".to_owned(),
        "-Cdebuginfo=0".to_owned(),
    ];
    let mut command = if succeeds("rustup", &["run", toolchain, "cargo", "--version"]) {
        let mut command = Command::new("rustup");
        command.args(["run", toolchain, "cargo"]);
        command
    } else {
        Command::new("cargo")
    };
    command.args(["build", "--package", "sockpick-ebpf", "--bins", "--release"]);
    command.args(["--target", "bpfel-unknown-none", "--features", "legacy"]);
    if toolchain == "nightly" {
        command.args(["-Z", "build-std=core"]);
    }
    command
        .arg("--target-dir")
        .arg(&target)
        .current_dir(EBPF_DIR)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTC")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!(
            "the eBPF programs for old kernels did not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let built = target.join("bpfel-unknown-none/release/sockpick-ebpf");
    copy(&built, &out.join("sockpick-ebpf-legacy"))
}

fn toolchain() -> Result<String> {
    if let Ok(named) = env::var("SOCKPICK_BPF_TOOLCHAIN") {
        return Ok(named);
    }
    if succeeds("rustup", &["run", LINKED, "rustc", "--version"]) {
        return Ok(LINKED.into());
    }
    if nightly_has_core_source() {
        return Ok("nightly".into());
    }
    bail!(
        "no toolchain for eBPF: run `cargo xtask setup`, or install the usual aya set-up \
         (`rustup toolchain install nightly --component rust-src`, `cargo install bpf-linker`)"
    )
}

fn nightly_has_core_source() -> bool {
    let sysroot = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--print", "sysroot"])
        .output();
    sysroot.is_ok_and(|output| {
        let root = String::from_utf8_lossy(&output.stdout);
        let core = format!("{}/lib/rustlib/src/rust/library/core", root.trim());
        output.status.success() && Path::new(&core).is_dir()
    })
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .output()
        .is_ok_and(|output| output.status.success())
}
