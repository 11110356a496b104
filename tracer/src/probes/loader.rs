//! Loads the programs and attaches them by plan. A hook that refuses its mechanism
//! is planned anew without it: what a kernel takes is found by trying.

use std::{cell::OnceCell, fs, io, path::PathBuf};

use anyhow::Result;
use aya::{
    Btf as AyaBtf, Ebpf, EbpfLoader,
    programs::{FEntry, FExit, KProbe, ProbeKind, Program, ProgramError},
};
use aya_obj::btf::{BtfType, Func, FuncLinkage};
use log::{Level, debug, log_enabled};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use sockpick_ebpf::abi::{Config, Offsets, maps};

use super::{
    channel::Missing,
    counters::{self, Counters},
    maps::{Filters, Shared},
    measure,
    missed::Links,
    plan::{Choice, Decision, HOOKS, Hook, Mechanism, Plan, plan},
    tracefs,
};
use crate::{
    failure::Failure,
    kernel::{
        btf::Btf,
        features::{Features, KERNEL_BTF},
        offsets::{STRUCTS, offsets},
        preflight,
    },
};

/// Most plans that are tried: each takes two refusals of every hook into account at the most,
/// and one look at the kernel's symbols.
const ROUNDS: usize = 2 * HOOKS.len() + 2;

pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sockpick-ebpf"));

/// The same programs for kernels from 4.14.
pub(super) static LEGACY_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sockpick-ebpf-legacy"));

/// What a session asks of the kernel side.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Only this, if given.
    pub backend: Option<Choice>,
    /// Type information to take the offsets from, instead of the kernel's own.
    pub btf: Option<PathBuf>,
    /// Size of the ring buffer in bytes: a power of two, at least a page.
    pub buffer_bytes: u32,
    /// In-kernel filters.
    pub filters: Filters,
    /// Whether the programs log what they do.
    pub debug_programs: bool,
}

/// Attached programs. Dropping it detaches them; so does the end of the process,
/// however it comes, because nothing is pinned.
pub struct Programs {
    pub(super) ebpf: Ebpf,
    pub(super) counters: Counters,
    /// What was attached how.
    pub plan: Plan,
    /// Whether they are the programs for old kernels.
    pub legacy: bool,
    pub(super) buffer_bytes: u32,
    /// Why SYNs that are dropped after their lookup are not seen, if so.
    pub drops_unseen: Option<String>,
    /// Why it is not seen when processes end, if so.
    pub exits_unseen: Option<String>,
    /// Whether to show all that a verifier says against a program.
    verbose: bool,
    /// Probes that were made through tracefs.
    events: Vec<(String, tracefs::Event)>,
    /// For what no program saw.
    pub(super) links: Links,
    /// What [`Programs::missed`] was when they were detached.
    pub(super) missed_until_detached: Option<Missing>,
}

