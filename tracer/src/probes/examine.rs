//! What is known of the kernel before anything is loaded: what could be attached, and where the
//! fields lie.

use std::{fs, path::PathBuf};

use anyhow::Result;
use sockpick_ebpf::abi::{Files, Offsets};

use super::{
    holders, measure,
    plan::{Choice, HOOKS, Hook, Mechanism, Plan, plan},
};
use crate::{
    failure::Failure,
    kernel::{
        btf::Btf,
        features::{Features, KERNEL_BTF, Receiver},
        offsets::{STRUCTS, files, offsets},
        preflight,
    },
};

/// What is known of the kernel before anything is loaded.
pub struct Kernel {
    /// What could be attached.
    pub features: Features,
    /// Where the fields lie.
    pub offsets: Offsets,
    /// What leads from a descriptor to its socket, where type information tells.
    pub(super) files: Option<Files>,
    /// Whether it takes only the programs for old kernels, or only those were asked for.
    pub legacy: bool,
    /// Functions that fentry may attach to, and that of the iterator, and the numbers of their types in the kernel's own
    /// type information.
    pub(super) targets: Vec<(&'static str, u32)>,
}

impl Kernel {
    /// Reads the running kernel's type information, and the file's, if one is given.
    ///
    /// # Errors
    /// If the type information is missing, unreadable, or lacks a needed field.
    pub fn examine(btf: Option<&PathBuf>, backend: Option<Choice>) -> Result<Self> {
        let functions: Vec<&'static str> = HOOKS.iter().map(|hook| hook.function()).collect();
        let targets = || functions.iter().copied().chain([holders::TARGET]);
        let structs = STRUCTS.iter().copied().chain(Receiver::NAMES);
        let names: Vec<&str> = structs.chain(targets()).collect();
        let parse = |path: &PathBuf, failure: fn(String) -> Failure| -> Result<Btf> {
            let bytes = fs::read(path).map_err(|error| {
                failure(format!(
                    "cannot read BTF from {}: {error}. Without it sockpick does not know this \
                     kernel's structures.",
                    path.display()
                ))
                .see_doctor()
            })?;
            Btf::parse(bytes, &names).map_err(|error| {
                let path = path.display();
                failure(format!("{path} is no BTF file of a kernel: {error:#}")).into()
            })
        };
        let asked_legacy = backend == Some(Choice::Legacy);
        let own = match PathBuf::from(KERNEL_BTF) {
            // The way of kernels without, wherever it is asked for.
            _ if asked_legacy => None,
            path if path.exists() => Some(parse(&path, Failure::environment)?),
            _ => None,
        };
        let given = match (btf, detached_btf()) {
            (Some(path), _) => Some(parse(path, Failure::usage)?),
            (None, Some(path)) if own.is_none() => Some(parse(&path, Failure::environment)?),
            _ => None,
        };
        let features = Features::of_running_kernel(&functions, own.as_ref(), given.as_ref())?;
        let legacy = asked_legacy || !features.ring_buffer;
        if legacy && !matches!(backend, None | Some(Choice::Legacy)) {
            return Err(Failure::environment(
                "this kernel has no BPF ring buffer (5.8), which --backend fentry and kprobe \
                 need. Leave --backend out, or use --backend legacy.",
            )
            .into());
        }
        let offsets = match given.as_ref().or(own.as_ref()) {
            Some(source) => offsets(source).map_err(|error| {
                Failure::environment(format!("BTF lacks what sockpick reads: {error:#}"))
            })?,
            None => measured(&features)?,
        };
        let source = given.as_ref().or(own.as_ref());
        let target = |name: &'static str| Some((name, own.as_ref()?.function_id(name)?));
        Ok(Self {
            targets: targets().filter_map(target).collect(),
            files: source.and_then(|source| files(source).ok()),
            features,
            offsets,
            legacy,
        })
    }

