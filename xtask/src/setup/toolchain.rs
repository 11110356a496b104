//! The compiler and linker for the probes.
//!
//! Two sets do: a rustup nightly with `rust-src` and a bpf-linker, as anyone who works with aya
//! has; or Debian's own compiler, which has BPF's core library, linked as a rustup toolchain.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{cargo, find_program, output, visible};

/// The name by which build scripts ask for Debian's compiler.
const LINKED: &str = "sockpick-bpf";
/// The LLVM of Debian's compiler, and where its packages put it.
const LLVM: &str = "/usr/lib/llvm-22";

pub(super) struct State {
    /// A rustup nightly with the library's source.
    pub(super) ordinary_compiler: bool,
    linked: bool,
    pub(super) linker: bool,
}

impl State {
    pub(super) fn detect() -> Self {
        let toolchains = output(Command::new("rustup").args(["toolchain", "list", "--verbose"]));
        let toolchains = toolchains.unwrap_or_default();
        let ordinary_compiler = toolchains
            .lines()
            .filter(|line| line.starts_with("nightly"))
            .filter_map(|line| line.split_whitespace().last())
            .any(|path| {
                Path::new(path)
                    .join("lib/rustlib/src/rust/library/core")
                    .is_dir()
            });
        let cargo_bin = env::home_dir().map(|home| home.join(".cargo/bin/bpf-linker"));
        Self {
            ordinary_compiler,
            linked: toolchains
                .lines()
                .any(|line| line.split_whitespace().next() == Some(LINKED)),
            linker: find_program("bpf-linker").is_some()
                || cargo_bin.is_some_and(|path| path.is_file()),
        }
    }

    pub(super) fn compiler_is_complete(&self) -> bool {
        self.ordinary_compiler
    }

    pub(super) fn is_complete(&self) -> bool {
        self.linker && (self.ordinary_compiler || self.linked)
    }

    /// Does what no package does.
    pub(super) fn complete(&self) -> Result<()> {
        if !self.ordinary_compiler && !self.linked {
            eprintln!("linking Debian's compiler as toolchain {LINKED}");
            output(Command::new("rustup").args(["toolchain", "link", LINKED, "/usr"]))
                .context("cannot make Debian's compiler a rustup toolchain")?;
        }
        if !self.linker {
            self.install_linker()?;
        }
        Ok(())
    }

    fn install_linker(&self) -> Result<()> {
        eprintln!("building bpf-linker; this takes a minute or two");
        let mut command = cargo()?;
        command.args(["install", "--quiet", "bpf-linker", "--version", "^0.13"]);
        if !self.ordinary_compiler {
            // It must read what the compiler writes, so both need the same LLVM.
            command.args(["--no-default-features", "--features", "llvm-22"]);
            command.env("LLVM_PREFIX", LLVM);
            command.env("LLVM_SYS_221_PREFIX", LLVM);
            let path = env::var_os("PATH").unwrap_or_default();
            let llvm = Path::new(LLVM).join("bin");
            let folders = std::iter::once(llvm).chain(env::split_paths(&path));
            command.env("PATH", env::join_paths(folders)?);
        }
        visible(&mut command).context("cannot build bpf-linker")
    }

    /// What a person would have to do for [`Self::complete`].
    pub(super) fn advice(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.ordinary_compiler && !self.linked {
            lines.push(format!(
                "a compiler for the probes: `rustup toolchain install nightly --component \
                 rust-src`, or Debian's with `rustup toolchain link {LINKED} /usr`"
            ));
        }
        if !self.linker {
            lines.push("bpf-linker: `cargo install bpf-linker`, with the compiler's LLVM".into());
        }
        lines
    }
}