/// What is known of the kernel before anything is loaded.
pub struct Kernel {
    /// What could be attached.
    pub features: Features,
    /// Where the fields lie.
    pub offsets: Offsets,
    /// Whether it takes only the programs for old kernels, or only those were asked for.
    pub legacy: bool,
    /// Functions that fentry may attach to, and the numbers of their types in the kernel's own
    /// type information.
    targets: Vec<(&'static str, u32)>,
}

impl Kernel {
    /// Reads the running kernel's type information, and the file's, if one is given.
    ///
    /// # Errors
    /// If the type information is missing, unreadable, or lacks a needed field.
    pub fn examine(btf: Option<&PathBuf>, backend: Option<Choice>) -> Result<Self> {
        let functions: Vec<&'static str> = HOOKS.iter().map(|hook| hook.function()).collect();
        let names: Vec<&str> = STRUCTS.iter().chain(&functions).copied().collect();
        let parse = |path: &PathBuf, failure: fn(String) -> Failure| -> Result<Btf> {
            let bytes = fs::read(path).map_err(|error| {
                failure(format!(
                    "cannot read BTF from {}: {error}. Without it sockpick does not know this \
                     kernel's structures; see sockpick doctor.",
                    path.display()
                ))
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
        let target = |&name: &&'static str| Some((name, own.as_ref()?.function_id(name)?));
        Ok(Self {
            targets: functions.iter().filter_map(target).collect(),
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
    fn settled_plan(&mut self, backend: Option<Choice>) -> Result<Plan> {
        let plan = self.plan(backend);
        if !plan.hangs_on_symbols(&self.features) {
            return Ok(plan);
        }
        self.features.read_symbols()?;
        Ok(self.plan(backend))
    }

    /// Lets the next plan know of a refusal.
    fn learn(&mut self, refusal: Refusal) -> Result<()> {
        if self.features.symbols_assumed {
            let symbol = |features: &Features| features.function(refusal.hook.function()).symbol;
            let assumed = symbol(&self.features);
            self.features.read_symbols()?;
            if symbol(&self.features) != assumed {
                // The refusal was of a function that is not there under this name.
                return Ok(());
            }
        }
        learn(&mut self.features, refusal);
        Ok(())
    }
}

/// Type information for aya with nothing but these functions, each under the number that it has
/// in the kernel's: all that attaching by fentry asks it for. Reading the kernel's own takes aya
/// as long as everything else at the start.
fn target_btf(targets: &[(&'static str, u32)]) -> AyaBtf {
    let mut targets = targets.to_vec();
    targets.sort_unstable_by_key(|&(_, id)| id);
    let mut btf = AyaBtf::new();
    let mut next = 1;
    for (name, id) in targets {
        for _ in next..id {
            btf.add_type(BtfType::Unknown);
        }
        let name = btf.add_string(name);
        // Nobody asks for its prototype.
        btf.add_type(BtfType::Func(Func::new(name, 0, FuncLinkage::Static)));
        next = id + 1;
    }
    btf
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

impl Programs {
    /// Loads and attaches. Nothing is recorded until [`Programs::record`] says so.
    ///
    /// # Errors
    /// If the lookups cannot be hooked, or the kernel refuses to load programs.
    pub fn attach(kernel: &mut Kernel, wishes: &Wishes) -> Result<Self> {
        // Before 5.11 maps count against this limit, which is small by default; a
        // failure shows when the maps are made.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        if tracefs::needed() {
            tracefs::remove_leftovers();
        }
        let targets = target_btf(&kernel.targets);
        let configs = [const { OnceCell::new() }; ROUNDS];
        let mut loader = loader(kernel.legacy, wishes)?;
        // Each round either attaches everything or learns of one more refusal.
        for config in &configs {
            let plan = kernel.settled_plan(wishes.backend)?;
            if let Some(Decision::Missing(why)) = plan.decision(Hook::Lookup4) {
                return Err(Failure::environment(format!(
                    "cannot hook {}, without which there is nothing to tell: {why}. \
                     See sockpick doctor.",
                    Hook::Lookup4
                ))
                .into());
            }
            let config = config.get_or_init(|| configuration(kernel, wishes, &plan));
            let mut programs = Self::load(&mut loader, config, kernel.legacy, wishes, plan)?;
            match programs.attach_all(&targets)? {
                None => {
                    programs.attach_tracepoints();
                    programs.links = programs.counted_links();
                    return Ok(programs);
                }
                Some(refusal) => kernel.learn(refusal)?,
            }
        }
        Err(
            Failure::environment("no way was found to attach the hooks; see sockpick doctor")
                .into(),
        )
    }

    fn load<'config>(
        loader: &mut EbpfLoader<'config>,
        config: &'config Shared<Config>,
        legacy: bool,
        wishes: &Wishes,
        plan: Plan,
    ) -> Result<Self> {
        if !legacy {
            loader.override_global("CONFIG", config, true);
        }
        let ebpf = loader
            .load(if legacy { LEGACY_OBJECT } else { OBJECT })
            .map_err(|error| refused_maps(&error))?;
        debug!("the maps are made");
        let mut programs = Self {
            counters: Counters::of(&ebpf)?,
            ebpf,
            plan,
            legacy,
            buffer_bytes: wishes.buffer_bytes,
            verbose: wishes.debug_programs,
            drops_unseen: None,
            exits_unseen: None,
            events: Vec::new(),
            links: Links::default(),
            missed_until_detached: None,
        };
        if legacy {
            programs.set_config(*config)?;
        }
        programs.record_nothing()?;
        programs.fill_filters(&wishes.filters)?;
        Ok(programs)
    }

    /// Attaches every hook of the plan; stops at the first that is refused.
    fn attach_all(&mut self, targets: &AyaBtf) -> Result<Option<Refusal>> {
        for (hook, decision) in self.plan.hooks.clone() {
            let Decision::Attach { mechanism, symbol } = decision else {
                continue;
            };
            debug!("{hook}: trying {mechanism} on {symbol}");
            // Return probes first: a lookup seen to start must be seen to end.
            for &(name, is_return) in hook.programs(mechanism).iter().rev() {
                let result = match mechanism {
                    Mechanism::Fentry => self.attach_fentry(name, is_return, &symbol, targets),
                    Mechanism::Kprobe => self.attach_kprobe(name, &symbol),
                };
                if let Err(error) = result {
                    debug!("{hook} refused {mechanism}: {error}");
                    if self.verbose {
                        show_log(name, &error);
                    }
                    if is_permission(&error) {
                        return Err(refused_program(name, &error));
                    }
                    return Ok(Some(Refusal {
                        hook,
                        mechanism,
                        why: brief(&error),
                        by_verifier: is_verifiers(&error),
                    }));
                }
                if log_enabled!(Level::Debug) {
                    self.describe(name);
                }
            }
        }
        Ok(None)
    }

    /// Logs what the verifier needed for a program.
    fn describe(&self, name: &str) {
        if let Some(info) = self
            .ebpf
            .program(name)
            .and_then(|program| program.info().ok())
        {
            debug!(
                "{name}: {} instructions verified, {} bytes of machine code",
                info.verified_instruction_count().unwrap_or(0),
                info.size_jitted()
            );
        }
    }

    fn attach_fentry(
        &mut self,
        name: &str,
        is_return: bool,
        function: &str,
        targets: &AyaBtf,
    ) -> Result<(), ProgramError> {
        let Some(program) = self.ebpf.program_mut(name) else {
            return Err(ProgramError::NotLoaded);
        };
        if is_return {
            let program: &mut FExit = program.try_into()?;
            program.load(function, targets)?;
            program.attach().map(|_| ())
        } else {
            let program: &mut FEntry = program.try_into()?;
            program.load(function, targets)?;
            program.attach().map(|_| ())
        }
    }

    fn attach_kprobe(&mut self, name: &str, symbol: &str) -> Result<(), ProgramError> {
        let Some(program) = self.ebpf.program_mut(name) else {
            return Err(ProgramError::NotLoaded);
        };
        let program: &mut KProbe = program.try_into()?;
        program.load()?;
        if !tracefs::needed() {
            return program.attach(symbol, 0).map(|_| ());
        }
        let is_return = matches!(program.kind(), ProbeKind::Return);
        let event = tracefs::attach(program.fd()?, name, is_return, symbol);
        let event = event.map_err(|error| ProgramError::IOError(io::Error::other(error)))?;
        self.events.push((name.to_owned(), event));
        Ok(())
    }

    /// What the kernel has counted of probes made through tracefs; nothing where there are none.
    pub(super) fn kprobe_profile(&self) -> String {
        let first = self.events.first();
        first.map_or_else(String::new, |(_, event)| event.profile())
    }

    /// The probe that a program was attached to through tracefs.
    pub(super) fn event(&self, program: &str) -> Option<&tracefs::Event> {
        let mut events = self.events.iter();
        events.find_map(|(name, event)| (name == program).then_some(event))
    }

    /// Detaches everything, entries before returns, so that the counters stand still.
    pub fn detach(&mut self) {
        self.missed_until_detached = Some(self.missed());
        self.links.clear();
        self.detach_tracepoints();
        for wanted in [false, true] {
            for (hook, decision) in self.plan.hooks.clone() {
                let Decision::Attach { mechanism, .. } = decision else {
                    continue;
                };
                for &(name, is_return) in hook.programs(mechanism) {
                    if is_return == wanted {
                        self.events.retain(|(event, _)| event != name);
                    }
                    if is_return == wanted
                        && let Some(program) = self.ebpf.program_mut(name)
                        && let Err(error) = unload(program)
                    {
                        debug!("{name} did not unload: {error}");
                    }
                }
            }
        }
    }
}

/// What every round loads alike. To make it takes a while: aya reads the kernel's type
/// information, though there is nothing to relocate.
fn loader(legacy: bool, wishes: &Wishes) -> Result<EbpfLoader<'static>> {
    let mut loader = EbpfLoader::new();
    // There is nothing to relocate: offsets are in `CONFIG`.
    loader.btf(None);
    if !legacy {
        let log_level: &u8 = if wishes.debug_programs { &u8::MAX } else { &0 };
        let log_bytes = if wishes.debug_programs { 1 << 20 } else { 4096 };
        loader
            .override_global("AYA_LOG_LEVEL", log_level, false)
            .map_max_entries(maps::EVENTS, wishes.buffer_bytes)
            .map_max_entries(maps::STATS, counters::rows()?)
            .map_max_entries("AYA_LOGS", log_bytes);
    }
    loader
        .map_max_entries(maps::FILTER_PORTS, entries(wishes.filters.ports.len()))
        .map_max_entries(maps::FILTER_DST, entries(wishes.filters.destinations.len()))
        .map_max_entries(maps::FILTER_SRC, entries(wishes.filters.sources.len()))
        .map_max_entries(maps::FILTER_NETNS, entries(wishes.filters.namespaces.len()));
    Ok(loader)
}

/// What the programs have to know.
fn configuration(kernel: &Kernel, wishes: &Wishes, plan: &Plan) -> Shared<Config> {
    let busy = plan.busy(&kernel.features).unwrap_or_default();
    Shared(Config {
        per_cpu_offset: busy.per_cpu_offset,
        prog_active: busy.prog_active,
        current_kprobe: busy.current_kprobe,
        off: kernel.offsets,
        args: plan.args(&kernel.features),
        regs_sp: kernel.features.registers.stack_pointer,
        filters: wishes.filters.bits(),
        reserved: 0,
        wake_bytes: wishes.buffer_bytes / 2,
        reserved_end: 0,
    })
}

pub(super) fn unload(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        _ => Ok(()),
    }
}

/// A hook that a kernel refused.
struct Refusal {
    hook: Hook,
    mechanism: Mechanism,
    why: String,
    /// The program itself was at fault, not the place.
    by_verifier: bool,
}

/// Lets the next plan know.
fn learn(features: &mut Features, refusal: Refusal) {
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

fn entries(count: usize) -> u32 {
    u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        cause = error.source();
    }
    None
}

pub(super) fn is_permission(error: &ProgramError) -> bool {
    matches!(errno(error), Some(libc::EPERM | libc::EACCES)) && !is_verifiers(error)
}

/// Whether the verifier looked at the program, and refused it: only then is there a log. It says
/// EACCES for much of what it refuses, as the kernel does for a missing right.
fn is_verifiers(error: &ProgramError) -> bool {
    verifier_log(error).is_some()
}

fn verifier_log(error: &ProgramError) -> Option<String> {
    let ProgramError::LoadError { verifier_log, .. } = error else {
        return None;
    };
    let log = verifier_log.to_string();
    (!log.trim().is_empty()).then_some(log)
}

/// For `--debug-programs`: everything the verifier said.
fn show_log(program: &str, error: &ProgramError) {
    if let Some(log) = verifier_log(error) {
        eprintln!(
            "sockpick: the verifier's log of {program}:\n{}",
            log.trim_end()
        );
    }
}

/// The kernel refuses sockpick's maps.
pub(crate) fn refused_maps(error: &(dyn std::error::Error + 'static)) -> anyhow::Error {
    refused("maps", errno(error), error.to_string())
}

/// The kernel refuses a program in a way that no other mechanism would change.
pub(super) fn refused_program(name: &str, error: &ProgramError) -> anyhow::Error {
    if !is_verifiers(error) {
        return refused("programs", errno(error), brief(error));
    }
    Failure::environment(format!(
        "the kernel's verifier refuses sockpick's program {name}: {}. No right is missing; this \
         is a fault of sockpick on this kernel. Please report it with the output of sockpick \
         trace --debug-programs.",
        brief(error)
    ))
    .into()
}

fn refused(what: &str, errno: Option<i32>, error: String) -> anyhow::Error {
    let cause = match errno {
        Some(libc::EPERM | libc::EACCES) => {
            "permission denied. Run as root; if you do, lockdown or another security module \
             forbids it (sockpick doctor tells the lockdown mode)"
                .to_owned()
        }
        _ => error,
    };
    Failure::environment(format!("the kernel refuses sockpick's {what}: {cause}")).into()
}

/// The last words of a verifier's log, or the error itself.
pub(super) fn brief(error: &ProgramError) -> String {
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    {
        return with_last_words(io_error, &verifier_log.to_string());
    }
    let cause = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", cause.unwrap_or_default())
}

fn with_last_words(error: &io::Error, log: &str) -> String {
    let statistics = ["processed", "stack depth", "verification time"];
    let words = log.lines().rev().find(|line| {
        !line.trim().is_empty() && !statistics.iter().any(|word| line.starts_with(word))
    });
    match words {
        Some(words) => format!("{error} ({})", words.trim()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use aya_obj::btf::{BtfError, BtfKind};

    use super::*;

    #[test]
    fn targets_have_the_numbers_that_the_kernel_gives_them() -> Result<(), BtfError> {
        let targets = [("tcp_conn_request", 70_007), ("inet_unhash", 3), ("b", 4)];
        let btf = target_btf(&targets);
        for (name, id) in targets {
            assert_eq!(btf.id_by_type_name_kind(name, BtfKind::Func)?, id, "{name}");
        }
        let absent = btf.id_by_type_name_kind("inet_csk_accept", BtfKind::Func);
        assert!(absent.is_err());
        assert!(
            target_btf(&[])
                .id_by_type_name_kind("b", BtfKind::Func)
                .is_err()
        );
        Ok(())
    }
}