    /// What becomes of every hook, as far as is known before trying.
    #[must_use]
    pub fn plan(&self, backend: Option<Choice>) -> Plan {
        // The programs for old kernels are kprobes, also where a kernel without a ring buffer
        // has type information and trampolines (5.5 to 5.7, some enterprise kernels).
        let legacy = self.legacy.then_some(Choice::Legacy);
        plan(&self.features, legacy.or(backend).map(Choice::mechanism))
    }

    /// The same, once everything is known that it depends on.
    ///
    /// # Errors
    /// If the kernel's symbols cannot be read.
    pub(super) fn settled_plan(&mut self, backend: Option<Choice>) -> Result<Plan> {
        let plan = self.plan(backend);
        if !plan.hangs_on_symbols(&self.features) {
            return Ok(plan);
        }
        self.features.read_symbols()?;
        Ok(self.plan(backend))
    }

    /// Learns from a refusal, so that the next plan is another. If the function is not there
    /// under the name that was assumed, its symbol is all there is to learn.
    ///
    /// # Errors
    /// If the kernel's symbols cannot be read.
    pub(super) fn learn(&mut self, refusal: Refusal) -> Result<()> {
        if self.features.symbols_assumed {
            let symbol = |features: &Features| features.function(refusal.hook.function()).symbol;
            let assumed = symbol(&self.features);
            self.features.read_symbols()?;
            if symbol(&self.features) != assumed {
                // The refusal was of a function that is not there under this name.
                return Ok(());
            }
        }
        note(&mut self.features, refusal);
        Ok(())
    }
}

/// A hook that a kernel refused.
pub(super) struct Refusal {
    pub(super) hook: Hook,
    pub(super) mechanism: Mechanism,
    pub(super) why: String,
    /// The program itself was at fault, not the place.
    pub(super) by_verifier: bool,
}

fn note(features: &mut Features, refusal: Refusal) {
    let function = refusal.hook.function();
    match refusal.mechanism {
        Mechanism::Fentry => {
            // More than six arguments were refused as a whole before 6.6 on x86.
            let count = features
                .function(function)
                .parameters
                .map_or(0, |names| names.len());
            if count > 6 && !refusal.by_verifier && features.fentry_max_args.is_none() {
                features.fentry_max_args = Some(6);
            } else {
                features.fentry_refused.insert(function, refusal.why);
            }
        }
        Mechanism::Kprobe => {
            features.kprobe_refused.insert(function, refusal.why);
        }
    }
}

/// Folders in which a kernel's type information may lie as `RELEASE.btf`.
const DETACHED_BTF: [&str; 3] = [
    "/etc/sockpick/btf",
    "/usr/share/sockpick/btf",
    "/usr/lib/btf",
];

/// This kernel's type information in a file of its own, as `BTFHub` has them.
fn detached_btf() -> Option<PathBuf> {
    let (release, _) = preflight::release();
    let mut folders = DETACHED_BTF.iter();
    folders.find_map(|folder| {
        let path = PathBuf::from(folder).join(format!("{release}.btf"));
        path.is_file().then_some(path)
    })
}

/// Offsets without type information.
fn measured(features: &Features) -> Result<Offsets> {
    let kprobes = preflight::kprobes();
    if kprobes.absent {
        return Err(Failure::environment(format!(
            "this kernel has no type information ({KERNEL_BTF}), so its structures have to be \
             measured by kprobes. {}",
            kprobes.message()
        ))
        .into());
    }
    measure::offsets(&features.registers).map_err(|error| {
        if error.downcast_ref::<Failure>().is_some() {
            return error;
        }
        if features.kernel_btf {
            return Failure::environment(format!(
                "the programs for old kernels use no type information, and {error:#}. Leave \
                 --backend legacy out."
            ))
            .into();
        }
        Failure::environment(format!(
            "this kernel has no type information ({KERNEL_BTF}), and {error:#}. Give its BTF \
             with --btf FILE (BTFHub has files for many kernels), or use a kernel built with \
             CONFIG_DEBUG_INFO_BTF."
        ))
        .into()
    })
}
